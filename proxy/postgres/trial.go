package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/dialect"
)

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
		return fmt.Errorf("%w: %w", dialect.ErrTestQuery, err)
	}
	_, err = o.Write(pgwire.AppendQuery(nil, ";"))
	if err == nil {
		err = o.untilReady(nil)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", dialect.ErrTestQuery, err)
	}
	return nil
}

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
	d.generations.Count(generation, 1)
	return o, nil
}

// Generations are how many origin connections are open, by the generation of the
// configuration that they were made with.
func (d *Database) Generations() map[int64]int { return d.generations.Open() }
