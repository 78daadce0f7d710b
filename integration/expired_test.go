package integration

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
)

// expiredToken makes a service token and lets it expire. The API makes none that lives for less
// than an hour, so the test writes to the store as another node would.
func (w *world) expiredToken(ctx context.Context, t *testing.T, name string) accessToken {
	t.Helper()
	made, err := w.sluice.Token(ctx, name)
	must(t, err)
	node, err := control.Open(ctx, control.Config{DataDir: w.stage.Path("data-test"), StoreURL: w.store, KeysetFile: w.sluice.KeysetFile(), Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer node.Close()
	_, err = node.UpdateServiceToken(ctx, control.DefaultAccountID, made.ID, func(token *access.ServiceToken) error {
		token.Duration = time.Nanosecond
		return nil
	})
	must(t, err)
	return accessToken{name, made.ClientID, made.ClientSecret}
}
