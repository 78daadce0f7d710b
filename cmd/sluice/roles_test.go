package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRolesStopInReverse: each role has returned before the one that it leans on is asked to stop.
func TestRolesStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		make := func(name string) role {
			return role{name: name, run: func(ctx context.Context) error {
				<-ctx.Done()
				// Draining takes its time.
				timer := time.NewTimer(time.Second)
				<-timer.C
				order = append(order, name)
				return ctx.Err()
			}}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := runRoles(ctx, make("control"), make("relay"), make("proxy")); err != nil {
			t.Errorf("stopped with %v", err)
		}
		if want := []string{"proxy", "relay", "control"}; !slices.Equal(order, want) {
			t.Errorf("stopped %v, want %v", order, want)
		}
	})
}

func TestRoleThatEndsStopsTheOthers(t *testing.T) {
	broken := errors.New("socket is gone")
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"with an error", broken, "relay: socket is gone"},
		{"without one", nil, "relay: ended by itself"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := runRoles(t.Context(),
				role{name: "control", run: func(ctx context.Context) error { <-ctx.Done(); return nil }},
				role{name: "relay", run: func(context.Context) error { return tt.err }})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
