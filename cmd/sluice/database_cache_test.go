package main

import (
	"bytes"
	"strings"
	"testing"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func TestPrintCaches(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out}
	one := v4.Cache{
		Proxy: "edge-1/7", Enabled: true, Entries: 2, Bytes: 3 << 20, BytesMax: 256 << 20, BytesHit: 2048,
		Statuses: map[string]uint64{"hit": 30, "miss": 10, "volatile": 5, "disabled": 0},
		Top:      []v4.CachedStatement{{Statement: "select * from t where id = ?", Hits: 30, Misses: 10, Saved: 1.5}},
		Reasons:  []v4.CacheRefusal{{Reason: "it calls now, which is not IMMUTABLE", Statements: 5}},
	}
	other := one
	other.Suspended = true
	other.Reasons = []v4.CacheRefusal{{Reason: "it locks rows", Statements: 20}}
	if err := a.printCaches([]v4.Cache{one, other}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"on; resting at 1 proxies", "4, of 6.0 MiB; results of all databases may take 512.0 MiB", "60 of 80 queries that may be cached (75.0 %), 90 in all",
		"4.0 KiB from the cache", "60 hit, 20 miss, 10 volatile", "3s", "select * from t where id = ?", "20          it locks rows",
		"5           it calls now",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := a.printCaches(nil); err != nil || !strings.Contains(out.String(), "No proxy has served") {
		t.Errorf("%v: %q", err, out.String())
	}
}

func TestPrintExplanation(t *testing.T) {
	for _, c := range []struct {
		e    v4.QueryExplanation
		want []string
	}{
		{v4.QueryExplanation{Status: "miss", MaxAge: 60, StaleWhileRevalidate: 15, Reads: []string{"public.a", "public.b"}, Day: true},
			[]string{"yes", "for 60 s, and for 15 s more", "public.a, public.b", "of one day"}},
		{v4.QueryExplanation{Status: "volatile", Reason: "it calls random, which is not IMMUTABLE"}, []string{"no", "volatile", "it calls random"}},
		{v4.QueryExplanation{Status: "notaquery", Reason: "the statement is no SELECT", Writes: []string{"public.a"}}, []string{"what is cached of public.a is stale after it"}},
		{v4.QueryExplanation{Status: "notaquery", Reason: "the statement is no SELECT", Writes: []string{"any"}}, []string{"it may change any table"}},
		{v4.QueryExplanation{Status: "parseerror", Reason: "the statement was not understood", Writes: []string{"any"}}, []string{"not understood", "the origin gets it as it is"}},
	} {
		var out bytes.Buffer
		if err := (&app{out: &out}).printExplanation(c.e); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, out.String())
			}
		}
	}
}

// A statement of which only a part was read would be explained as another.
func TestExplainRefusesWhatIsTooLong(t *testing.T) {
	var out, errs strings.Builder
	a := &app{in: strings.NewReader("SELECT 1" + strings.Repeat(" ", maxExplained-8) + "; DELETE FROM t"), out: &out, err: &errs, getenv: func(name string) string {
		switch name {
		case "SLUICE_API_TOKEN":
			return "token"
		case "SLUICE_API_URL":
			return "https://127.0.0.1:1" // nobody is asked
		case "HOME", "XDG_CONFIG_HOME":
			return t.TempDir()
		}
		return ""
	}}
	if code := a.execute(t.Context(), []string{"query", "explain", "--database", "app", "-"}); code == exitOK || !strings.Contains(errs.String(), "longer than 1 MiB") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
