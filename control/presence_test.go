package control

import (
	"reflect"
	"testing"
	"time"
)

const presenceTunnelID = "11111111-1111-1111-1111-111111111111"

func connectionsOf(n int) map[string][]Connection {
	var list []Connection
	for slot := range n {
		list = append(list, Connection{
			ID: newID(), Connector: "connector-a", Slot: uint32(slot), Version: "1.2.3", Features: []string{"f"},
			Labels: map[string]string{"zone": "z"}, Protocol: "quic", Remote: "192.0.2.1:4433", Since: time.Now().UTC().Truncate(time.Second),
			ConfigVersion: 3, Streams: slot,
		})
	}
	return map[string][]Connection{presenceTunnelID: list}
}

// awaitPresence waits until ok holds for a node's view.
func awaitPresence(t *testing.T, c *Control, what string, ok func(*Presence) bool) {
	t.Helper()
	eventually(t, what, func() bool { return ok(c.Presence()) })
}

func TestPresenceReachesOtherNodes(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	dir := t.TempDir()
	relay, reader := openAt(t, dir, srv.ClientURL(), "relay"), openAt(t, dir, srv.ClientURL(), "reader")
	run(t, relay)
	run(t, reader)
	want := connectionsOf(4)
	self := Relay{ID: "host.example-1", Addresses: []string{"192.0.2.9:7844"}, Version: "1.2.3", Since: time.Now().UTC().Truncate(time.Second), Sessions: 4}
	relay.Present(self, want)
	awaitPresence(t, reader, "four connections", func(p *Presence) bool { return len(p.Connections(presenceTunnelID)) == 4 })
	if got, ok := reader.Presence().Relay(self.ID); !ok || !reflect.DeepEqual(got, self) {
		t.Errorf("relay: got %+v, %v; want %+v", got, ok, self)
	}
	for i, got := range reader.Presence().Connections(presenceTunnelID) {
		expected := want[presenceTunnelID][i]
		expected.Relay = self.ID
		if !reflect.DeepEqual(got, expected) {
			t.Errorf("connection %d: got %+v, want %+v", i, got, expected)
		}
	}

	t.Run("a session that ends", func(t *testing.T) {
		relay.Present(self, map[string][]Connection{presenceTunnelID: want[presenceTunnelID][:3]})
		awaitPresence(t, reader, "three connections", func(p *Presence) bool { return len(p.Connections(presenceTunnelID)) == 3 })
		relay.Present(self, nil)
		awaitPresence(t, reader, "no connection", func(p *Presence) bool { return len(p.Connections(presenceTunnelID)) == 0 })
	})
	t.Run("a node that comes later", func(t *testing.T) {
		relay.Present(self, want)
		late := openAt(t, dir, srv.ClientURL(), "late")
		run(t, late)
		awaitPresence(t, late, "four connections", func(p *Presence) bool { return len(p.Connections(presenceTunnelID)) == 4 })
	})
	t.Run("a draining relay", func(t *testing.T) {
		draining := self
		draining.Draining = true
		relay.Present(draining, want)
		awaitPresence(t, reader, "draining", func(p *Presence) bool { r, ok := p.Relay(self.ID); return ok && r.Draining })
	})
}

// TestPresenceEndsWithTheRelay: one that stops says so, and one that falls silent is forgotten.
func TestPresenceEndsWithTheRelay(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	dir := t.TempDir()
	reader := openAt(t, dir, srv.ClientURL(), "reader")
	run(t, reader)
	t.Run("stopped", func(t *testing.T) {
		relay := openAt(t, dir, srv.ClientURL(), "stopped")
		run(t, relay)
		relay.Present(Relay{ID: "stopped"}, connectionsOf(1))
		awaitPresence(t, reader, "the relay", func(p *Presence) bool { return len(p.Connections(presenceTunnelID)) == 1 })
	})
	awaitPresence(t, reader, "the relay's end", func(p *Presence) bool { return len(p.Relays()) == 0 })
	if got := reader.Presence().Connections(presenceTunnelID); len(got) != 0 {
		t.Errorf("connections of a relay that stopped: %+v", got)
	}
	silent := openAt(t, dir, srv.ClientURL(), "silent")
	run(t, silent)
	silent.Present(Relay{ID: "silent"}, connectionsOf(2)) // and never again
	awaitPresence(t, reader, "the relay", func(p *Presence) bool { return len(p.Connections(presenceTunnelID)) == 2 })
	awaitPresence(t, reader, "the silent relay's end", func(p *Presence) bool { return len(p.Relays()) == 0 })
}

// TestPresenceSurvivesTheStore: the bucket is in memory, so a server that starts again has lost it.
func TestPresenceSurvivesTheStore(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	dir := t.TempDir()
	relay, reader := openAt(t, dir, srv.ClientURL(), "relay"), openAt(t, dir, srv.ClientURL(), "reader")
	run(t, relay)
	run(t, reader)
	relay.Present(Relay{ID: "r1"}, connectionsOf(2))
	awaitPresence(t, reader, "two connections", func(p *Presence) bool { return len(p.Connections(presenceTunnelID)) == 2 })
	again := restartable(t, srv)
	if got := reader.Presence().Connections(presenceTunnelID); len(got) != 2 {
		t.Errorf("while the store is away: %d connections, want the 2 of before", len(got))
	}
	again()
	late := openAt(t, dir, srv.ClientURL(), "late")
	run(t, late)
	eventually(t, "both nodes see both connections again", func() bool {
		relay.Present(Relay{ID: "r1"}, connectionsOf(2))
		return len(reader.Presence().Connections(presenceTunnelID)) == 2 && len(late.Presence().Connections(presenceTunnelID)) == 2
	})
}

func TestDisconnectReachesEveryNode(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	dir := t.TempDir()
	one, two := openAt(t, dir, srv.ClientURL(), "one"), openAt(t, dir, srv.ClientURL(), "two")
	heard := make(chan [2]string, 4)
	for _, c := range []*Control{one, two} {
		stop, err := c.OnDisconnect(func(tunnelID, connector string) { heard <- [2]string{tunnelID, connector} })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if err := c.store.nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Disconnect(t.Context(), presenceTunnelID, "connector-a"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case got := <-heard:
			if got != [2]string{presenceTunnelID, "connector-a"} {
				t.Errorf("heard %q", got)
			}
		case <-time.After(testWait):
			t.Fatal("a node did not hear the command")
		}
	}
}

func FuzzSplitPresence(f *testing.F) {
	f.Add(presenceRelayKey("host.example-1"))
	f.Add(presenceTunnelKey(presenceTunnelID, "r1"))
	f.Add("tunnel..")
	f.Add("relay.!")
	f.Fuzz(func(t *testing.T, key string) {
		tunnelID, relay, ok := splitPresence(key)
		if !ok {
			return
		}
		again := presenceRelayKey(relay)
		if tunnelID != "" {
			again = presenceTunnelKey(tunnelID, relay)
		}
		if id, name, ok := splitPresence(again); !ok || id != tunnelID || name != relay {
			t.Errorf("%q: got %q and %q, and from their own key %q, %q, %v", key, tunnelID, relay, id, name, ok)
		}
	})
}
