package mysql

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicedb/sluice/proxy/dialect"
)

// Test makes an origin connection as a pool does, runs a query on it that asks for
// nothing of the database, and closes it. It blocks until ctx's deadline at most,
// which ctx must have.
func Test(ctx context.Context, cfg Config) error {
	o, err := NewDatabase("test", cfg, nil).dialOrigin(ctx, classChanged)
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
	if _, err := o.query("SELECT 1"); err != nil {
		return fmt.Errorf("%w: %w", dialect.ErrTestQuery, err)
	}
	return nil
}
