package tunnel

import (
	"net/netip"
	"testing"
)

// TestTunnel27PlacesOfAnAddress: whoever floods leaves a place to whoever comes anew.
func TestTunnel27PlacesOfAnAddress(t *testing.T) {
	p := NewPlaces(16)
	for _, tt := range []struct {
		flood []string // addresses that are one peer's
		want  int
	}{
		{[]string{"192.0.2.1", "::ffff:192.0.2.1"}, 8},
		{[]string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"}, 4},
		{[]string{"2001:db8:0:1::1"}, 2},
		{[]string{"192.0.2.2"}, 1},
	} {
		got := 0
		for i := range 100 {
			if p.Take(netip.MustParseAddr(tt.flood[i%len(tt.flood)])) {
				got++
			}
		}
		if got != tt.want {
			t.Errorf("%s got %d places, want %d", tt.flood[0], got, tt.want)
		}
	}
	for range 8 {
		p.Give(netip.MustParseAddr("192.0.2.1"))
	}
	if _, ok := p.held[netip.MustParseAddr("192.0.2.1")]; ok || p.free != 9 {
		t.Errorf("%d places are free, want 9 and nothing left of who gave them back", p.free)
	}
}
