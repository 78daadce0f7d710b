package control

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Presence is who is connected: the relays that are up, and the connectors that
// are registered with them. It is what relays say of themselves, not desired
// state: it lies in memory alone and ends with whoever said it. It is immutable.
type Presence struct {
	relays  map[string]Relay
	tunnels table[map[string][]Connection] // by tunnel ID, then by relay ID
}

// Relay is what one relay process said of itself last.
type Relay struct {
	ID        string    `json:"id"`
	Addresses []string  `json:"addresses,omitempty"` // host:port that peers reach it by, where it was told
	Peer      string    `json:"peer,omitempty"`      // host:port that other relays reach it by, and it alone
	Version   string    `json:"version,omitempty"`
	Since     time.Time `json:"since"`
	Draining  bool      `json:"draining,omitempty"` // takes nothing new
	Sessions  int       `json:"sessions"`
	Streams   int       `json:"streams"`
}

// Connection is one registered session of a connector.
type Connection struct {
	ID            string            `json:"id"`        // of this session alone
	Relay         string            `json:"-"`         // ID; the reader knows it from the key
	Connector     string            `json:"connector"` // one ID for each connector process
	Slot          uint32            `json:"slot"`
	Version       string            `json:"version,omitempty"` // of the connector's software
	Features      []string          `json:"features,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Protocol      string            `json:"protocol"` // quic or websocket
	Remote        string            `json:"remote"`   // ip:port
	Since         time.Time         `json:"since"`
	ConfigVersion int64             `json:"config_version"` // of the ingress that it has in force
	Streams       int               `json:"streams"`
}

func newPresence() *Presence {
	return &Presence{relays: map[string]Relay{}, tunnels: newTable[map[string][]Connection]()}
}

// Relays returns the relays that are up, oldest first.
func (p *Presence) Relays() []Relay {
	return slices.SortedFunc(maps.Values(p.relays), func(a, b Relay) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
}

// Relay returns the relay with this ID, if it is up.
func (p *Presence) Relay(id string) (Relay, bool) {
	r, ok := p.relays[id]
	return r, ok
}

// Connections returns the sessions of a tunnel's connectors on the relays that
// are up, by connector, relay and slot.
func (p *Presence) Connections(tunnelID string) []Connection {
	var out []Connection
	byRelay, _ := p.tunnels.get(tunnelID)
	for relay, connections := range byRelay {
		if _, up := p.relays[relay]; !up {
			continue
		}
		for _, c := range connections {
			c.Relay = relay
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Connection) int {
		return cmp.Or(cmp.Compare(a.Connector, b.Connector), cmp.Compare(a.Relay, b.Relay), cmp.Compare(a.Slot, b.Slot))
	})
	return out
}

// withRelay returns p with a relay's word on itself, or without the relay.
func (p *Presence) withRelay(id string, r *Relay) *Presence {
	next := *p
	next.relays = maps.Clone(p.relays)
	if r == nil {
		delete(next.relays, id)
	} else {
		next.relays[id] = *r
	}
	return &next
}

// withConnections returns p with what a relay says of a tunnel.
func (p *Presence) withConnections(tunnelID, relay string, connections []Connection) *Presence {
	next := *p
	had, _ := p.tunnels.get(tunnelID)
	byRelay := make(map[string][]Connection, len(had)+1)
	maps.Copy(byRelay, had)
	if len(connections) > 0 {
		byRelay[relay] = connections
	} else {
		delete(byRelay, relay)
	}
	if len(byRelay) > 0 {
		next.tunnels = p.tunnels.with(tunnelID, byRelay)
	} else {
		next.tunnels = p.tunnels.without(tunnelID)
	}
	return &next
}

// The keys of presence: relay.RELAY and tunnel.TUNNEL.RELAY, where RELAY is
// encoded as names in claims are.
const (
	presenceRelay  = "relay"
	presenceTunnel = "tunnel"
)

func presenceRelayKey(relay string) string {
	return presenceRelay + "." + encodeName(relay)
}

func presenceTunnelKey(tunnelID, relay string) string {
	return presenceTunnel + "." + tunnelID + "." + encodeName(relay)
}

// splitPresence is the reverse of both; tunnelID is empty for a relay's own key.
func splitPresence(key string) (tunnelID, relay string, ok bool) {
	kind, rest, _ := strings.Cut(key, ".")
	switch kind {
	case presenceRelay:
	case presenceTunnel:
		tunnelID, rest, ok = strings.Cut(rest, ".")
		if !ok || !validID(tunnelID) {
			return "", "", false
		}
	default:
		return "", "", false
	}
	relay, ok = decodeName(rest)
	return tunnelID, relay, ok && relay != ""
}
