package relay

import (
	"context"
	"testing"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// A connector may drop the session that it has moved to, and stay with the one before: that takes streams again, unless it said that it
// wants none.
func TestTunnel10MoveThatIsDropped(t *testing.T) {
	for what, asked := range map[string]bool{"it stays": false, "it wants no more streams": true} {
		t.Run(what, func(t *testing.T) {
			g := newRig(t, nil)
			stays := g.connector("c", 0, echo)
			first := g.registry.candidates(tunnelID, nil)[0]
			moved := g.session(tunnel.CarrierQUIC, tunnel.Dialer{
				Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR, TunnelId: tunnelID, Secret: tunnelSecret, PeerId: "c", Moving: true},
				Configure: func(_ context.Context, c *tunnelpb.Configure) *tunnelpb.Configured {
					return &tunnelpb.Configured{Version: c.GetVersion()}
				},
			})
			eventually(t, "the move", func() bool { return g.registry.len() == 2 })
			if first.usable() {
				t.Error("streams go to the session that was left")
			}
			if asked {
				if err := stays.SendGoAway(t.Context(), &tunnelpb.GoAway{}); err != nil {
					t.Fatal(err)
				}
				<-first.session.GoneAway()
			}
			moved.Close(stream.CodeCancelled, "another carrier was faster")
			eventually(t, "the end of the move", func() bool { return g.registry.len() == 1 })
			if got := first.usable(); got == asked {
				t.Fatalf("the session that was there before is usable: %v", got)
			}
			if asked {
				return
			}
			c, err := g.Open(t.Context(), g.request())
			if err != nil {
				t.Fatal(err)
			}
			exchange(t, c, "x")
			c.Close()
		})
	}
}
