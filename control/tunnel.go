package control

import (
	"time"

	"github.com/sluicedb/sluice/access"
)

// Tunnel is what connectors of one private network register as, with the
// hostnames that lead through it. A hostname belongs to one tunnel only.
type Tunnel struct {
	ID         string      `json:"id"` // UUID
	AccountID  string      `json:"account_id"`
	Name       string      `json:"name"`
	Secret     Sealed      `json:"secret"` // given back by TunnelSecret
	SecretHash access.Hash `json:"secret_hash"`
	Ingress    []Ingress   `json:"ingress"`
	// ConfigVersion starts at 1 and grows by one with every change of Ingress.
	ConfigVersion int64     `json:"config_version"`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
}

// Ingress leads a hostname to a service in the private network.
type Ingress struct {
	Hostname string `json:"hostname"` // lower case, no port; a leading "*." covers every name below
	Service  string `json:"service"`  // tcp://host:port or unix:/absolute/path
}

// SecretIs reports, in constant time, whether secret is the one that connectors
// of t present. A nil t never matches and costs the same work.
func (t *Tunnel) SecretIs(secret string) bool { return false }
