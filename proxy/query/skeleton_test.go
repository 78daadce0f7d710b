package query

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestSkeleton(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"select * from t where a = 'x' and n = 12 and f < 1.25", "select * from t where a = '' and n = 0 and f < 0.0"},
		{" select 'it''s', '' from t where a=$12 /* c */ and b in (1,2) -- c", "select '', '' from t where a=$12   and b in (0,0)"},
		{`select "a'1" from t2 /*+ hint 1 */ where b = '2'`, `select "a'1" from t2 /*+ hint 1 */ where b = ''`},
		{"select 2147483647, 002147483647, 2147483648, 10000000000", "select 0, 0, 0.0, 0.0"},
		{"select date '2020-01-01', a.5, -1", "select date '', a.0, -0"},
		{"select 'to' \n 'day'", ""},
		{"select 'to' --\n 'day'", ""},
		{"select ' Today'", ""},
		{`select 'a\'`, ""},
		{"select e'a', 1", ""},
		{"select b'1'", ""},
		{"select u&'a'", ""},
		{"select $$a$$", ""},
		{"select $a$a$a$", ""},
		{"select 1e5", ""},
		{"select 0x1f", ""},
		{"select 1_000", ""},
		{"select 1.2.3", ""},
		{"select 1from t", ""},
		{"select 1. from t", ""},
		{"select 'open", ""},
		{"select 1 " + strings.Repeat(" ", MaxText), ""},
	} {
		_, got, ok := Skeleton(nil, []byte(c.sql))
		if ok != (c.want != "") || ok && string(got) != c.want {
			t.Errorf("%.60q: %q, %v, want %q", c.sql, got, ok, c.want)
		}
	}
}

// recast puts other constants in the place of those of a text, as far as the lexer knows them.
func recast(sql string, r *rand.Rand) string {
	var out strings.Builder
	l := lexer{sql: []byte(sql)}
	end := 0
	for t := l.next(); ; t = l.next() {
		out.WriteString(sql[end:t.start])
		end = t.end
		is := sql[t.start:t.end]
		switch {
		case t.kind == tokenEOF:
			return out.String()
		case t.kind == tokenString && is[0] == '\'':
			out.WriteString([]string{"''", "'x'", "'now'", "'a''b now2'", "'random()'", "'-- /*'", "'); drop'"}[r.IntN(7)])
		case t.kind == tokenPunct && is[0] >= '0' && is[0] <= '9' && (t.start == 0 || sql[t.start-1] != '$'):
			out.WriteString(strings.Replace(is, is[:1], strconv.Itoa(1+r.IntN(9999)), 1))
		default:
			out.WriteString(is)
		}
	}
}

// TestCache46Skeletons: whatever constants a text has, what is taken over from another text of
// its skeleton is what the parser and the catalog say of it.
func TestCache46Skeletons(t *testing.T) {
	r := seeded(t)
	source := Postgres(testCatalog(t))
	k := NewClassifier(Postgres(nil))
	k.SetSource(source)
	e := k.current.Load()
	shared := 0
	check := func(sql string) {
		got := e.like.of(nil, source, []byte(sql))
		if got == nil {
			k.Judge([]byte(sql))
			return
		}
		shared++
		want := source.Judge(sql)
		v := *got
		if use, ok := shapeOf([]byte(sql)); ok && v.use.shape != "" && v.use.shape != use {
			t.Errorf("%q counts as %q", sql, v.use.shape)
		}
		v.use, v.era = nil, 0
		if !reflect.DeepEqual(&v, want) {
			t.Errorf("%q: %+v, want %+v", sql, v, *want)
		}
	}
	for range 3000 {
		sql := (&grammar{Rand: r}).query()
		for range 4 {
			check(sql)
			sql = recast(sql, r)
		}
	}
	for _, sql := range []string{"insert into articles (id, body) values (1, 'x')", "update articles set body = 'y' where id = 7",
		"delete from articles where body = 'z'", "copy articles from '/x'", "set search_path = 'x'", "do 'begin end'", "select 'x'::regclass from articles"} {
		for range 8 {
			check(sql)
			sql = recast(sql, r)
		}
	}
	if shared < 500 {
		t.Errorf("only %d texts were taken for like another", shared)
	}
}

// TestSecondSight: a text that is like one of before is kept when it comes again, and costs
// little until then.
func TestSecondSight(t *testing.T) {
	k := NewClassifier(Postgres(nil))
	k.SetSource(Postgres(testCatalog(t)))
	k.Judge([]byte("select * from articles where id = 1"))
	text := []byte("select * from articles where id = 2")
	if v := k.Judge(text); v.Status != StatusMiss || v.Text != string(text) || k.Known(text) != nil {
		t.Errorf("%+v, known %v", v, k.Known(text))
	}
	if k.Judge(text); k.Known(text) == nil {
		t.Error("seen twice, and not kept")
	}
	kept := k.Judge([]byte("select 1e5 from articles")) // like no other
	for i := range sightings {
		k.current.Load().like.seen[i].Store(0)
	}
	if v := k.Judge([]byte("select 1e5 from articles")); v != kept {
		t.Error("kept, and judged once more as others were seen since")
	}
	k.SetSource(Postgres(nil))
	if v := k.Judge([]byte("select * from articles where id = 3")); v.Status != StatusUncacheable {
		t.Errorf("another catalog's verdict: %+v", v)
	}
	k.SetSource(Postgres(testCatalog(t)))
	k.Judge([]byte("select * from articles where id = 4"))
	n := 100_000
	if got := testing.AllocsPerRun(100, func() {
		n++
		text = strconv.AppendInt(append(text[:0], "select * from articles where id = "...), int64(n), 10)
		k.Judge(text)
	}); got > 3 { // the verdict and its text
		t.Errorf("%v allocations for a new text", got)
	}
}

func BenchmarkNewText(b *testing.B) {
	k := NewClassifier(Postgres(nil))
	k.SetSource(Postgres(testCatalog(b)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if v := k.Judge(fmt.Appendf(nil, "select a.id, a.body, json_agg(u) from articles a left join users u on u.id = a.id where a.id = %d and a.body like 'x%d' group by 1, 2 limit 50", n, n)); v.Status != StatusMiss {
			b.Fatal(v)
		}
	}
}
