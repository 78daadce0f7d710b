package results

import (
	"context"
	"time"

	"github.com/sluicedb/sluice/proxy/query"
)

// minPoll and maxPoll bound the time between two looks at the catalog, which
// is half of the results' age: a change is seen before a result that it makes
// wrong has ended by itself.
const (
	minPoll = time.Second
	maxPoll = 30 * time.Second
	// breath is the time between two looks however often the catalog is in doubt: each
	// costs the origin some milliseconds, and each call of a function that may change
	// anything is a doubt.
	breath = 100 * time.Millisecond
)

// An Origin is a connection to the origin that its catalog is read by.
type Origin interface {
	// Fingerprint is one of the catalog: that of another is another.
	Fingerprint() (string, error)
	// Load reads it.
	Load() (query.Source, error)
	// Done gives the connection back, which has failed where err is not nil.
	Done(err error)
}

// Keep looks at the catalog as long as it is asked for, until ctx ends, each time by
// a connection that open returns.
func (r *Results) Keep(ctx context.Context, open func() (Origin, error)) {
	var fingerprint string
	var idle time.Duration // for how long nobody has asked
	for {
		p := r.Space.Policy()
		wait := min(max(p.MaxAge/2, minPoll), maxPoll)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-r.poke:
			if t.Stop(); r.isKnown() { // it was poked while it looked
				continue
			}
		case <-t.C:
			if idle += wait; r.used.Swap(false) {
				idle = 0
			}
			if !r.on.Load() || idle > p.MaxAge+p.Stale {
				r.doubts.Add(1) // nobody has asked for as long as a result lives
				continue
			}
		}
		if !r.on.Load() {
			continue
		}
		pause := breath
		if err := r.look(open, &fingerprint); err != nil {
			r.doubts.Add(1)
			fingerprint = ""
			pause = minPoll
		}
		select { // not again at once, however many ask
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// look compares the catalog with its fingerprint and loads it where that is
// another. What is in doubt while it looks stays in doubt.
func (r *Results) look(open func() (Origin, error), fingerprint *string) (err error) {
	o, err := open()
	if err != nil {
		return err
	}
	defer func() { o.Done(err) }()
	select {
	case <-r.poke: // what was doubted until now is looked at now
	default:
	}
	doubts := r.doubts.Load()
	print, err := o.Fingerprint()
	if err != nil {
		return err
	}
	if print != *fingerprint || !r.Statements.Ready() {
		// What was judged by the catalog of before is in doubt. A doubt that came since the fingerprint was asked for stays one.
		if r.doubts.Add(1) == doubts+1 {
			doubts++
		}
		catalog, err := o.Load()
		if err != nil {
			return err
		}
		// Results of before are forgotten once the catalog is in force.
		r.Statements.SetSource(catalog)
		r.Space.Renew()
		*fingerprint = print
	}
	r.settle(doubts)
	return nil
}
