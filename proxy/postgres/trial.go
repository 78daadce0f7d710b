package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// ErrTestQuery is what Test returns where the login worked and the query did not.
var ErrTestQuery = errors.New("test query failed")

// Test makes an origin connection as a pool does, runs an empty query on it and
// closes it. It blocks until ctx's deadline at most, which ctx must have.
func Test(ctx context.Context, cfg Config) error {
	o, err := NewDatabase("test", cfg, nil).dialOrigin(ctx)
	if err != nil {
		return err
	}
	defer o.Close()
	deadline, _ := ctx.Deadline()
	stop := context.AfterFunc(ctx, func() { _ = o.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := o.SetDeadline(deadline); err != nil {
		return fmt.Errorf("%w: %w", ErrTestQuery, err)
	}
	_, err = o.Write(pgwire.AppendQuery(nil, ";"))
	if err == nil {
		err = o.untilReady(nil)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTestQuery, err)
	}
	return nil
}

// Reason names the kind of a failed dial, in one safe word.
func Reason(err error) string { return dialReason(err) }

// dialCounted is dialOrigin, and counts the connection for Generations until it
// is closed. A connection that is made while the configuration changes counts as
// an old one.
func (d *Database) dialCounted(ctx context.Context) (*origin, error) {
	generation := d.cfg.Load().Generation
	o, err := d.dialOrigin(ctx)
	if err != nil {
		return nil, err
	}
	o.generation = generation
	d.countGeneration(generation, 1)
	return o, nil
}

// Generations are how many origin connections are open, by the generation of the
// configuration that they were made with.
func (d *Database) Generations() map[int64]int {
	d.generationsMu.Lock()
	defer d.generationsMu.Unlock()
	m := make(map[int64]int, len(d.generations))
	for generation, n := range d.generations {
		m[generation] = n
	}
	return m
}

func (d *Database) countGeneration(generation int64, by int) {
	if generation == 0 { // of a test
		return
	}
	d.generationsMu.Lock()
	defer d.generationsMu.Unlock()
	if d.generations == nil {
		d.generations = make(map[int64]int)
	}
	if d.generations[generation] += by; d.generations[generation] == 0 {
		delete(d.generations, generation)
	}
}
