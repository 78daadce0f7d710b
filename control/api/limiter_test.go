package api

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestFailureLimiter(t *testing.T) {
	l := newFailureLimiter()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	attacker := netip.MustParseAddr("192.0.2.1")
	for i := range failureBurst {
		if !l.allow(attacker, now) {
			t.Fatalf("failure %d of the burst was held up", i+1)
		}
	}
	if l.allow(attacker, now) {
		t.Error("a failure above the burst was allowed")
	}
	if l.allow(netip.MustParseAddr("::ffff:192.0.2.1"), now) {
		t.Error("the same address, mapped to IPv6, has a budget of its own")
	}
	if !l.allow(netip.MustParseAddr("192.0.2.2"), now) {
		t.Error("another address is held up")
	}
	if !l.allow(attacker, now.Add(failureEvery)) {
		t.Error("no budget after the time that one more takes")
	}
	for i := range failureBurst {
		if !l.allow(netip.MustParseAddr("2001:db8::").Next(), now) {
			t.Fatalf("failure %d of the burst was held up", i+1)
		}
	}
	if l.allow(netip.MustParseAddr("2001:db8::ffff"), now) {
		t.Error("another address of the same /64 has a budget of its own")
	}
}

func TestFailureLimiterIsBounded(t *testing.T) {
	l := newFailureLimiter()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var last netip.Addr
	for i := range uint32(networksMax + 2*failureBurst) {
		var four [4]byte
		binary.BigEndian.PutUint32(four[:], 10<<24|i)
		last = netip.AddrFrom4(four)
		l.allow(last, now)
	}
	if len(l.networks) != networksMax {
		t.Errorf("%d networks are remembered, want %d", len(l.networks), networksMax)
	}
	if l.allow(last, now) {
		t.Error("networks beyond the bound share no budget")
	}
	if !l.allow(last, now.Add(failureBurst*failureEvery)) || len(l.networks) != 1 {
		t.Errorf("%d networks are remembered after their budget came back, want 1", len(l.networks))
	}
}
