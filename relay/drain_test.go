package relay

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

func TestTunnel12DrainLetsStreamsFinish(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Grace = 2 * testWait })
	connector := g.connector("c1", 0, echo)
	client := g.client(tunnel.CarrierQUIC)
	st, err := client.Open(t.Context(), &tunnelpb.Open{Hostname: host})
	if err != nil {
		t.Fatal(err)
	}
	g.stop()
	receive(t, "GoAway at the connector", connector.GoneAway())
	receive(t, "GoAway at the client", client.GoneAway())
	// Streams are taken until the connectors are elsewhere.
	exchange(t, st, "not before the connector has moved")
	if err := connector.SendGoAway(t.Context(), &tunnelpb.GoAway{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of new streams", g.refusing.Load)
	_, err = client.Open(t.Context(), &tunnelpb.Open{Hostname: host})
	wantRefusal(t, err, tunnelpb.Code_DRAINING)
	_, err = g.Open(t.Context(), g.request())
	wantRefusal(t, err, tunnelpb.Code_DRAINING)
	_, err = g.dial(tunnel.CarrierWebSocket, tunnel.Dialer{Hello: &tunnelpb.Hello{
		Role: tunnelpb.Role_CONNECTOR, TunnelId: tunnelID, Secret: tunnelSecret, PeerId: "c2",
	}})
	wantRefusal(t, err, tunnelpb.Code_DRAINING)
	exchange(t, st, "a query that runs on")
	st.Close()
	g.ended() // long before the grace is over
}

func TestTunnel12DrainEndsWithTheGrace(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Grace = 200 * time.Millisecond })
	g.connector("c1", 0, echo)
	c, err := g.Open(t.Context(), g.request())
	if err != nil {
		t.Fatal(err)
	}
	g.stop()
	wantReset(t, c, stream.CodeDraining)
	g.ended()
}

func TestDrainOfAnIdleRelayIsAtOnce(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Grace = 2 * testWait })
	g.connector("c1", 0, echo)
	g.client(tunnel.CarrierWebSocket)
	g.stop()
	g.ended() // long before the grace is over
}

func TestCollectorsRegister(t *testing.T) {
	g := newRig(t, nil)
	g.connector("c1", 0, echo)
	registry := prometheus.NewPedanticRegistry()
	for _, c := range g.Collectors() {
		if err := registry.Register(c); err != nil {
			t.Error(err)
		}
	}
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
}

// TestTunnel12ClientsHearOfALeavingConnector: a client knows which of its streams a connector carries that is about to end, also
// through two relays, so that a pool makes those anew that only wait.
func TestTunnel12ClientsHearOfALeavingConnector(t *testing.T) {
	all := relays(t, "a", "b")
	leaving := all[1].connector("c1", 0, echo)
	all[1].known(1)
	for name, g := range map[string]*rig{"one relay": all[1], "two relays": all[0]} {
		for _, carrier := range []tunnel.Carrier{tunnel.CarrierQUIC, tunnel.CarrierWebSocket} {
			st, err := g.client(carrier).Open(t.Context(), &tunnelpb.Open{Hostname: host})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			if st.Leaving() {
				t.Errorf("%s, %v: the stream is about to end from its start on", name, carrier)
			}
			defer eventually(t, name+" tell over "+carrier.String(), st.Leaving)
			defer exchange(t, st, "and it goes on")
		}
	}
	all[1].connector("c2", 0, echo)
	if err := leaving.SendGoAway(t.Context(), &tunnelpb.GoAway{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of new streams", func() bool { return len(all[1].registry.candidates(tunnelID, nil)) == 1 })
	st, err := all[1].client(tunnel.CarrierQUIC).Open(t.Context(), &tunnelpb.Open{Hostname: host})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	exchange(t, st, "on the other connector")
	if st.Leaving() {
		t.Error("a stream of the connector that stays is about to end")
	}
}

// TestTunnel11LateSessionIsToldToMove: a connector that was admitted before the drain and registers after it began hears of it as well.
func TestTunnel11LateSessionIsToldToMove(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Grace = 2 * testWait })
	first := g.connector("c1", 0, echo)
	st, err := g.client(tunnel.CarrierQUIC).Open(t.Context(), &tunnelpb.Open{Hostname: host})
	if err != nil {
		t.Fatal(err)
	}
	asked, take := make(chan struct{}, 1), make(chan struct{})
	late := g.session(tunnel.CarrierQUIC, tunnel.Dialer{
		Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR, TunnelId: tunnelID, Secret: tunnelSecret, PeerId: "c2"},
		Configure: func(_ context.Context, c *tunnelpb.Configure) *tunnelpb.Configured {
			asked <- struct{}{}
			<-take
			return &tunnelpb.Configured{Version: c.GetVersion()}
		},
	})
	receive(t, "Configure", asked)
	g.stop()
	receive(t, "GoAway at the connector that is known", first.GoneAway())
	close(take)
	receive(t, "GoAway at the late connector", late.GoneAway())
	st.Close()
	g.ended()
}
