package relay

import (
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
)

// snapshot is what a relay reads of the state at one moment. *control.Snapshot is one.
type snapshot interface {
	access.Directory
	Tunnel(id string) (*control.Tunnel, bool)
	TunnelByHostname(hostname string) (*control.Tunnel, control.Ingress, bool)
	ApplicationByID(id string) (*access.Application, bool)
}

// state is what a relay needs of control; tests have one in memory.
type state interface {
	Now() snapshot
	Changed() <-chan struct{} // fetched before the snapshot that it guards
	Audit(control.AuditRecord)
	Seen(tokenID string, at time.Time)
	Verifier() *access.Verifier
	Sign(a access.Assertion, now time.Time) (string, error)
	Presence() presence
	Present(self control.Relay, connections map[string][]control.Connection)
	OnDisconnect(end func(tunnelID, connector string)) (stop func(), err error)
}

// presence is what a relay reads of who is connected elsewhere. *control.Presence is one.
type presence interface {
	Relays() []control.Relay
	Relay(id string) (control.Relay, bool)
	Connections(tunnelID string) []control.Connection
}

// controlled is the state that a *control.Control keeps.
type controlled struct{ *control.Control }

func (c controlled) Now() snapshot { return c.Snapshot() }

func (c controlled) Presence() presence { return c.Control.Presence() }

func (c controlled) Sign(a access.Assertion, now time.Time) (string, error) {
	return c.Signer().Sign(a, now)
}
