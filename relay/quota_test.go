package relay

import (
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestTunnel26QuotasOfATokenAndATunnel: what one token has used up another still has, and what ended is there again.
func TestTunnel26QuotasOfATokenAndATunnel(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxTokenStreams, c.MaxTunnelStreams = 3, 5 })
	g.connector("c1", 0, echo)
	neighbour, secret := g.addToken(nil)
	g.state.change(func() {
		g.state.apps[host] = application(host, account, access.Rule{Selector: access.SelectAnyServiceToken})
	})
	greedy, other := g.request(), g.request()
	other.ClientID, other.ClientSecret = neighbour.ClientID, secret
	open := func(req OpenRequest, want bool) stream.Conn {
		t.Helper()
		c, err := g.Open(t.Context(), req)
		if !want {
			wantRefusal(t, err, tunnelpb.Code_LIMITED)
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	first := open(greedy, true)
	open(greedy, true)
	open(greedy, true)
	open(greedy, false) // the token's
	open(other, true)
	open(other, true)
	open(other, false) // the tunnel's
	first.Close()
	open(other, true)
	for _, c := range g.live.all() {
		c.Close()
	}
	if len(g.quotas.tunnels) != 0 {
		t.Errorf("%v is counted after the end of all streams", g.quotas.tunnels)
	}
	// An open that fails gives its place back.
	g.state.change(func() { delete(g.state.tunnels, tunnelID) })
	if _, err := g.Open(t.Context(), greedy); err == nil {
		t.Error("a tunnel that is gone was reached")
	}
	if n := g.quotas.tokens[g.token.ClientID].streams; n != 0 {
		t.Errorf("%d streams are counted after one that was not opened", n)
	}
}

// TestTunnel26RateOfATokensOpens needs no clock: time is what the test says.
func TestTunnel26RateOfATokensOpens(t *testing.T) {
	q := &quotas{tokenStreams: 1 << 20, tunnelStreams: 1 << 20, tokenRate: 10}
	now := time.Now()
	taken := func(id string, at time.Time, n int) (ok int) {
		for range n {
			if q.take(id, "t", at) == nil {
				q.give(id, "t")
				ok++
			}
		}
		return ok
	}
	if n := taken("a", now, 50); n != 10 {
		t.Errorf("%d of 50 opens at once, want 10", n)
	}
	if r := q.take("a", "t", now); r == nil || r.Code != tunnelpb.Code_LIMITED || r.RetryAfter <= 0 {
		t.Errorf("the refusal is %v", r)
	}
	if n := taken("b", now, 5); n != 5 {
		t.Errorf("the neighbour has %d of 5 opens", n)
	}
	if n := taken("a", now.Add(500*time.Millisecond), 50); n != 5 {
		t.Errorf("%d opens after half a second, want 5", n)
	}
	taken("b", now.Add(3*time.Minute), 1)
	if _, ok := q.tokens["a"]; ok || len(q.tunnels) != 0 {
		t.Errorf("an idle token is remembered: %v, %v", q.tokens, q.tunnels)
	}
}
