package postgres

import (
	"reflect"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

func TestPatch(t *testing.T) {
	c := &client{talk: talk{status: pgwire.TxActive}}
	c.session.base = newState([]setting{{"role", "Éve"}, {"search_path", `a,"B"`}, {"session_authorization", `o'x\`}, {"work.mem", "8MB"}})
	const lists = `SELECT pg_catalog.set_config('search_path','a,"B"',false)`
	const role = `SELECT pg_catalog.set_config('role',pg_catalog.convert_from(E'\\xc3897665'::pg_catalog.bytea,'UTF8'),false)`
	for _, tt := range []struct{ sql, want string }{
		{"RESET work.mem", `RESET work.mem;SET "work"."mem" = '8MB'`},
		{"RESET ALL; SHOW x", `RESET ALL;SET "work"."mem" = '8MB';` + lists + `; SHOW x`},
		{"SET LOCAL search_path TO DEFAULT", "SET LOCAL search_path TO DEFAULT;" + strings.Replace(lists, "false", "true", 1)},
		{"RESET SESSION AUTHORIZATION;", `RESET SESSION AUTHORIZATION;SET "session_authorization" = E'o''x\\';` + role + ";"},
		{"SELECT set_config('work.mem', NULL, true), 'é'; RESET work.mem", `SELECT set_config('work.mem', '8MB', true), 'é'; RESET work.mem;SET "work"."mem" = '8MB'`},
		{"RESET work_mem", ""},
		{"RESET work.mem; SELECT '\x00'", ""},
		{"SET work.mem = '1'", ""},
	} {
		changes, _ := query.Changes([]byte(tt.sql), true)
		got := ""
		if p := c.patch([]byte(tt.sql), changes); p != nil {
			got = string(p.text)
		}
		if got != tt.want {
			t.Errorf("patch of %q:\n%s, want\n%s", tt.sql, got, tt.want)
		}
	}
	c.session.base = noState
	changes, _ := query.Changes([]byte("RESET work.mem"), true)
	if c.patch([]byte("RESET work.mem"), changes) != nil {
		t.Error("patched for a client without a start-up packet's settings")
	}
	if n := testing.AllocsPerRun(100, func() { c.patch([]byte("RESET work.mem"), changes) }); n != 0 {
		t.Errorf("%g allocations for such a client", n)
	}
}

// Every character of the driver's text has the position that it has there.
func TestPatchPosition(t *testing.T) {
	c := &client{talk: talk{status: pgwire.TxIdle}}
	c.session.base = newState([]setting{{"a.b", "x"}, {"c.d", "a long value"}})
	for _, sql := range []string{
		"RESET a.b; ßelect 1; RESET ALL; SELECT 2", "SELECT 'é', set_config('c.d', NULL, false), set_config('a.b', NULL, false); RESET c.d; x",
	} {
		changes, _ := query.Changes([]byte(sql), true)
		p := c.patch([]byte(sql), changes)
		patched, at := []rune(string(p.text)), 0
		for i, r := range []rune(sql) {
			for at < len(patched) && (patched[at] != r || p.position(at+1) != i+1) {
				at++
			}
			if at == len(patched) && !strings.Contains("NULL", string(r)) {
				t.Errorf("%q: character %d has no position in %q", sql, i, string(p.text))
				break
			}
			if at == len(patched) {
				at = 0
			}
		}
	}
}

func TestPatchRewrite(t *testing.T) {
	p := &patch{edits: []edit{{at: 10, size: 20}}}
	for _, tt := range []struct{ body, want string }{
		{"SERROR\x00C42601\x00P35\x00Fx.c\x00\x00", "E\x00\x00\x00\x1cSERROR\x00C42601\x00P15\x00Fx.c\x00\x00"},
		{"SERROR\x00P100\x00\x00", "E\x00\x00\x00\x10SERROR\x00P80\x00\x00"},
		{"SERROR\x00P10\x00\x00", ""},
		{"SERROR\x00P35\x00", ""},  // cut short
		{"SERROR\x00P35\x00M", ""}, // likewise
		{"SERROR\x00M P35\x00\x00", ""},
	} {
		if got := string(p.rewrite('E', []byte(tt.body))); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.body, got, tt.want)
		}
	}
}

func TestSetList(t *testing.T) {
	for _, tt := range []struct{ list, want string }{
		{`"$user", public`, `'$user', 'public'`},
		{`a_1, "B c", "it's"`, `'a_1', 'B c', 'it''s'`},
		{`a,b`, ""}, {`"a"`, ""}, {`"a, b"`, ""}, {`"a""b"`, ""}, {"", ""}, {"A", ""}, {`""`, ""}, {`"`, ""}, {"1a", ""}, {"é", ""},
	} {
		if got, ok := (setting{"search_path", tt.list}).set(); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%q: %s %t, want %s", tt.list, got, ok, tt.want)
		}
	}
}

func TestRestoringOrder(t *testing.T) {
	got := restoringSQL([]setting{{"role", "r"}, {"session_authorization", "s"}, {"x", "1"}}, true)
	want := []string{`SET LOCAL "x" = '1'`, `SET LOCAL "session_authorization" = 's'`, `SET LOCAL "role" = 'r'`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
