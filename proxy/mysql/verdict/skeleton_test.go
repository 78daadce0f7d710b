package verdict

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/proxy/query"
)

func TestSkeleton(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"select * from t where a = 'x' and n=12 and f<1.25", "select * from t where a = '' and n=0 and f<0.0"},
		{" select 'it''s', '', \"it's\" from t where a in (1,2, 'x')\n", "select '', '', \"\" from t where a in (0,0, '')"},
		{`select * from t where a = 'it\'s' and b LIKE '%\\' limit 5, 10`, "select * from t where a = '' and b LIKE '' limit 0, 0"},
		{"insert into t (a, b) values (1, 'x'), (-2, 'y')", "insert into t (a, b) values (0, ''), (-0, '')"},
		{"select /*+ MAX_EXECUTION_TIME(1000) */ `a'1` from t2 where b = '2' -- 'x' 1", "select /*+ MAX_EXECUTION_TIME(1000) */ `a'1` from t2 where b = '' -- 'x' 1"},
		{"select a from t where b = _utf8mb4 and c = 1 group by 1 order by 2", "select a from t where b = _utf8mb4 and c = 0 group by 0 order by 0"},
		{"select a->'$.x' from t where d > now() - interval 7 day", "select a->'' from t where d > now() - interval 0 day"},
		{"select a from t where b between 1 and 2 and c in ('x')", "select a from t where b between 0 and 0 and c in ('')"},
		{"select a from t where b = 123456789012345678", "select a from t where b = 0"},
		{"select a from t where b = ?", "select a from t where b = ?"},
		{"select a from t where b = 1234567890123456789", ""},
		{"select a as 'x' from t", ""},
		{"select a 'x' from t", ""},
		{"select count(*) 'x' from t", ""},
		{"select 'a' 'b' from t", ""},
		{"select a from t where b = 'a' \"b\"", ""},
		{"select a from t 'u', s.like 'v'", ""},
		{"select a from s.like 'v'", ""},
		{"select a from s. like 'v'", ""},
		{"select date '2020-01-01'", ""},
		{"select time'10:00' from t", ""},
		{"select _utf8'x' from t", ""},
		{"select a from t where b = x'4D'", ""},
		{"select a from t where b = n'x'", ""},
		{"select a from t where b = b'1'", ""},
		{"select a from t where b = 0x4D", ""},
		{"select a from t where b = 1e5", ""},
		{"select a from t where b = 1.5e5", ""},
		{"select a from t where b = .5", ""},
		{"select a from t.1", ""},
		{"select 1a from t", ""},
		{"set @'x' = 1", ""},
		{"select a from t where b = :1", ""},
		{"select a // 'x\n' from t", ""},
		{"select a --\x7f 'x\n' from t", ""},
		{"select a --\v 'x\n' from t", ""},
		{"select a /*!80000 , 1 */ from t", ""},
		{"select a from t where b = 'open", ""},
		{`select a from t where b = 'open\'`, ""},
		{"select a from t where b = 'z\x00'", ""},
		{"select 1 " + strings.Repeat(" ", query.MaxText), ""},
	} {
		normal, got, ok := source{}.Skeleton(nil, []byte(c.sql))
		if ok != (c.want != "") || ok && (string(got) != c.want || string(normal) != strings.TrimSpace(c.sql)) {
			t.Errorf("%.60q: %q, %v, want %q", c.sql, got, ok, c.want)
		}
		if _, again, ok := (source{}).Skeleton(nil, got); c.want != "" && (!ok || string(again) != c.want) {
			t.Errorf("%.60q: the skeleton of its skeleton is %q, %v", c.sql, again, ok)
		}
	}
}

// seeded is a source of chance, by SLUICE_SEED where that is set.
func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SLUICE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 46))
}

// tame are constants that a skeleton leaves out where they are values.
var tame = []string{"''", "'x'", "\"x\"", "'now'", "'a''b'", `'a\'b'`, `'\\'`, "'-- /*'", "'*/ #'", "'); drop table articles'", "'articles'", "'mine('", "'\n'",
	"'10:00:00'", "'@x'", "'`'", "'\"'", "\"'\"", "'é'", "0", "7", "12345678901", "999999999999999999", "1.5"}

// odd are others, and what is next to no constant.
var odd = []string{"9999999999999999999", ".5", "1.", "1e5", "0x1f", "0b1", "x'4D'", "_utf8'x'", "n'x'", "time'10:00'", "date '2020-01-01'", "null", "-1", "'a' 'b'", "'", "?", "@x", "@@version"}

// A grammar makes statements, of which not all are good.
type grammar struct{ *rand.Rand }

