package relay

import (
	"errors"
	"io"
	"testing"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestTunnel26StalledWindowsOfAllSessions: what one token's stalled readers hold in the relay is bounded, over all its sessions, by a
// reset and refusals that say so; the stalled reader of another goes on waiting, and its streams work.
func TestTunnel26StalledWindowsOfAllSessions(t *testing.T) {
	const window = 64 << 10
	g := newRig(t, func(c *Config) {
		c.Limits.StreamWindow = window
		c.WindowMemory = 3 * window
	})
	g.connector("c1", 0, func(in *tunnel.Incoming) {
		if string(in.Request.GetEarlyData()) != "flood" {
			echo(in)
			return
		}
		s, err := in.Accept()
		if err != nil {
			return
		}
		defer s.Close()
		for err == nil {
			_, err = s.Write(make([]byte, stream.MaxWrite))
		}
	})
	neighbour, secret := g.addToken(nil)
	g.state.change(func() {
		g.state.apps[host] = application(host, account, access.Rule{Selector: access.SelectAnyServiceToken})
	})
	small := tunnel.Limits{StreamWindow: window}
	client := func(id, secret string) *tunnel.Session {
		return g.session(tunnel.CarrierQUIC, tunnel.Dialer{
			Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CLIENT, ClientId: id, ClientSecret: secret}, Limits: small,
		})
	}
	open := func(s *tunnel.Session, early string) stream.Conn {
		t.Helper()
		c, err := s.Open(t.Context(), &tunnelpb.Open{Hostname: host, EarlyData: []byte(early)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	other := client(neighbour.ClientID, secret)
	patient, works := open(other, "flood"), open(other, "")
	one, two := client(g.token.ClientID, g.secret), client(g.token.ClientID, g.secret)
	greedy := []stream.Conn{open(one, "flood"), open(one, "flood"), open(two, "flood"), open(two, "flood")}
	eventually(t, "a refusal of the token's opens", func() bool {
		c, err := one.Open(t.Context(), &tunnelpb.Open{Hostname: host})
		if err == nil {
			c.Close()
			return false
		}
		var refusal *tunnel.Refusal
		return errors.As(err, &refusal) && refusal.Code == tunnelpb.Code_LIMITED && refusal.RetryAfter == stallEvery
	})
	exchange(t, works, "still there")
	open(other, "").Close()
	eventually(t, "streams within the bound", func() bool { return g.stalls.bytes() <= 3*window && g.live.len() == 4 })
	cut := 0
	for _, c := range greedy {
		var reset *stream.ResetError
		if _, err := io.CopyN(io.Discard, c, 1<<20); errors.As(err, &reset) {
			if cut++; reset.Code != stream.CodeLimited {
				t.Errorf("a stream was reset with %v, want limited", reset.Code)
			}
		}
	}
	if cut != 2 {
		t.Errorf("%d of 4 streams were cut, want 2", cut)
	}
	if _, err := io.CopyN(io.Discard, patient, 1<<20); err != nil {
		t.Errorf("the other's stalled stream: %v", err)
	}
}

// TestFlowsThatMoveDoNotStall: a write that ends between two looks is none that stalls, nor is a reader that waits for more.
func TestFlowsThatMoveDoNotStall(t *testing.T) {
	f := flow{window: 10}
	looks := func(want int64) {
		t.Helper()
		if got := f.look(); got != want {
			t.Errorf("%d bytes wait, want %d", got, want)
		}
	}
	looks(0)
	looks(0)
	f.writing(true)
	looks(0)
	looks(10)
	f.writing(false)
	f.writing(true)
	looks(0)
	f.writing(false)
	f.writing(false)
	looks(0)
	looks(0)
}
