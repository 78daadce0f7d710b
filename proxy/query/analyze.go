package query

import (
	"github.com/multigres/multigres/go/common/parser"
	"github.com/multigres/multigres/go/common/parser/ast"
)

// MaxText is the longest text in bytes that is looked at. Longer ones are not
// cached, and are taken to write to anything. A text of an ORM is a few kilobytes;
// the longest that the parser is given takes it about 10 ms.
const MaxText = 64 << 10

const tooLong = "the statement is longer than 64 KiB"

// A Statement is what a text says by itself, before a catalog says what its names
// stand for. It is immutable.
type Statement struct {
	status Status // StatusMiss: it is the catalog's to say
	reason string
	text   string // in normal form
	facts
	effect effect
}

// facts are what was found on a walk through a statement.
type facts struct {
	relations  []Name
	ctes       map[string]bool
	calls      []invocation
	casts      []cast
	operators  []string
	columns    map[string]bool // names that may be calls in attribute notation
	aliases    map[string]bool // names that columns are given in the statement
	types      map[string]bool // names of types, for the token check
	others     map[string]bool // other names that may stand before a parenthesis
	timeWord   bool            // a string constant has one
	timeTypes  bool            // time or timetz is named
	day        bool            // CURRENT_DATE
	nowAsDate  bool            // now()::date
	functions  bool            // rows, or columns, are a function's
	volatile   string          // a clock or a name of the session, in SQL's own syntax
	uncachable string          // why it cannot be cached whatever the catalog says
	into       bool            // SELECT INTO
	writing    []ast.Stmt      // WITH queries that are no SELECT
	unknown    bool            // there are nodes that the walk does not know
}

type invocation struct {
	Name
	args int
}

// A cast to a type. arg says of what, as far as that matters for datetimes.
type cast struct {
	to     Name
	safe   bool   // of nothing that could be text with a time word
	param  bool   // or of a parameter, whose value is looked at for one
	column string // or of a column of this name
	reason bool   // or of something else
	called bool   // it may be a call of a function of the type's name
}

// effect is what a statement may change.
type effect struct {
	all    bool   // anything
	ddl    bool   // the catalog as well
	tables []Name // these, and what hangs on them
	calls  bool   // what its functions write, which the catalog knows
}

// anything is what nobody has looked at may change.
var anything = effect{all: true, ddl: true}

// Decided reports whether the text alone says that it is not cached and changes
// nothing, or anything, so that no catalog is needed.
func (s *Statement) Decided() bool {
	return s.status != StatusMiss && len(s.effect.tables) == 0 && !s.effect.calls || s.status == StatusUncacheable || s.status == StatusVolatile
}

// Analyze looks at one text, which may have several statements. It never fails:
// what it does not understand is uncacheable and may change anything.
func Analyze(sql string) *Statement {
	if len(sql) > MaxText {
		return &Statement{status: StatusOversizedQuery, reason: tooLong, effect: anything}
	}
	s := &Statement{text: string(Normalise(nil, []byte(sql)))}
	stmts, err := parse(s.text)
	switch {
	case err != nil:
		s.status, s.reason, s.effect = StatusParseError, "the statement was not understood", anything
		return s
	case len(stmts) == 0:
		s.status, s.reason = StatusNotAQuery, "the statement is empty"
		return s
	}
	for _, stmt := range stmts {
		s.statement(stmt)
	}
	if len(stmts) > 1 {
		s.status, s.reason = StatusMultipleStatements, "several statements in one query"
		return s
	}
	if s.status == StatusMiss {
		s.decide()
	}
	return s
}

// parse keeps what the parser may do in check: a panic in it is a text that is
// not understood.
func parse(sql string) (stmts []ast.Stmt, err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	all, err := parser.ParseSQL(sql)
	for _, s := range all {
		if !isNil(s) {
			stmts = append(stmts, s)
		}
	}
	return stmts, err
}

// statement notes what kind a statement is, what it may change and, of a read, all
// that it names.
func (s *Statement) statement(stmt ast.Stmt) {
	sel, read := stmt.(*ast.SelectStmt)
	if !read {
		s.status, s.reason = StatusNotAQuery, "the statement is no SELECT"
		s.change(stmt)
		return
	}
	s.status = StatusMiss
	s.effect.calls = true
	s.walkSelect(sel)
	s.writesInside(0)
	if s.unknown { // then the functions are told from the tokens
		s.callsOfTokens()
	}
}

// writesInside notes what WITH queries change, from the given one on, and SELECT INTO.
func (s *Statement) writesInside(from int) {
	for ; from < len(s.writing); from++ {
		s.change(s.writing[from]) // which may find more
	}
	if s.into {
		s.effect.all, s.effect.ddl = true, true
	}
}

// decide says no where the text alone is enough for that.
func (s *Statement) decide() {
	no := func(status Status, reason string) { s.status, s.reason = status, reason }
	switch {
	case s.volatile != "":
		no(StatusVolatile, s.volatile+" depends on the clock or the session")
	case s.uncachable != "":
		no(StatusUncacheable, s.uncachable)
	case s.columns["ctid"], s.columns["xmax"], s.columns["cmin"], s.columns["cmax"]:
		no(StatusUncacheable, "it reads a system column that changes without a write: ctid, cmin, cmax or xmax")
	case s.unknown:
		no(StatusUncacheable, "it uses syntax that is not known to be safe")
	case !s.tokensKnown():
		no(StatusParseError, "the statement was not understood for certain")
	case s.timeWord:
		no(StatusVolatile, "a constant has the word now, today, tomorrow or yesterday, which may mean the clock's")
	case len(s.relations) == 0:
		no(StatusUncacheable, "it reads no table")
	}
}
