package query

import (
	"github.com/multigres/multigres/go/common/parser/ast"
)

// change notes what a statement that is no SELECT may change. What is not listed
// changes the catalog, and anything.
func (s *Statement) change(stmt ast.Stmt) {
	switch n := stmt.(type) {
	case *ast.InsertStmt, *ast.UpdateStmt, *ast.DeleteStmt, *ast.MergeStmt:
		s.write(n)
	case *ast.TruncateStmt:
		if n.Behavior == ast.DropCascade || n.Relations == nil {
			s.effect.all = true
			return
		}
		for _, r := range n.Relations.Items {
			s.target(r)
		}
	case *ast.CopyStmt:
		switch {
		case n.IsFrom && n.Relation != nil:
			s.target(n.Relation)
			s.exprs(n.WhereClause)
		case !n.IsFrom:
			s.inner(n.Query)
		default:
			s.effect.all = true
		}
	case *ast.ExplainStmt: // which runs it, with ANALYZE
		s.inner(n.Query)
	case *ast.DeclareCursorStmt:
		s.inner(n.Query)
	case *ast.TransactionStmt:
		// What a prepared transaction wrote shows when it is committed, by
		// whomever that is.
		if n.Kind == ast.TRANS_STMT_COMMIT_PREPARED || n.Kind == ast.TRANS_STMT_PREPARE {
			s.effect.all, s.effect.ddl = true, true
		}
	case *ast.VariableSetStmt, *ast.VariableShowStmt, *ast.PrepareStmt, *ast.DeallocateStmt, *ast.FetchStmt, *ast.ClosePortalStmt,
		*ast.ListenStmt, *ast.UnlistenStmt, *ast.NotifyStmt, *ast.ConstraintsSetStmt, *ast.LockStmt, *ast.DiscardStmt,
		*ast.CheckPointStmt, *ast.VacuumStmt:
	default: // and CALL, DO and EXECUTE, whose code may do that
		s.effect.all, s.effect.ddl = true, true
	}
}

// inner notes what a statement inside another may change.
func (s *Statement) inner(n ast.Node) {
	switch n := n.(type) {
	case *ast.SelectStmt:
		s.exprs(n)
	case ast.Stmt:
		if !isNil(n) {
			s.change(n)
		}
	default:
		if !isNil(n) {
			s.effect.all = true
		}
	}
}

// exprs goes through something that may call functions.
func (s *Statement) exprs(n ast.Node) {
	if isNil(n) {
		return
	}
	s.effect.calls = true
	from := len(s.writing)
	s.walk(n)
	s.writesInside(from)
	if s.unknown {
		s.callsOfTokens()
	}
}

func (s *Statement) target(n ast.Node) {
	r, ok := n.(*ast.RangeVar)
	if !ok || r == nil {
		s.effect.all = true
		return
	}
	s.effect.tables = append(s.effect.tables, Name{r.SchemaName, r.RelName})
}

// write notes what INSERT, UPDATE, DELETE and MERGE change.
func (s *Statement) write(stmt ast.Stmt) {
	var with *ast.WithClause
	var parts []ast.Node
	lists := func(ls ...*ast.NodeList) {
		for _, l := range ls {
			if l != nil {
				parts = append(parts, l)
			}
		}
	}
	switch n := stmt.(type) {
	case *ast.InsertStmt:
		s.target(n.Relation)
		with = n.WithClause
		lists(n.ReturningList)
		parts = append(parts, n.SelectStmt)
		if o := n.OnConflictClause; o != nil {
			lists(o.TargetList)
			parts = append(parts, o.WhereClause)
		}
	case *ast.UpdateStmt:
		s.target(n.Relation)
		with = n.WithClause
		lists(n.TargetList, n.FromClause, n.ReturningList)
		parts = append(parts, n.WhereClause)
	case *ast.DeleteStmt:
		s.target(n.Relation)
		with = n.WithClause
		lists(n.UsingClause, n.ReturningList)
		parts = append(parts, n.WhereClause)
	case *ast.MergeStmt:
		s.target(n.Relation)
		with = n.WithClause
		lists(n.ReturningList)
		parts = append(parts, n.SourceRelation, n.JoinCondition)
		if n.MergeWhenClauses != nil {
			for _, w := range n.MergeWhenClauses.Items {
				when, ok := w.(*ast.MergeWhenClause)
				if !ok || when == nil {
					s.effect.all = true
					continue
				}
				lists(when.Values)
				parts = append(parts, when.Condition)
				for _, t := range when.TargetList {
					parts = append(parts, t)
				}
			}
		}
	}
	from := len(s.writing)
	s.with(with)
	for _, p := range parts {
		s.exprs(p)
	}
	s.writesInside(from)
	s.effect.calls = true
}
