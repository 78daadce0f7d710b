package relay

import (
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// One tunnel whose connector registers without a pause takes from the others no more than its share, and is forgotten when it has
// stopped.
func TestTunnel26RegistrationsOfATunnel(t *testing.T) {
	const all, burst, loops = 200, 100, 1000
	r := registrations{all: rate.NewLimiter(all, all), tunnelBurst: burst}
	now := time.Unix(1e9, 0)
	taken := 0
	for range 10 {
		for range loops {
			now = now.Add(time.Second / loops)
			if r.allow("greedy", now) {
				taken++
			}
		}
	}
	if want := burst + 10*burst/10; taken < want-1 || taken > want {
		t.Errorf("one tunnel registered %d times within 10 s, want %d", taken, want)
	}
	for _, id := range []string{"a", "b"} {
		for n := range burst - burst/10 {
			if !r.allow(id, now) {
				t.Errorf("registration %d of tunnel %s is refused", n, id)
			}
		}
	}
	if r.allow("c", now.Add(registrationsSweep+time.Second)); len(r.tunnels) != 1 {
		t.Errorf("%d tunnels are remembered, want the last", len(r.tunnels))
	}
}
