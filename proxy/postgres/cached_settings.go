package postgres

import (
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // the programs run where no zone is installed
	"unsafe"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// cacheSession returns what tells the client's settings of this moment from all others,
// and what they mean to the cache; nil where it may not use it. Everything that may
// change a result's bytes without being in its text or its parameters is in the key:
// user, role, search_path and every other setting, as far as they are not the origin's
// own. It is called while the client has no origin connection.
func (c *client) cacheSession() (key string, s *cacheSettings) {
	if !c.settings.ok {
		return "", nil
	}
	return c.session.state.id, &c.settings
}

// plain makes an origin connection one without settings of a client.
func (o *origin) plain() error {
	if o.state == "" {
		return nil
	}
	return o.reset(leftovers{session: query.Dirty, status: pgwire.TxIdle})
}

// cacheSettings are what a client's settings mean to the cache. All of them are in
// its keys; these decide whether it may use it at all.
type cacheSettings struct {
	ok   bool
	zone *time.Location // nil where it is not known for certain
	// origins is the zone's name where it is the origin's own: a connection whose
	// own is another, as one of before ALTER DATABASE may have, does not count.
	origins string
}

// cacheable judges the settings of a client, of which welcome are the origin's own
// and the others the client's.
func cacheable(welcome, own []pgwire.Param) cacheSettings {
	s := cacheSettings{ok: true}
	zones := 0
	for i, list := range [][]pgwire.Param{welcome, own} {
		for _, p := range list {
			value := strings.ToLower(p.Value)
			switch strings.ToLower(p.Name) {
			case "standard_conforming_strings": // else a backslash may hide what is in a string
				s.ok = s.ok && (value == "on" || value == "true" || value == "yes" || value == "1")
			case "client_encoding": // in some a byte of a letter may look like a quote
				value = strings.Trim(value, `'"`)
				s.ok = s.ok && (value == "utf8" || value == "utf-8" || value == "unicode" || value == "sql_ascii")
			case "search_path":
				s.ok = s.ok && !strings.Contains(value, "pg_") && !strings.Contains(value, "information_schema")
			case "session_preload_libraries", "local_preload_libraries", "dynamic_library_path":
				s.ok = false
			case "timezone":
				s.zone, s.origins = zone(p.Value), p.Value
				if i == 1 {
					s.origins = ""
					zones++
				}
			}
		}
	}
	if zones > 1 { // which of them is in force is not for us to say
		s.zone = nil
	}
	return s
}

// zone is the time zone of a name that means the same to PostgreSQL and to Go: those
// of the IANA's database, with a slash, and UTC. PostgreSQL has others.
func zone(name string) *time.Location {
	if !strings.Contains(name, "/") && name != "UTC" && name != "GMT" || strings.ContainsAny(name, "<>+") {
		return nil
	}
	if l, ok := zones.Load(name); ok {
		return l.(*time.Location)
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	zones.Store(name, l)
	return l
}

// zones are those that were asked for, by name. Only what the system's files have gets in, some thousand names.
var zones sync.Map

// today is the date in the session's zone. It reports false close to midnight.
func (s *cacheSettings) today(now time.Time) (string, bool) {
	if s.zone == nil {
		return "", false
	}
	day := now.In(s.zone).Format(time.DateOnly)
	ok := day == now.Add(-nearMidnight).In(s.zone).Format(time.DateOnly) && day == now.Add(nearMidnight).In(s.zone).Format(time.DateOnly)
	return day, ok
}

// stringBytes is a string's bytes, not to be written to.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// ownSettings are the settings of a start-up packet, those in options included.
func ownSettings(startup []pgwire.Param) []pgwire.Param {
	var own []pgwire.Param
	for _, p := range startup {
		if p.Name == "options" {
			own = append(own, splitOptions(p.Value)...)
		} else {
			own = append(own, p)
		}
	}
	return own
}

// textOf is the text in the body of a Parse.
func textOf(body []byte) []byte {
	text, _, _ := pgwire.CString(body)
	return text
}
