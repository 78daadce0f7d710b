package main

import (
	"context"
	"errors"
	"fmt"
)

// role is a long-lived part of a process: run blocks until its context ends.
type role struct {
	name string
	run  func(ctx context.Context) error
}

// running is a role that was started.
type running struct {
	role
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set before done is closed
}

// runRoles runs roles until ctx ends or one of them does. Then it stops them one after the other, from the last to the first: a
// role may lean on those before it until it has drained. It returns when all have returned, with what went wrong.
func runRoles(ctx context.Context, roles ...role) error {
	ended := make(chan struct{}, len(roles))
	started := make([]*running, 0, len(roles))
	for _, r := range roles {
		// Not ended by ctx itself: each is stopped in its turn, below.
		roleCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		part := &running{role: r, cancel: cancel, done: make(chan struct{})}
		started = append(started, part)
		go part.start(roleCtx, ended)
	}
	select {
	case <-ctx.Done():
	case <-ended:
	}
	var errs []error
	for i := len(started) - 1; i >= 0; i-- {
		part := started[i]
		part.cancel()
		<-part.done
		if part.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", part.name, part.err))
		}
	}
	return errors.Join(errs...)
}

func (r *running) start(ctx context.Context, ended chan<- struct{}) {
	defer func() { ended <- struct{}{} }()
	defer close(r.done)
	r.err = r.run(ctx)
	switch {
	case ctx.Err() != nil && errors.Is(r.err, context.Canceled):
		r.err = nil
	case ctx.Err() == nil && r.err == nil:
		r.err = errors.New("ended by itself")
	}
}
