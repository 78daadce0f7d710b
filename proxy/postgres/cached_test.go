package postgres

import (
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
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
