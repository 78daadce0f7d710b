package relay

import (
	"context"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// A connector that is registered and takes long over new rules, as over a carrier that is blocked, keeps its streams, and has the rules
// in the end.
func TestTunnel20SlowToTakeRules(t *testing.T) {
	g := newRig(t, nil)
	slow, asked := make(chan struct{}), make(chan uint64, 16)
	s := g.session(tunnel.CarrierQUIC, tunnel.Dialer{
		Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR, TunnelId: tunnelID, Secret: tunnelSecret, PeerId: "c"},
		Configure: func(_ context.Context, c *tunnelpb.Configure) *tunnelpb.Configured {
			asked <- c.GetVersion()
			if c.GetVersion() > 1 {
				<-slow
			}
			return &tunnelpb.Configured{Version: c.GetVersion()}
		},
	})
	go answerAll(s, echo)
	eventually(t, "registration", func() bool { return g.registry.len() == 1 })
	b := g.registry.candidates(tunnelID, nil)[0]
	c, err := g.Open(t.Context(), g.request())
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, "before")
	receive(t, "first rules", asked)
	g.state.change(func() {
		next := *g.state.tunnels[tunnelID]
		next.ConfigVersion = 2
		g.state.tunnels = map[string]*control.Tunnel{tunnelID: &next}
	})
	receive(t, "next rules", asked)
	select {
	case <-s.Done():
		t.Fatal("the session is closed")
	case <-asked:
		t.Fatal("two calls of Configure at once")
	case <-time.After(configureTimeout + configureTimeout/2):
	}
	exchange(t, c, "meanwhile")
	close(slow)
	eventually(t, "the rules in force", func() bool { return b.version.Load() == 2 })
	exchange(t, c, "after")
	c.Close()
}
