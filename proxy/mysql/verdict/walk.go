package verdict

import (
	"fmt"
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"

	"github.com/sluicedb/sluice/proxy/query"
)

// A walker goes through the tree of a statement that reads.
type walker struct {
	tables  []name
	ctes    map[string]bool
	aliases map[string]bool // of tables, whose columns may be named behind them
	day     bool
	clock   string // a function whose value is another each time, or somebody's own
	unknown string // what is not known to be safe, in words
}

func (w *walker) walk(stmt sqlparser.Statement) {
	w.aliases = make(map[string]bool)
	_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) {
		w.node(n)
		return true, nil
	}, stmt)
}

// tableOf is the table that an expression names. DUAL, which stands for none, is none.
func tableOf(n *sqlparser.AliasedTableExpr) (name, bool) {
	t, ok := n.Expr.(sqlparser.TableName)
	of := name{strings.ToLower(t.Qualifier.String()), strings.ToLower(t.Name.String())}
	return of, ok && of != (name{name: "dual"})
}

// refuse notes why a statement cannot be cached.
func (w *walker) refuse(format string, args ...any) {
	if w.unknown == "" {
		w.unknown = fmt.Sprintf(format, args...)
	}
}

// node looks at one node. One that is not named here is refused.
func (w *walker) node(n sqlparser.SQLNode) {
	switch n := n.(type) {
	case *sqlparser.Select:
		if n.Into != nil {
			w.refuse("it writes its result elsewhere")
		}
		w.locks(n.Lock)
		if n.SQLCalcFoundRows {
			w.refuse("it says SQL_CALC_FOUND_ROWS")
		}
	case *sqlparser.Union:
		if n.Into != nil {
			w.refuse("it writes its result elsewhere")
		}
		w.locks(n.Lock)
	case *sqlparser.ValuesStatement:
	case sqlparser.TableName: // of a column too
	case *sqlparser.AliasedTableExpr:
		w.aliases[strings.ToLower(n.As.String())] = true
		if of, ok := tableOf(n); ok {
			w.tables = append(w.tables, of)
		}
	case *sqlparser.CommonTableExpr:
		w.ctes[strings.ToLower(n.ID.String())] = true
	case *sqlparser.CurTimeFuncExpr:
		w.call(n.Name.Lowered())
	case *sqlparser.FuncExpr:
		if !n.Qualifier.IsEmpty() {
			w.refuse("it calls a stored function")
		}
		f := n.Name.Lowered()
		if f == "unix_timestamp" && len(n.Exprs) > 0 {
			return
		}
		w.call(f)
	case *sqlparser.LockingFunc:
		w.clock = "a function of locks"
	case *sqlparser.Literal:
		w.day = w.day || n.Type == sqlparser.TimeVal
	case *sqlparser.ConvertType:
		w.day = w.day || strings.EqualFold(n.Type, "time")
	case *sqlparser.ColName, sqlparser.IdentifierCI, sqlparser.IdentifierCS:
	case *sqlparser.SelectExprs, *sqlparser.AliasedExpr, *sqlparser.StarExpr, *sqlparser.Exprs, sqlparser.Columns, sqlparser.TableExprs,
		*sqlparser.ParenTableExpr, *sqlparser.JoinTableExpr, *sqlparser.JoinCondition, *sqlparser.DerivedTable, *sqlparser.Subquery,
		*sqlparser.With, *sqlparser.Where, *sqlparser.GroupBy, sqlparser.OrderBy, *sqlparser.Order, *sqlparser.Limit, sqlparser.IndexHints,
		*sqlparser.IndexHint, sqlparser.Partitions, *sqlparser.ParsedComments, sqlparser.Values, sqlparser.ValTuple:
	case *sqlparser.AndExpr, *sqlparser.OrExpr, *sqlparser.XorExpr, *sqlparser.NotExpr, *sqlparser.ComparisonExpr, *sqlparser.BetweenExpr,
		*sqlparser.IsExpr, *sqlparser.ExistsExpr, *sqlparser.BinaryExpr, *sqlparser.UnaryExpr, *sqlparser.CaseExpr, *sqlparser.When,
		*sqlparser.NullVal, sqlparser.BoolVal, *sqlparser.Argument, *sqlparser.IntroducerExpr, *sqlparser.CollateExpr, *sqlparser.MemberOfExpr:
	case *sqlparser.CastExpr, *sqlparser.ConvertExpr, *sqlparser.ConvertUsingExpr, *sqlparser.SubstrExpr, *sqlparser.TrimFuncExpr,
		*sqlparser.LocateExpr, *sqlparser.CharExpr, *sqlparser.InsertExpr, *sqlparser.MatchExpr, *sqlparser.IntervalFuncExpr,
		*sqlparser.IntervalDateExpr, *sqlparser.TimestampDiffExpr, *sqlparser.ExtractFuncExpr, *sqlparser.RegexpLikeExpr,
		*sqlparser.RegexpInstrExpr, *sqlparser.RegexpReplaceExpr, *sqlparser.RegexpSubstrExpr:
	case *sqlparser.Count, *sqlparser.CountStar, *sqlparser.Avg, *sqlparser.Sum, *sqlparser.Min, *sqlparser.Max, *sqlparser.BitAnd,
		*sqlparser.BitOr, *sqlparser.BitXor, *sqlparser.Std, *sqlparser.StdDev, *sqlparser.StdPop, *sqlparser.StdSamp, *sqlparser.VarPop,
		*sqlparser.VarSamp, *sqlparser.Variance, *sqlparser.GroupConcatExpr, *sqlparser.AnyValue:
	case *sqlparser.OverClause, *sqlparser.WindowSpecification, *sqlparser.WindowDefinition, sqlparser.WindowDefinitions,
		*sqlparser.NamedWindow, sqlparser.NamedWindows, *sqlparser.FrameClause, *sqlparser.FramePoint, *sqlparser.ArgumentLessWindowExpr,
		*sqlparser.FirstOrLastValueExpr, *sqlparser.NTHValueExpr, *sqlparser.NtileExpr, *sqlparser.LagLeadExpr,
		*sqlparser.NullTreatmentClause, *sqlparser.FromFirstLastClause:
	case *sqlparser.JSONArrayExpr, *sqlparser.JSONObjectExpr, *sqlparser.JSONObjectParam, *sqlparser.JSONExtractExpr,
		*sqlparser.JSONUnquoteExpr, *sqlparser.JSONQuoteExpr, *sqlparser.JSONContainsExpr, *sqlparser.JSONContainsPathExpr,
		*sqlparser.JSONKeysExpr, *sqlparser.JSONAttributesExpr, *sqlparser.JSONSearchExpr, *sqlparser.JSONValueExpr,
		*sqlparser.JSONValueModifierExpr, *sqlparser.JSONValueMergeExpr, *sqlparser.JSONRemoveExpr, *sqlparser.JSONPrettyExpr,
		*sqlparser.JSONOverlapsExpr, *sqlparser.JSONArrayAgg, *sqlparser.JSONObjectAgg, *sqlparser.JtOnResponse:
	default:
		w.refuse("it has what is not known to be safe (%s)", strings.TrimPrefix(fmt.Sprintf("%T", n), "*sqlparser."))
	}
}