func (g grammar) of(choices ...string) string { return choices[g.IntN(len(choices))] }

// seldom is one of choices now and then, else "".
func (g grammar) seldom(choices ...string) string {
	if g.IntN(16) > 0 {
		return ""
	}
	return g.of(choices...)
}

func (g grammar) constant() string {
	if g.IntN(24) == 0 {
		return g.of(odd...)
	}
	return g.of(tame...)
}

// recast puts other constants in the place of those of a text, as far as the lexer knows them.
func (g grammar) recast(sql string, constant func() string) string {
	var out strings.Builder
	l := lexer{sql: sql}
	end := 0
	for l.next(); l.kind != kindEnd; l.next() {
		out.WriteString(sql[end:l.start])
		if end = l.at; (l.kind == kindString || l.kind == kindNumber) && g.IntN(4) > 0 {
			out.WriteString(constant())
		} else {
			out.WriteString(sql[l.start:l.at])
		}
	}
	return out.String() + sql[end:]
}

func (g grammar) value(depth int) string {
	if depth > 1 || g.IntN(2) == 0 {
		return g.of("id", "a.name", "`name`", g.constant(), g.constant(), g.constant())
	}
	v := func() string { return g.value(depth + 1) }
	switch g.IntN(12) {
	case 0:
		return v() + g.of("+", " - ", " --", "*", "/", " div ", " mod ", "%", "|", "&", "^", "<<", " or ", " and ", g.of("->", "->>", "||", "//")) + v()
	case 1:
		name := g.of("lower", "concat", "coalesce", "if", "unix_timestamp", "time", "addtime", "curdate")
		if g.IntN(4) == 0 {
			name = g.of("sleep", "get_lock", "mine", "soundex", "`mine`", "now", "rand", "last_insert_id", "x", "app.mine")
		}
		return name + "(" + v() + g.of("", ", "+v()) + ")"
	case 2:
		return "case when " + v() + " then " + v() + " else " + v() + " end"
	case 3:
		return "cast(" + v() + " as " + g.of("signed", "char", "char(10)", "time", "time(3)", "decimal(10,2)", "date") + ")"
	case 4:
		return v() + g.of(" in (", " not in (") + v() + ", " + v() + ")"
	case 5:
		return v() + g.of(" like ", " rlike ", " = ", "<=>", " != ", " sounds like ") + v() + g.seldom(" escape '|'")
	case 6:
		return v() + " between " + v() + " and " + v()
	case 7:
		return "date_add(" + v() + ", interval " + v() + " " + g.of("day", "minute_second", "hour") + ")"
	case 8:
		return "(select " + v() + " from " + g.table() + g.of("", " limit 1") + ")"
	case 9:
		return g.of("binary ", "not ", "-", "!", "~", g.of("time", "timestamp", "date", "_utf8mb4", "x", "n", "b")+g.of("", " ")) + v()
	case 10:
		return "group_concat(" + v() + " separator " + g.constant() + ")"
	}
	return "(" + v() + ")" + g.seldom(" collate utf8mb4_bin")
}

func (g grammar) table() string {
	return g.of("articles", "users", "app.articles", "far.things", "clocks", g.of("v", "mysql.user", "nothing", "app.like", "(select 1)", "parent", "loud")) +
		g.of("", " a", " as a", g.seldom(" 'a'", " as \"mine\"", " mine", " 'concat'"))
}

func (g grammar) comment() string {
	return g.seldom(" ", "\n", " /* 1 'x */ ", " -- 'x\n", " # 1\n", "--\x7f '\n", " --\v'\n", "//", " /*+ SET_VAR(x=1) */ ", " /*+ NO_ICP(a) */ ", " /*!80000 1 */ ", " /*", ";")
}

func (g grammar) query() string {
	v := func() string { return g.value(0) }
	var sql string
	switch g.IntN(8) {
	case 0:
		sql = g.of("insert", "replace") + " into " + g.table() + " (id, name) values (" + v() + ", " + v() + ")" + g.of("", " on duplicate key update id = "+v())
	case 1:
		sql = "update " + g.table() + " set name = " + v() + " where " + v()
	case 2:
		sql = "delete from " + g.table() + " where " + v() + g.of("", " limit 1")
	case 3:
		sql = g.of("set x = ", "set names ", "call p(", "do ", "show tables like ", "kill ", "prepare p from ", "set statement x=1 for delete from articles where id = ") + v()
	default:
		sql = g.seldom("with c as (select "+v()+" from "+g.table()+") ") + "select " + g.of("", "distinct ", g.seldom("sql_no_cache ", "sql_calc_found_rows ")) + v() +
			g.of("", " x", " as x", g.seldom(" 'x'", " as \"mine\"")) + ", " + v() + " from " + g.table() + g.comment() + g.of("", "", " join "+g.table()+" on "+v()) +
			" where " + v() + g.comment() + g.of("", " group by 1", " order by "+v()) + g.of("", " limit 5", " limit 5, 10", " limit 5 offset 1") +
			g.seldom(" for update", " into outfile 'x'", " union select 1, 2 from users")
	}
	return g.comment() + sql + g.comment()
}

