package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

func TestCacheSettings(t *testing.T) {
	welcome := []pgwire.Param{{Name: "TimeZone", Value: "Etc/UTC"}, {Name: "client_encoding", Value: "UTF8"}, {Name: "standard_conforming_strings", Value: "on"}}
	at := time.Date(2026, 3, 1, 23, 30, 0, 0, time.UTC)
	for _, test := range []struct {
		own []pgwire.Param
		ok  bool
		day string
	}{
		{nil, true, "2026-03-01"},
		{[]pgwire.Param{{Name: "timezone", Value: "UTC"}}, true, "2026-03-01"},
		{[]pgwire.Param{{Name: "TimeZone", Value: "Europe/Berlin"}}, true, "2026-03-02"},
		{[]pgwire.Param{{Name: "options", Value: "-c timezone=Asia/Tokyo"}}, true, "2026-03-02"},
		{[]pgwire.Param{{Name: "TimeZone", Value: "EST5EDT"}}, true, ""},
		{[]pgwire.Param{{Name: "TimeZone", Value: "<+05>-05"}}, true, ""},
		{[]pgwire.Param{{Name: "TimeZone", Value: "UTC"}, {Name: "options", Value: "-c timezone=Asia/Tokyo"}}, true, ""},
		{[]pgwire.Param{{Name: "client_encoding", Value: "'utf-8'"}}, true, "2026-03-01"},
		{[]pgwire.Param{{Name: "client_encoding", Value: "SJIS"}}, false, ""},
		{[]pgwire.Param{{Name: "options", Value: "-c standard_conforming_strings=off"}}, false, ""},
		{[]pgwire.Param{{Name: "search_path", Value: "a, pg_temp"}}, false, ""},
	} {
		s := cacheable(welcome, ownSettings(test.own))
		if s.ok != test.ok {
			t.Errorf("%v: ok is %v", test.own, s.ok)
		}
		if day, _ := s.today(at); s.ok && day != test.day {
			t.Errorf("%v: %q, want %q", test.own, day, test.day)
		}
	}
	s := cacheable(welcome, nil)
	for _, d := range []time.Duration{-time.Second, time.Second} {
		if _, ok := s.today(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).Add(d)); ok {
			t.Errorf("a day %v from midnight", d)
		}
	}
}

// TestCache34KeysDiffer: whatever is different of what a key is made of, the keys are, though
// parts end where others begin; and beside the parts there is little in them.
func TestCache34KeysDiffer(t *testing.T) {
	value := func(s string) []byte { return append([]byte{0, 0, 0, byte(len(s))}, s...) }
	bind := func(formats string, results string, values ...[]byte) []byte {
		b := []byte{0, byte(len(formats))}
		for _, f := range formats {
			b = append(b, 0, byte(f-'0'))
		}
		b = append(b, 0, byte(len(values)))
		for _, v := range values {
			b = append(b, v...)
		}
		b = append(b, 0, byte(len(results)))
		for _, f := range results {
			b = append(b, 0, byte(f-'0'))
		}
		return b
	}
	null := []byte{255, 255, 255, 255}
	c := &client{}
	seen := map[string]int{}
	asks := []asked{}
	for _, scope := range []uint64{1, 200} {
		for _, session := range []string{"", "a", "ab"} {
			for _, text := range []string{"select", "bselect", strings.Repeat("x", 300)} {
				v := &query.Verdict{Text: text}
				asks = append(asks, asked{verdict: v, session: session, scope: scope, group: group{simple: true}})
				for _, types := range []string{"", "\x00\x00\x00\x17"} {
					for _, b := range [][]byte{bind("", "", value("")), bind("", "", null), bind("", "", value("a")), bind("", "", value("a"), value("")),
						bind("", "", value("a"), null), bind("", "", null, value("a")), bind("1", "", value("a")), bind("", "1", value("a")), bind("01", "", value("a"), value("a")),
						bind("10", "", value("a"), value("a")), bind("", "01", value("a")), bind("", "", value("\x01a")), bind("", "", value("a\x00"))} {
						asks = append(asks, asked{verdict: v, session: session, scope: scope, group: group{types: []byte(types), bind: b}})
					}
				}
			}
		}
	}
	for i := range asks {
		a := &asks[i]
		key, ok := c.appendKey(nil, a)
		if !ok {
			t.Fatalf("%d has no key", i)
		}
		if j, twice := seen[string(key)]; twice {
			t.Errorf("%+v and %+v have one key", asks[i].group, asks[j].group)
		}
		seen[string(key)] = i
		if parts := len(a.session) + len(a.verdict.Text) + len(a.types) + len(a.bind); len(key) > parts+6 {
			t.Errorf("a key of %d bytes of parts of %d", len(key), parts)
		}
	}
}
