package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// What chaos does, and for how long.
const (
	leastFault = 500 * time.Millisecond
	// mostFault is beyond the 10 s in which a QUIC session is found dead, so that some are.
	mostFault = 15 * time.Second
	// mostPause lies between two faults; half of it on average.
	mostPause = 2 * time.Second
	// restartTime is how long a part may take to be ready after it was killed, while others are broken too.
	restartTime = 45 * time.Second
	// restartPause is RestartSec of the units in deploy/.
	restartPause = time.Second
)

// victim is something that can be broken.
type victim struct {
	name string
	host netip.Addr
	part *part // nil for what has no process to hurt
}

// fault breaks one victim, and mends it again.
type fault struct {
	name  string
	begin func(context.Context) error
	end   func(context.Context) error
}

// chaos breaks things, one or two at a time, as its source of chance says.
type chaos struct {
	*fleet
	t       *testing.T
	chance  *rand.Rand
	victims []victim
	busy    map[string]bool
}

func (f *fleet) chaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{fleet: f, t: t, chance: rand.New(rand.NewPCG(seed, seed)), busy: map[string]bool{}}
	for _, p := range f.parts {
		c.victims = append(c.victims, victim{p.name, p.host, p})
	}
	c.victims = append(c.victims, victim{"origin", f.origin, nil}, victim{"control", f.core, nil})
	return c
}

// run breaks and mends until d is over and everything is mended.
func (c *chaos) run(ctx context.Context, d time.Duration) {
	began := time.Now()
	over := time.After(d)
	type done struct {
		victim string
		err    error
	}
	mended := make(chan done)
	for running, stopping := 0, false; !stopping || running > 0; {
		if !stopping && running < 2 {
			if v, fault, hold, ok := c.choose(); ok {
				c.t.Logf("%7s %s: %s for %v", time.Since(began).Round(10*time.Millisecond), v.name, fault.name, hold.Round(10*time.Millisecond))
				running++
				go func() { mended <- done{v.name, perform(ctx, fault, hold)} }()
			}
		}
		pause := time.NewTimer(time.Duration(c.chance.Int64N(int64(mostPause))))
		select {
		case <-pause.C:
		case <-over:
			stopping = true
		case m := <-mended:
			running--
			delete(c.busy, m.victim)
			if m.err != nil {
				c.t.Errorf("%v after the start: %s: %v", time.Since(began).Round(time.Second), m.victim, m.err)
			}
		}
		pause.Stop()
	}
}

// choose draws a victim that is whole, what to do to it, and for how long.
func (c *chaos) choose() (victim, fault, time.Duration, bool) {
	v := c.victims[c.chance.IntN(len(c.victims))]
	faults := c.faults(v)
	f := faults[c.chance.IntN(len(faults))]
	hold := leastFault + time.Duration(c.chance.Int64N(int64(mostFault-leastFault)))
	if c.busy[v.name] {
		return v, f, 0, false
	}
	c.busy[v.name] = true
	return v, f, hold, true
}

func perform(ctx context.Context, f fault, hold time.Duration) error {
	if err := f.begin(ctx); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(hold):
	}
	if err := f.end(ctx); err != nil {
		return fmt.Errorf("the end of %s: %w", f.name, err)
	}
	return nil
}

// faults are what can be done to a victim.
func (c *chaos) faults(v victim) []fault {
	network := func(name string, conditions harness.Conditions, other netip.Addr) fault {
		set := func(to harness.Conditions) func(context.Context) error {
			return func(context.Context) error { c.fabric.Set(v.host, other, to); return nil }
		}
		return fault{name: name, begin: set(conditions), end: set(harness.Conditions{})}
	}
	everyone := netip.Addr{}
	other := c.victims[c.chance.IntN(len(c.victims))]
	list := []fault{
		network("cut off", harness.Conditions{Down: true}, everyone),
		network("no UDP", harness.Conditions{NoUDP: true}, everyone),
		network("5 % of packets lost", harness.Conditions{Loss: .05}, everyone),
		network("40 ms of delay", harness.Conditions{Delay: 40 * time.Millisecond}, everyone),
	}
	if other.host != v.host {
		list = append(list, network("cut off from "+other.name, harness.Conditions{Down: true}, other.host))
	}
	if v.part == nil {
		return list
	}
	return append(list, c.kill(v.part), stop(v.part))
}

// kill ends a part with SIGKILL, and starts it again.
func (c *chaos) kill(p *part) fault {
	return fault{
		name:  "kill -9",
		begin: func(context.Context) error { p.running().Kill(); return nil },
		end: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, restartTime)
			defer cancel()
			return p.revive(ctx)
		},
	}
}

// stop makes a part stand still.
func stop(p *part) fault {
	return fault{
		name:  "SIGSTOP",
		begin: func(context.Context) error { return p.running().Signal(syscall.SIGSTOP) },
		end:   func(context.Context) error { return p.running().Signal(syscall.SIGCONT) },
	}
}
