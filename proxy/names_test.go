package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/proxy/postgres"
)

func TestWatchName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var addrs atomic.Pointer[[]string]
		p := New(Config{Logger: slog.New(slog.DiscardHandler)})
		p.resolve = func(_ context.Context, host string) ([]string, error) {
			if host != "db.example.com" {
				t.Errorf("looked up %q", host)
			}
			if a := addrs.Load(); a != nil {
				return *a, nil
			}
			return nil, errors.New("no such host")
		}
		d := &database{
			dialectOf: postgres.NewDatabase("app", postgres.Config{}, nil),
			of:        &control.Database{Origin: control.Origin{Host: "db.example.com", Port: 5432}},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.watchName(ctx, d) }()
		for _, step := range []struct {
			name     string
			addrs    []string
			renewals uint64
		}{
			{"not found", nil, 0},
			{"found", []string{"10.0.0.1"}, 0},
			{"one more", []string{"10.0.0.2", "10.0.0.1"}, 0},
			{"one less", []string{"10.0.0.2"}, 0},
			{"another", []string{"10.0.0.3"}, 1},
			{"the same", []string{"10.0.0.3"}, 1},
		} {
			if step.addrs != nil {
				addrs.Store(&step.addrs)
			}
			time.Sleep(nameEvery)
			synctest.Wait()
			if got := d.Stats().Renewals; got != step.renewals {
				t.Errorf("%s: %d renewals, want %d", step.name, got, step.renewals)
			}
		}
		p.mu.Lock()
		d.of = &control.Database{Origin: control.Origin{Host: "10.0.0.3", Port: 5432}}
		p.mu.Unlock()
		time.Sleep(nameEvery)
		stop()
		<-ended
		if got := d.Stats().Renewals; got != 1 {
			t.Errorf("an address: %d renewals", got)
		}
	})
}