func (w *walker) locks(l sqlparser.Lock) {
	if l != sqlparser.NoLock {
		w.refuse("it locks rows")
	}
}

// call looks at a function by its name.
func (w *walker) call(f string) {
	switch {
	case clocks[f]:
		w.day = true
	case pure[f]:
		w.day = w.day || times[f]
	case harmless[f]:
		w.clock = f
	default:
		w.refuse("it calls %s, which is not known to depend on tables and settings alone", f)
	}
}

// words that are refused wherever they stand by themselves.
var refusedWords = map[string]string{
	"into": "it writes its result elsewhere", "procedure": "it says PROCEDURE", "sql_calc_found_rows": "it says SQL_CALC_FOUND_ROWS",
	"for": "it says FOR", "lock": "it says LOCK", "nextval": "it takes from a sequence", "lastval": "it takes from a sequence",
	"next": "it may take from a sequence", "previous": "it may take from a sequence", "lateral": "it says LATERAL", "json_table": "it calls json_table",
}

var clockWords = set("current_time current_timestamp localtime localtimestamp utc_date utc_time utc_timestamp current_user current_role sysdate")

// verdict is what tree and tokens say together.
func (w *walker) verdict(t *scan) (query.Status, string) {
	if w.clock != "" {
		return query.StatusVolatile, "it calls " + w.clock
	}
	if w.unknown != "" {
		return query.StatusUncacheable, w.unknown
	}
	for word := range t.words {
		if clockWords[word] {
			return query.StatusVolatile, "it calls " + word
		}
		if reason := refusedWords[word]; reason != "" {
			return query.StatusUncacheable, reason
		}
		w.day = w.day || clocks[word]
	}
	for word := range t.calls {
		switch {
		case word == "unix_timestamp", pure[word], clocks[word], keywords[word], w.ctes[word], w.aliases[word]:
			w.day = w.day || times[word]
		case harmless[word]:
			return query.StatusVolatile, "it calls " + word
		default:
			return query.StatusUncacheable, "it calls " + word + ", which is not known to depend on tables and settings alone"
		}
	}
	for word := range t.named {
		if !w.ctes[word] && !w.aliases[word] {
			return query.StatusUncacheable, "it may call " + word
		}
	}
	return query.StatusMiss, ""
}
