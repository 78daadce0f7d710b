package query

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestCache45ShapesHoldNoConstants: what operators are shown of statements has none of
// their constants, and where that is not certain nothing is shown.
func TestCache45ShapesHoldNoConstants(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"select * from t where card = 'secret' and n = 12345", "select * from t where card = ? and n = ?"},
		{"select  *\n from t -- secret\n where a in (1, 2,3) /* secret */ and b = $1", "select * from t where a in (?) and b = $1"},
		{"select $$secret$$, $x$secret$x$, e'se\\'cret', x'5ec2e7', 1.5e9, .5", "select ?, .?"},
		{`select "Column" from "T" /*+ secret */ limit 10`, `select "Column" from "T" limit ?`},
		{"select u&'secret'", ""},
		{`select 'a\' , 'secret'`, ""},
		{`select "` + strings.Repeat("secret", 20) + `"`, ""},
	} {
		got, ok := shapeOf([]byte(c.sql))
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%q: %q, %v, want %q", c.sql, got, ok, c.want)
		}
		if strings.Contains(got, "secret") || strings.Contains(got, "5ec2e7") {
			t.Errorf("%q shows a constant: %q", c.sql, got)
		}
	}
	if got, _ := shapeOf([]byte("select " + strings.Repeat("a, ", 1000))); len(got) > maxShape+3 {
		t.Errorf("a shape of %d bytes", len(got))
	}
}

func TestTopStatementsAndReasons(t *testing.T) {
	c := NewClassifier(Postgres(nil))
	cheap, dear := c.Judge([]byte("select * from a where id = 1")).Use(), c.Judge([]byte("select * from b where id = 1")).Use()
	if other := c.Judge([]byte("select * from b where id = 2")).Use(); other != dear {
		t.Error("texts that differ in constants are counted apart")
	}
	for range 10 {
		cheap.Hit()
	}
	cheap.Miss(time.Millisecond)
	dear.Hit()
	dear.Miss(time.Second)
	c.Judge([]byte("select random()")).Use().Refuse("chance")
	top, why := c.Top(5)
	if len(top) != 2 || top[0].Shape != "select * from b where id = ?" || top[0].Saved != time.Second || top[1].Saved != 10*time.Millisecond || top[1].Hits != 10 {
		t.Errorf("%+v", top)
	}
	if len(why) != 1 || why[0] != (Refusals{"chance", 1}) {
		t.Errorf("%+v", why)
	}
	for i := range 2 * maxUses {
		c.Judge([]byte(fmt.Sprintf("select * from t%d", i))).Use().Hit()
	}
	if n := len(c.uses.shapes); n > maxUses {
		t.Errorf("%d shapes are kept", n)
	}
}
