package control

import (
	"time"

	"github.com/sluicedb/sluice/access"
)

// DefaultAccountID is the account that the first start makes. Every node and
// every store has the same, so that a client can be configured before.
const DefaultAccountID = "00000000000000000000000000000001"

// Account owns everything else; nothing of one account is visible to another.
type Account struct {
	ID        string    `json:"id"` // 32 hex digits
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// APIToken admits to the control API. Only the hash of its secret is stored.
type APIToken struct {
	ID        string      `json:"id"` // 32 hex digits
	AccountID string      `json:"account_id"`
	Name      string      `json:"name"`
	Hash      access.Hash `json:"hash"`
	ExpiresAt time.Time   `json:"expires_at,omitzero"` // zero: never
	CreatedAt time.Time   `json:"created_at"`
}