// alike checks what a classifier says of a text that it may take for like one of before, and
// reports whether it did.
func alike(t *testing.T, k *query.Classifier, source query.Source, sql string) bool {
	got, want := *k.Judge([]byte(sql)), source.Judge(sql)
	if _, skeleton, ok := source.Skeleton(nil, []byte(sql)); ok { // which counts as what the text does
		shape, _ := source.Shape(sql)
		if got, _ := source.Shape(string(skeleton)); got != shape {
			t.Errorf("%q counts as %q, its skeleton as %q", sql, shape, got)
		}
	}
	for _, c := range []struct{ got, want any }{{got.Status, want.Status}, {got.Reason, want.Reason}, {got.Text, want.Text}, {got.Day, want.Day},
		{got.Tables, want.Tables}, {got.Effect, want.Effect}, {got.Replaceable, want.Replaceable}} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%q: %+v, want %+v", sql, got, *want)
			break
		}
	}
	return k.Known([]byte(sql)) == nil // what the parser has judged is kept
}

// TestSkeletons: whatever constants a text has, what is taken over from another text of its
// skeleton is what the parser and the catalog say of it.
func TestSkeletons(t *testing.T) {
	g := grammar{seeded(t)}
	source := Source(testCatalog(t))
	shared, read := 0, 0
	for range 4000 {
		k := query.NewClassifier(Source(nil))
		k.SetSource(source)
		sql := g.query()
		for range 5 {
			if alike(t, k, source, sql) {
				shared++
				if k.Judge([]byte(sql)).Status == query.StatusMiss {
					read++
				}
			}
			sql = g.recast(sql, g.constant)
		}
	}
	if t.Logf("%d texts were taken for like another, %d of them reads", shared, read); shared < 500 || read < 50 {
		t.Errorf("only %d texts were taken for like another, %d of them reads", shared, read)
	}
}

// FuzzSkeleton is TestSkeletons with texts and constants of the fuzzer's.
func FuzzSkeleton(f *testing.F) {
	for i, text := range []string{"SELECT * FROM articles WHERE id = 1 AND name LIKE 'x'", "INSERT INTO articles VALUES ('a\\'b', 1) -- x", "SELECT a --\x7f '\n' FROM articles",
		"SELECT 'a''b' // 1\n FROM articles 'mine', users", "SET x = 'y'", "SELECT 1.5, .5, 1. FROM app.like 'x' LIMIT 5"} {
		f.Add(text, odd[i], uint64(i))
	}
	source := Source(testCatalog(f))
	f.Fuzz(func(t *testing.T, text, constant string, n uint64) {
		k := query.NewClassifier(Source(nil))
		k.SetSource(source)
		g := grammar{rand.New(rand.NewPCG(n, 0))}
		for range 3 {
			alike(t, k, source, text)
			text = g.recast(text, func() string { return g.of(constant, "'"+constant+"'", "\""+constant+"\"", g.constant()) })
		}
	})
}

// manyTexts are texts that differ in constants alone.
func manyTexts(b *testing.B) func() []byte {
	b.ReportAllocs()
	n := 0
	return func() []byte {
		n++
		return fmt.Appendf(nil, "select a.id, a.body, json_arrayagg(u.id) from articles a left join users u on u.id = a.id where a.id = %d and a.body like 'x%d' group by 1, 2 limit 50", n, n)
	}
}

func BenchmarkNewText(b *testing.B) {
	k := query.NewClassifier(Source(nil))
	k.SetSource(Source(testCatalog(b)))
	text := manyTexts(b)
	for b.Loop() {
		if v := k.Judge(text()); v.Status != query.StatusMiss {
			b.Fatal(v)
		}
	}
}

// BenchmarkParse is what a text costs that is like none of before.
func BenchmarkParse(b *testing.B) {
	s, text := Source(testCatalog(b)), manyTexts(b)
	for b.Loop() {
		if v := s.Judge(string(text())); v.Status != query.StatusMiss {
			b.Fatal(v)
		}
	}
}
