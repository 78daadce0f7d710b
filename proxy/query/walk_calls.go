package query

import (
	"github.com/multigres/multigres/go/common/parser/ast"
)

// qualified turns a list of names into one Name.
func qualified(l *ast.NodeList) (Name, bool) {
	if l == nil || len(l.Items) == 0 || len(l.Items) > 2 {
		return Name{}, false
	}
	var parts [2]string
	for i, n := range l.Items {
		s, ok := n.(*ast.String)
		if !ok || s == nil {
			return Name{}, false
		}
		parts[i] = s.SVal
	}
	if len(l.Items) == 1 {
		return Name{"", parts[0]}, true
	}
	return Name{parts[0], parts[1]}, true
}

func (f *facts) call(n *ast.FuncCall) {
	name, ok := qualified(n.Funcname)
	if !ok {
		f.unknown = true
		return
	}
	args := 0
	if n.Args != nil {
		args = len(n.Args.Items)
	}
	f.calls = append(f.calls, invocation{name, args})
	add(&f.aliases, name.Name) // what its column is called by default
	if args == 1 {             // may be a cast in the shape of a call
		c := f.castOf(n.Args.Items[0])
		c.to, c.called = name, true
		f.casts = append(f.casts, c)
	}
	f.list(n.Args)
	f.list(n.AggOrder)
	f.walk(n.AggFilter)
	if n.Over != nil {
		f.walk(n.Over)
	}
}

func (f *facts) typeCast(n *ast.TypeCast) {
	to := f.typeName(n.TypeName)
	if to.Name == "date" && (to.Schema == "" || to.Schema == "pg_catalog") && isNow(n.Arg) {
		f.day, f.nowAsDate = true, true
		add(&f.others, "now")
		return
	}
	c := f.castOf(n.Arg)
	c.to = to
	f.casts = append(f.casts, c)
	f.walk(n.Arg)
}

// isNow reports whether n is the time at which the transaction began.
func isNow(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ParenExpr:
		return n != nil && isNow(n.Expr)
	case *ast.SQLValueFunction:
		return n != nil && (n.Op == ast.SVFOP_CURRENT_TIMESTAMP || n.Op == ast.SVFOP_LOCALTIMESTAMP)
	case *ast.FuncCall:
		if n == nil || n.Args != nil && len(n.Args.Items) > 0 {
			return false
		}
		name, ok := qualified(n.Funcname)
		return ok && name.Name == "now" && (name.Schema == "" || name.Schema == "pg_catalog")
	}
	return false
}

// typeName notes a type.
func (f *facts) typeName(t *ast.TypeName) Name {
	if t == nil {
		f.unknown = true
		return Name{}
	}
	name, ok := qualified(t.Names)
	if !ok || t.Setof || t.PctType {
		f.unknown = true
		return Name{}
	}
	f.list(t.Typmods)
	add(&f.types, name.Name)
	add(&f.aliases, name.Name) // what a cast's column is called by default
	if name.Name == "time" || name.Name == "timetz" {
		f.timeTypes = true
	}
	return name
}

// castOf says of what a cast is, as far as it matters: whether that may be text
// whose words are read as times only when the statement runs.
func (f *facts) castOf(n ast.Node) cast {
	if isNil(n) {
		return cast{reason: true}
	}
	switch n := n.(type) {
	case *ast.ParenExpr:
		return f.castOf(n.Expr)
	case *ast.A_Const: // constants are looked at for time words
		return cast{safe: true}
	case *ast.ParamRef:
		return cast{safe: true, param: true}
	case *ast.SQLValueFunction:
		return cast{safe: n.Op <= ast.SVFOP_LOCALTIMESTAMP_N, reason: true}
	case *ast.TypeCast: // which is judged by itself
		if n.TypeName != nil {
			if to, ok := qualified(n.TypeName.Names); ok && (to.Schema == "" || to.Schema == "pg_catalog") {
				return cast{safe: datetimeTypes[to.Name], reason: true}
			}
		}
	case *ast.FuncCall:
		if name, ok := qualified(n.Funcname); ok && (name.Schema == "" || name.Schema == "pg_catalog") {
			if (name.Name == "min" || name.Name == "max") && n.Args != nil && len(n.Args.Items) == 1 {
				return f.castOf(n.Args.Items[0])
			}
			return cast{safe: datetimeCalls[name.Name], reason: true}
		}
	case *ast.A_Expr: // what + and - return is no text, unless the user made them so
		if n.Kind == ast.AEXPR_OP && n.Name != nil && len(n.Name.Items) == 1 && !isNil(n.Lexpr) && !isNil(n.Rexpr) {
			if s, ok := n.Name.Items[0].(*ast.String); ok && (s.SVal == "+" || s.SVal == "-") {
				return cast{safe: true}
			}
		}
	case *ast.ColumnRef:
		if n.Fields != nil && len(n.Fields.Items) > 0 {
			if s, ok := n.Fields.Items[len(n.Fields.Items)-1].(*ast.String); ok && s != nil {
				return cast{column: s.SVal, reason: true}
			}
		}
	}
	return cast{reason: true}
}

func (f *facts) sqlValue(n *ast.SQLValueFunction) {
	switch n.Op {
	case ast.SVFOP_CURRENT_DATE:
		f.day = true
		add(&f.aliases, "current_date")
	case ast.SVFOP_CURRENT_ROLE, ast.SVFOP_CURRENT_USER, ast.SVFOP_USER, ast.SVFOP_SESSION_USER:
		f.volatile = "the name of the user"
	case ast.SVFOP_CURRENT_CATALOG, ast.SVFOP_CURRENT_SCHEMA:
		f.volatile = "the name of the database or schema"
	default:
		f.volatile = "the current time"
	}
}
