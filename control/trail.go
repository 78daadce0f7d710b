package control

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"

	"github.com/sluicedb/sluice/access"
)

// Change is one noun before and after a commit.
type Change struct {
	Kind          string // what it is, for people: tunnel, service token, ...
	ID            string
	Before, After any // a pointer to the noun as its type in this package or in access; nil where there was or is none
}

// Trail gathers what the changes that are made with its context have done. It is
// safe for concurrent use.
type Trail struct {
	mu      sync.Mutex
	changes []Change
}

type trailKey struct{}

// WithTrail returns a context, and the trail of what is changed with it.
func WithTrail(ctx context.Context) (context.Context, *Trail) {
	trail := &Trail{}
	return context.WithValue(ctx, trailKey{}, trail), trail
}

// Changes returns what was committed, in order.
func (t *Trail) Changes() []Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Change(nil), t.changes...)
}

// note adds what one commit has written to the nouns that people know.
func (t *Trail) note(ops []op, read map[string]entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range ops {
		if bytes.Equal(o.value, read[o.key].value) {
			continue // written once more, so that others notice
		}
		kind, id := splitNoun(o.key)
		before, known := decodeNoun(kind, read[o.key].value)
		if !known {
			continue
		}
		after, _ := decodeNoun(kind, o.value)
		t.changes = append(t.changes, Change{Kind: kindText(kind), ID: id, Before: before, After: after})
	}
}

// decodeNoun returns the noun that value holds, nil if it holds none, and whether
// the kind is one that people know.
func decodeNoun(kind string, value []byte) (any, bool) {
	var noun any
	switch kind {
	case kindAccount:
		noun = new(Account)
	case kindAPIToken:
		noun = new(APIToken)
	case kindTunnel:
		noun = new(Tunnel)
	case kindServiceToken:
		noun = new(access.ServiceToken)
	case kindApplication:
		noun = new(access.Application)
	case kindPolicy:
		noun = new(access.ReusablePolicy)
	case kindDatabase:
		noun = new(Database)
	case kindCertificate:
		noun = new(Certificate)
	default:
		return nil, false
	}
	if value == nil || json.Unmarshal(value, noun) != nil {
		return nil, true
	}
	return noun, true
}
