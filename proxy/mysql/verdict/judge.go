package verdict

import (
	"slices"
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"

	"github.com/sluicedb/sluice/proxy/query"
)

// Source is the source of verdicts under a catalog, nil for one that is not known.
func Source(c *Catalog) query.Source { return source{c} }

type source struct{ catalog *Catalog }

// SourceCatalog is the catalog of a Source; nil where it is not known, or of another.
func SourceCatalog(s query.Source) *Catalog {
	of, _ := s.(source)
	return of.catalog
}

// parser is of the newest language that is to be understood. It may be used
// concurrently.
var parser = func() *sqlparser.Parser {
	p, err := sqlparser.New(sqlparser.Options{MySQLServerVersion: "8.4.0"})
	if err != nil {
		panic(err) // of a version that does not parse
	}
	return p
}()

// Shape implements query.Source.
func (source) Shape(text string) (string, bool) { return shape(text) }

// Table implements query.Source.
func (s source) Table(id uint32) string {
	if s.catalog == nil || s.catalog.byID[id] == nil {
		return ""
	}
	t := s.catalog.byID[id]
	return t.schema + "." + t.name
}

// Decided implements query.Source.
func (s source) Decided(text string) bool {
	v := source{}.Judge(text)
	return v.Status != query.StatusMiss && v.Reason != unknownCatalog
}

const unknownCatalog = "the origin's catalog is not known at the moment"

// Judge implements query.Source.
func (s source) Judge(text string) *query.Verdict {
	text = strings.TrimSpace(text)
	t := scanText(text)
	v := &query.Verdict{Text: text}
	stmt := parse(text, &t)
	v.Effect = s.effect(&t, stmt)
	v.Replaceable = !v.Effect.None() || !reads[t.verb] || len(t.calls) > 0
	v.Status, v.Reason = s.read(v, &t, stmt)
	return v
}

// reads are the verbs of statements that may be cached.
var reads = set("select with values table")

// parse is the tree of a text, nil where it is not understood.
func parse(text string, t *scan) (stmt sqlparser.Statement) {
	defer func() {
		if recover() != nil { // which would be a fault of the parser's, and no more
			stmt = nil
		}
	}()
	if t.bad != "" || t.several {
		return nil
	}
	stmt, err := parser.Parse(text)
	if err != nil {
		return nil
	}
	return stmt
}

// read decides whether the result of a statement may be stored, and of which tables and
// whether of the date it is.
func (s source) read(v *query.Verdict, t *scan, stmt sqlparser.Statement) (query.Status, string) {
	switch {
	case t.several:
		return query.StatusMultipleStatements, "it is more than one statement"
	case t.verb != "" && !reads[t.verb] && t.bad == "":
		return query.StatusNotAQuery, "it is no SELECT, TABLE, VALUES or WITH"
	case t.bad != "":
		return query.StatusUncacheable, t.bad
	case t.variable:
		return query.StatusVolatile, "it has a variable"
	case t.words["sql_no_cache"]:
		return query.StatusDisabled, "it says SQL_NO_CACHE"
	case stmt == nil:
		return query.StatusParseError, "it is not understood"
	}
	w := walker{ctes: make(map[string]bool)}
	w.walk(stmt)
	if status, reason := w.verdict(t); status != query.StatusMiss {
		return status, reason
	}
	c := s.catalog
	switch {
	case c == nil:
		return query.StatusUncacheable, unknownCatalog
	case c.refuse != "":
		return query.StatusUncacheable, c.refuse
	}
	for word := range t.calls {
		if c.made[word] {
			return query.StatusUncacheable, "there is a stored function " + word
		}
	}
	return c.readTables(v, &w)
}

// readTables looks at the tables that a statement reads.
func (c *Catalog) readTables(v *query.Verdict, w *walker) (query.Status, string) {
	v.Day = w.day
	for _, n := range w.tables {
		if n.schema == "" && w.ctes[n.name] {
			// It may be a table too, in another part of the statement.
			if len(c.tables[n.name]) == 0 {
				continue
			}
		}
		if IsSystem(n.schema) {
			return query.StatusUncacheable, "it reads the system's own tables"
		}
		found := c.find(n.schema, n.name)
		switch {
		case len(found) == 0:
			return query.StatusUncacheable, "it reads " + n.String() + ", which is not in the catalog"
		case len(found) > maxNamesakes:
			return query.StatusUncacheable, "there are too many tables named " + n.name + ": name its database"
		}
		for _, t := range found {
			if t.refuse != "" {
				return query.StatusUncacheable, t.refuse
			}
			if v.Tables = append(v.Tables, t.id); !t.seen {
				v.Tables = append(v.Tables, anyTable)
			}
			v.Day = v.Day || t.time
		}
	}
	if len(v.Tables) == 0 {
		return query.StatusUncacheable, "it reads no table"
	}
	slices.Sort(v.Tables)
	v.Tables = slices.Compact(v.Tables)
	return query.StatusMiss, ""
}

// IsSystem reports whether a schema is the server's own, whose tables change by
// themselves.
func IsSystem(schema string) bool { return systemSchemas[strings.ToLower(schema)] }

var systemSchemas = set("mysql information_schema performance_schema sys")

// A name is that of a table, in lower case; schema "" where it was not given.
type name struct{ schema, name string }

func (n name) String() string {
	if n.schema == "" {
		return n.name
	}
	return n.schema + "." + n.name
}
