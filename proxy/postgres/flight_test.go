package postgres

import (
	"time"

	"github.com/sluicedb/sluice/proxy/cache"
)

// newTestFlight is an inner client's driver, and a reader of its flight.
func newTestFlight() (*flightConn, *cache.Reader) {
	s := testCache.Space(cache.Policy{MaxAge: time.Minute})
	st, _ := s.Stamp(nil)
	r, _ := s.Join([]byte("k"), st, nil)
	return &flightConn{flight: r.Flight(), finished: true}, r
}

var testCache = cache.New(cache.Config{MaxBytes: 8 << 20})
