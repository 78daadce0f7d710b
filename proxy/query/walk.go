package query

import (
	"errors"
	"reflect"

	"github.com/multigres/multigres/go/common/parser/ast"
)

var errPanic = errors.New("parser failed")

// isNil sees through interfaces to nil pointers, of which the parser makes some.
func isNil(n ast.Node) bool {
	if n == nil {
		return true
	}
	v := reflect.ValueOf(n)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

func add(m *map[string]bool, name string) {
	if name == "" {
		return
	}
	if *m == nil {
		*m = make(map[string]bool)
	}
	(*m)[name] = true
}

// walk goes through an expression or an item of a FROM clause. It knows the nodes
// it lists and no others.
func (f *facts) walk(n ast.Node) {
	if isNil(n) {
		return
	}
	switch n := n.(type) {
	case *ast.NodeList:
		f.list(n)
	case *ast.ParenExpr:
		f.walk(n.Expr)
	case *ast.A_Const:
		if s, ok := n.Val.(*ast.String); ok && s != nil && TimeWord(s.SVal) {
			f.timeWord = true
		}
	case *ast.ParamRef, *ast.A_Star, *ast.Integer, *ast.Float, *ast.Boolean, *ast.Null, *ast.BitString, *ast.SetToDefault:
	case *ast.String:
		f.timeWord = f.timeWord || TimeWord(n.SVal)
	case *ast.ColumnRef:
		f.columnRef(n)
	case *ast.A_Expr:
		f.operator(n.Name)
		f.walk(n.Lexpr)
		f.walk(n.Rexpr)
	case *ast.BoolExpr:
		f.list(n.Args)
	case *ast.NullTest:
		f.walk(n.Arg)
	case *ast.BooleanTest:
		f.walk(n.Arg)
	case *ast.CaseExpr:
		f.walk(n.Arg)
		f.list(n.Args)
		f.walk(n.Defresult)
	case *ast.CaseWhen:
		f.walk(n.Expr)
		f.walk(n.Result)
	case *ast.CoalesceExpr:
		f.list(n.Args)
	case *ast.MinMaxExpr:
		f.list(n.Args)
	case *ast.RowExpr:
		f.list(n.Args)
	case *ast.A_ArrayExpr:
		f.list(n.Elements)
	case *ast.ArrayExpr:
		f.list(n.Elements)
	case *ast.A_Indirection:
		f.walk(n.Arg)
		f.indirection(n.Indirection)
	case *ast.A_Indices:
		f.walk(n.Lidx)
		f.walk(n.Uidx)
	case *ast.MultiAssignRef:
		f.walk(n.Source)
	case *ast.CollateClause:
		f.walk(n.Arg)
	case *ast.NamedArgExpr:
		f.walk(n.Arg)
	case *ast.TypeCast:
		f.typeCast(n)
	case *ast.FuncCall:
		f.call(n)
	case *ast.SubLink:
		f.walk(n.Testexpr)
		f.operator(n.OperName)
		f.walk(n.Subselect)
	case *ast.GroupingFunc:
		f.list(n.Args)
	case *ast.GroupingSet:
		f.list(n.Content)
	case *ast.SQLValueFunction:
		f.sqlValue(n)
	case *ast.SortBy:
		f.walk(n.Node)
		f.operator(n.UseOp)
	case *ast.WindowDef:
		add(&f.others, n.Name)
		f.list(n.PartitionClause)
		f.list(n.OrderClause)
		f.walk(n.StartOffset)
		f.walk(n.EndOffset)
	case *ast.ResTarget:
		add(&f.aliases, n.Name)
		f.indirection(n.Indirection)
		f.walk(n.Val)
	default:
		f.from(n)
	}
}

// from goes through what only a FROM clause has, and whole SELECTs.
func (f *facts) from(n ast.Node) {
	switch n := n.(type) {
	case *ast.SelectStmt:
		f.walkSelect(n)
	case *ast.RangeVar:
		f.relations = append(f.relations, Name{n.SchemaName, n.RelName})
		if n.CatalogName != "" {
			f.uncachable = "it names a table with its database"
		}
		f.alias(n.Alias)
		add(&f.others, n.RelName)
	case *ast.RangeSubselect:
		f.walk(n.Subquery)
		f.alias(n.Alias)
	case *ast.JoinExpr:
		f.walk(n.Larg)
		f.walk(n.Rarg)
		f.walk(n.Quals)
		f.alias(n.JoinUsingAlias)
		f.alias(n.Alias)
	case *ast.RangeFunction:
		f.functions = true
		f.alias(n.Alias)
		f.definitions(n.ColDefList)
		if n.Functions == nil {
			return
		}
		for _, item := range n.Functions.Items {
			pair, ok := item.(*ast.NodeList)
			if !ok {
				f.walk(item)
				continue
			}
			for _, part := range pair.Items {
				if defs, ok := part.(*ast.NodeList); ok {
					f.definitions(defs)
				} else {
					f.walk(part)
				}
			}
		}
	default:
		f.unknown = true
	}
}

func (f *facts) list(l *ast.NodeList) {
	if l == nil {
		return
	}
	for _, n := range l.Items {
		f.walk(n)
	}
}

func (f *facts) walkSelect(s *ast.SelectStmt) {
	if s == nil {
		return
	}
	if s.IntoClause != nil {
		f.uncachable, f.into = "SELECT INTO makes a table", true
	}
	if s.LockingClause != nil && len(s.LockingClause.Items) > 0 {
		f.uncachable = "it locks rows"
	}
	f.with(s.WithClause)
	f.list(s.DistinctClause)
	f.list(s.TargetList)
	f.list(s.FromClause)
	f.walk(s.WhereClause)
	f.list(s.GroupClause)
	f.walk(s.HavingClause)
	f.list(s.WindowClause)
	f.list(s.ValuesLists)
	f.list(s.SortClause)
	f.walk(s.LimitOffset)
	f.walk(s.LimitCount)
	f.walkSelect(s.Larg)
	f.walkSelect(s.Rarg)
}

func (f *facts) with(w *ast.WithClause) {
	if w == nil || w.Ctes == nil {
		return
	}
	for _, n := range w.Ctes.Items {
		c, ok := n.(*ast.CommonTableExpr)
		if !ok || c == nil {
			f.unknown = true
			continue
		}
		add(&f.ctes, c.Ctename)
		add(&f.others, c.Ctename)
		f.names(c.Aliascolnames)
		if c.SearchClause != nil {
			add(&f.aliases, c.SearchClause.SearchSeqColumn)
		}
		if c.CycleClause != nil {
			add(&f.aliases, c.CycleClause.CycleMarkColumn)
			add(&f.aliases, c.CycleClause.CyclePathColumn)
			f.walk(c.CycleClause.CycleMarkValue)
			f.walk(c.CycleClause.CycleMarkDefault)
		}
		if _, ok := c.Ctequery.(*ast.SelectStmt); ok {
			f.walk(c.Ctequery)
		} else if stmt, ok := c.Ctequery.(ast.Stmt); ok && !isNil(stmt) {
			f.uncachable = "a WITH query writes"
			f.writing = append(f.writing, stmt)
		} else {
			f.unknown = true
		}
	}
}

func (f *facts) alias(a *ast.Alias) {
	if a == nil {
		return
	}
	add(&f.others, a.AliasName)
	add(&f.aliases, a.AliasName) // of a function's only column
	f.names(a.ColNames)
}

// names notes names that columns are given.
func (f *facts) names(l *ast.NodeList) {
	if l == nil {
		return
	}
	for _, n := range l.Items {
		if s, ok := n.(*ast.String); ok && s != nil {
			add(&f.aliases, s.SVal)
		} else {
			f.unknown = true
		}
	}
}

// definitions goes through the columns that a function returning records is given.
func (f *facts) definitions(l *ast.NodeList) {
	if l == nil {
		return
	}
	for _, n := range l.Items {
		d, ok := n.(*ast.ColumnDef)
		if !ok || d == nil || d.TypeName == nil {
			f.unknown = true
			continue
		}
		add(&f.aliases, d.Colname)
		f.casts = append(f.casts, cast{to: f.typeName(d.TypeName)})
	}
}

func (f *facts) columnRef(n *ast.ColumnRef) {
	if n.Fields == nil {
		return
	}
	for _, field := range n.Fields.Items {
		switch field := field.(type) {
		case *ast.String:
			add(&f.columns, field.SVal)
		case *ast.A_Star:
		default:
			f.unknown = true
		}
	}
}

func (f *facts) indirection(l *ast.NodeList) {
	if l == nil {
		return
	}
	for _, n := range l.Items {
		switch n := n.(type) {
		case *ast.String:
			add(&f.columns, n.SVal)
		case *ast.A_Star:
			f.functions = true
		default:
			f.walk(n)
		}
	}
}

// operator notes the symbol of an operator, without its schema: those of the same
// symbol are all looked at.
func (f *facts) operator(name *ast.NodeList) {
	if name == nil || len(name.Items) == 0 {
		return
	}
	if s, ok := name.Items[len(name.Items)-1].(*ast.String); ok && s != nil {
		f.operators = append(f.operators, s.SVal)
	} else {
		f.unknown = true
	}
}
