package verdict

import (
	"slices"
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"

	"github.com/sluicedb/sluice/proxy/query"
)

// quiet are the verbs of statements that change no table by themselves. What functions
// that they call may do is seen by their names.
var quiet = set("select values table set use show begin start commit rollback savepoint release desc describe explain help kill " +
	"prepare deallocate lock unlock get checksum signal resignal")

// rows are the verbs of statements that change rows, of any table perhaps.
var rows = set("with insert replace update delete call do execute load xa handler analyze optimize import")

// changers are words of statements that change the catalog, or may: a procedure can.
var changers = set("create alter drop rename truncate grant revoke install uninstall call execute")

// effect is what a statement may change.
func (s source) effect(t *scan, stmt sqlparser.Statement) query.Effect {
	own := temporary(stmt)
	known := quiet[t.verb] || rows[t.verb] || own
	any := query.Effect{All: true, DDL: !known || changers[t.verb]}
	switch {
	case t.several, t.verb == "set" && t.second == "statement": // SET STATEMENT ... FOR another, of MariaDB
		for word := range t.words {
			any.DDL = any.DDL || changers[word]
		}
		return any
	case t.verb == "" && t.bad == "" && len(t.words) == 0 && len(t.calls) == 0:
		return query.Effect{} // nothing
	case t.bad != "" || !known || !s.harmlessCalls(t, stmt):
		return any
	case own, quiet[t.verb] && !t.words["analyze"]:
		return query.Effect{}
	}
	switch n := stmt.(type) {
	case *sqlparser.Select, *sqlparser.Union:
		return query.Effect{}
	case *sqlparser.Insert:
		if n.Table != nil {
			return s.writes([]sqlparser.TableExpr{n.Table})
		}
	case *sqlparser.Update:
		return s.writes(n.TableExprs)
	case *sqlparser.Delete:
		return s.writes(n.TableExprs)
	}
	return any
}

// temporary reports whether a statement makes or drops temporary tables alone, which nobody
// else sees.
func temporary(stmt sqlparser.Statement) bool {
	switch n := stmt.(type) {
	case *sqlparser.CreateTable:
		return n.Temp
	case *sqlparser.DropTable:
		return n.Temp
	}
	return false
}

// harmlessCalls reports whether everything in a text that looks like a call is a function of
// the server's own that changes nothing, or no call.
func (s source) harmlessCalls(t *scan, stmt sqlparser.Statement) bool {
	declared, ok := declarations(stmt)
	if !ok {
		return false
	}
	for word := range t.calls {
		if s.catalog != nil && s.catalog.made[word] {
			return false
		}
		if !pure[word] && !clocks[word] && !harmless[word] && !keywords[word] && !declared[word] {
			return false
		}
	}
	for word := range t.named {
		if !declared[word] {
			return false
		}
	}
	return !t.words["nextval"] && !t.words["next"] && !t.words["setval"] && !t.words["infile"]
}

// declarations are names that may stand before a parenthesis and call nothing: those of
// WITH, of derived tables, and of the table that is made or that an INSERT writes to. It reports false
// where something is called that somebody may have made.
func declarations(stmt sqlparser.Statement) (map[string]bool, bool) {
	declared := make(map[string]bool)
	ok := true
	if stmt == nil {
		return declared, ok
	}
	_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) {
		switch n := n.(type) {
		case *sqlparser.CommonTableExpr:
			declared[strings.ToLower(n.ID.String())] = true
		case *sqlparser.AliasedTableExpr:
			declared[strings.ToLower(n.As.String())] = true
		case *sqlparser.CreateTable:
			declared[strings.ToLower(n.Table.Name.String())] = true
		case *sqlparser.Insert:
			if n.Table != nil {
				if of, is := tableOf(n.Table); is {
					declared[of.name] = true
				}
			}
		case *sqlparser.FuncExpr:
			f := n.Name.Lowered()
			ok = ok && n.Qualifier.IsEmpty() && (pure[f] || clocks[f] || harmless[f])
		case *sqlparser.CallProc, *sqlparser.Nextval:
			ok = false
		}
		return true, nil
	}, stmt)
	return declared, ok
}

// writes are the tables of all these expressions, whichever of them is written to.
func (s source) writes(exprs []sqlparser.TableExpr) query.Effect {
	var e query.Effect
	if s.catalog == nil {
		return query.Effect{All: true}
	}
	for _, x := range exprs {
		_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) {
			if n, ok := n.(*sqlparser.AliasedTableExpr); ok {
				if of, ok := tableOf(n); ok {
					s.write(&e, of)
				}
			}
			return true, nil
		}, x)
	}
	if len(e.Tables) == 0 {
		return query.Effect{All: true}
	}
	if e.Tables = append(e.Tables, anyTable); e.All {
		e.Tables = nil
	}
	slices.Sort(e.Tables)
	e.Tables = slices.Compact(e.Tables)
	return e
}

func (s source) write(e *query.Effect, n name) {
	found := s.catalog.find(n.schema, n.name)
	if len(found) == 0 || len(found) > maxNamesakes {
		e.All = true
		return
	}
	for _, t := range found {
		e.Tables = append(e.Tables, t.id)
		e.All = e.All || t.wide
	}
}
