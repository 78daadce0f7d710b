package query

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A grammar makes random SELECTs of the tables of testCatalog. poison is set where it put in
// something whose result may not be kept.
type grammar struct {
	*rand.Rand
	depth  int
	poison string
}

func (g *grammar) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g *grammar) taint(s string) string {
	g.poison = s
	return s
}

// blank parts words in one of many ways.
func (g *grammar) blank() string {
	return g.pick(" ", " ", " ", "\n", "\t", "/* now() */", "/* /* nested */ random() */", "-- nextval('x')\n", " /**/ ")
}

// name spells a function in one of many ways.
func (g *grammar) name(s string) string {
	switch g.IntN(6) {
	case 0:
		return strings.ToUpper(s)
	case 1:
		return `"` + s + `"`
	case 2:
		return "pg_catalog." + s
	case 3:
		return s + g.blank()
	}
	return s
}

func (g *grammar) constant() string {
	return g.pick("1", "2.5", "'text'", "'it''s'", "$$dollar ' quoted$$", "e'back\\'slash'", "true", "null", "$1", "'now2'", "'nowhere'", "b'101'", "interval '1 day'")
}

func (g *grammar) expression() string {
	g.depth++
	defer func() { g.depth-- }()
	if g.depth > 4 {
		return g.pick(g.constant(), "id", "body", "articles.body")
	}
	e := g.expression
	switch g.IntN(34) {
	case 0, 1, 2, 3:
		return g.constant()
	case 4, 5, 6:
		return g.pick("id", "body", "published_time", "articles.id", "articles.body")
	case 7:
		return g.name("lower") + "(" + e() + ")"
	case 8:
		return g.name("concat") + "(" + e() + "," + g.blank() + e() + ")"
	case 9:
		return "coalesce(" + e() + ", " + e() + ")"
	case 10:
		return "case when " + e() + " is null then " + e() + " else " + e() + " end"
	case 11:
		return "(" + e() + g.blank() + g.pick("=", "<", "||", "+", "and", "or", "is distinct from") + g.blank() + e() + ")"
	case 12:
		return "array[" + e() + ", " + e() + "]"
	case 13:
		return "(" + e() + ")::" + g.pick("text", "int", "numeric(10,2)", "varchar(5)")
	case 14:
		return "cast(" + e() + " as text)"
	case 15:
		return "exists (" + g.query() + ")"
	case 16:
		return "(select " + e() + " from " + g.table() + " limit 1)"
	case 17:
		s := g.name("count") + "(" + g.pick("*)", "distinct id)", "id) filter (where id is null)")
		if g.IntN(3) == 0 {
			s += " over (partition by " + e() + ")"
		}
		return s
	case 18:
		return e() + " in (" + e() + ", " + e() + ")"
	case 19:
		return e() + " between " + e() + " and " + e()
	case 20:
		return "substring(" + e() + " from 1 for 2)"
	case 21:
		return "extract(year from published_time)"
	case 22:
		return g.taint(g.name(g.pick("random", "now", "clock_timestamp", "lastval", "txid_current", "version", "pg_backend_pid")) + "()")
	case 23:
		return g.taint(g.pick("current_timestamp", "localtime", "CURRENT_USER", "session_user", "current_time(2)", "user", "current_schema", "Localtimestamp"))
	case 24:
		return g.taint("nextval('" + g.pick("s", "ids") + "')")
	case 25:
		return g.taint(g.pick("'now'", "'today'::date", "date ' Tomorrow'", "timestamp 'yesterday 10:00'", "$x$ NOW $x$", "e'to\\144ay'"))
	case 26:
		return g.taint(g.name("age") + "(published_time)")
	case 27:
		return g.taint(g.pick("stale", "vol", "other.worst") + "(1)")
	case 28:
		return g.taint("articles.vol")
	case 29:
		return g.taint("(1 @@@ " + e() + ")")
	case 30:
		return g.taint("set_config('a.b', " + e() + ", true)")
	case 31:
		return g.taint("(" + e() + ")::regclass")
	case 32:
		return g.taint("(table tenants)")
	}
	return g.taint("(select body from " + g.pick("chance", "over", "remote", "tenants", "pg_class", "information_schema.tables", "shown_nowhere", "ids") + ")")
}

func (g *grammar) table() string {
	switch g.IntN(9) {
	case 0:
		return "public.articles"
	case 1:
		return "articles as a" + strconv.Itoa(g.IntN(9)) + " join users on true"
	case 2:
		return "(" + g.query() + ") q" + strconv.Itoa(g.IntN(99))
	case 3:
		return "plain"
	case 4:
		return "parent, lateral (select articles.body from articles) l"
	case 5:
		return "unnest(array[1,2]) as u(n), articles"
	case 6:
		if g.IntN(4) == 0 {
			return g.taint("articles tablesample system (10)")
		}
	}
	return "articles"
}

func (g *grammar) query() string {
	g.depth++
	defer func() { g.depth-- }()
	var b strings.Builder
	switch g.IntN(12) {
	case 0:
		b.WriteString("with c as (" + g.simple() + ") ")
	case 1:
		if g.depth == 1 && g.IntN(3) == 0 {
			b.WriteString("with c as (" + g.taint(g.pick("insert into users values (1) returning id", "update users set id = 1 returning id", "delete from users returning *")) + ") ")
		}
	}
	b.WriteString(g.simple())
	switch g.IntN(14) {
	case 0:
		b.WriteString(" union all " + g.simple())
	case 1:
		b.WriteString(" order by 1 limit " + g.pick("5", "$2"))
	case 2:
		if g.IntN(3) == 0 {
			b.WriteString(g.taint(g.pick(" for update", " for share of articles", " for no key update skip locked")))
		}
	}
	return b.String()
}

func (g *grammar) simple() string {
	into := ""
	if g.depth == 1 && g.IntN(60) == 0 {
		into = g.taint(" into made ")
	}
	s := "select" + g.blank() + g.expression() + g.pick("", " as x")
	if g.IntN(3) == 0 {
		s += ", " + g.expression()
	}
	s += into + " from " + g.table()
	if g.IntN(2) == 0 {
		s += " where " + g.expression() + " is not null"
	}
	if g.IntN(8) == 0 {
		s += " group by " + g.expression() + " having " + g.expression() + " is null"
	}
	return s
}

// seeded is a source of chance, by SLUICE_SEED where that is set.
func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SLUICE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 46))
}

// TestCache46GeneratedSQL: of random statements none is cacheable that has something
// whose result may not be kept, however it is spelt and wherever it stands.
func TestCache46GeneratedSQL(t *testing.T) {
	c := testCatalog(t)
	r := seeded(t)
	cacheable, poisoned := 0, 0
	for range 5_000 {
		g := &grammar{Rand: r}
		sql := g.query()
		v := c.Judge(Analyze(sql))
		if g.poison != "" {
			poisoned++
		}
		switch {
		case v.Status == StatusMiss && g.poison != "":
			t.Fatalf("cacheable with %q:\n%s", g.poison, sql)
		case v.Status == StatusMiss:
			cacheable++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of 5000 are cacheable, %d may not be", cacheable, poisoned)
	if cacheable < 200 || poisoned < 200 {
		t.Error("that proves nothing")
	}
}
