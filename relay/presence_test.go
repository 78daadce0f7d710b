package relay

import (
	"testing"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

// said returns what the relay said last of the tunnel.
func (g *rig) said() []control.Connection {
	g.state.mu.Lock()
	defer g.state.mu.Unlock()
	return g.state.connections[tunnelID]
}

func TestPresence(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Version = "1.2.3" })
	one := g.connector("peer-1", 0, silent)
	g.connector("peer-1", 1, silent)
	g.connector("peer-2", 0, silent)
	eventually(t, "three sessions", func() bool { return len(g.said()) == 3 })
	seen := map[string]bool{}
	for _, c := range g.said() {
		if c.ID == "" || seen[c.ID] || c.Protocol != "quic" || c.Remote == "" || c.Since.IsZero() {
			t.Errorf("said %+v", c)
		}
		seen[c.ID] = true
	}
	eventually(t, "the rules in force", func() bool {
		for _, c := range g.said() {
			if c.ConfigVersion != 1 {
				return false
			}
		}
		return true
	})
	g.state.mu.Lock()
	self := g.state.present
	g.state.mu.Unlock()
	if self.ID != "relay-1" || self.Version != "1.2.3" || self.Since.IsZero() || self.Draining || self.Sessions != 3 {
		t.Errorf("said of itself %+v", self)
	}
	one.Close(stream.CodeClosed, "left")
	eventually(t, "two sessions", func() bool { return len(g.said()) == 2 })
}

func TestDisconnect(t *testing.T) {
	g := newRig(t, nil)
	sessions := map[string]*tunnel.Session{}
	for _, peer := range []string{"peer-1", "peer-2", "peer-3"} {
		sessions[peer] = g.connector(peer, 0, silent)
	}
	var end func(tunnelID, connector string)
	eventually(t, "the relay listens", func() bool {
		g.state.mu.Lock()
		defer g.state.mu.Unlock()
		end = g.state.disconnect
		return end != nil
	})
	end("another tunnel", "")
	end(tunnelID, "peer-2")
	receive(t, "the end of peer-2", sessions["peer-2"].Done())
	for _, peer := range []string{"peer-1", "peer-3"} {
		if err := sessions[peer].Err(); err != nil {
			t.Errorf("%s has ended too: %v", peer, err)
		}
	}
	end(tunnelID, "")
	receive(t, "the end of peer-1", sessions["peer-1"].Done())
	receive(t, "the end of peer-3", sessions["peer-3"].Done())
}
