package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/access"
)

// replica holds the current snapshot and makes the next. Changes come from the
// watch, in order, and from this node's own commits, which may be ahead of it.
type replica struct {
	logger *slog.Logger
	snap   atomic.Pointer[Snapshot]
	// rotated hears of a rotation of keys before the snapshot has anything that
	// the new key sealed. It is set before the first entry comes.
	rotated func(entry) error
	// signing hears of the keys that sign assertions. It is set before the first entry comes.
	signing func(entry) error

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	// ahead has the keys that this node wrote and that the watch has yet to
	// bring: until then an older revision of them must not come back.
	ahead map[string]entry
}

func newReplica(logger *slog.Logger) *replica {
	r := &replica{logger: logger, changed: make(chan struct{}), ahead: map[string]entry{}}
	r.snap.Store(emptySnapshot())
	return r
}

// changedChannel is what Control.Changed returns.
func (r *replica) changedChannel() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// wrote applies what this node has just committed.
func (r *replica) wrote(entries []entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.snap.Load()
	for _, e := range entries {
		if e.rev <= next.revision || e.rev <= r.ahead[e.key].rev {
			continue // the watch, or a later write of this node, was quicker
		}
		r.ahead[e.key] = e
		r.apply(&next, e)
	}
	r.publish(&next)
}

// watched applies what the watch brought, in the store's order; the state is
// then complete up to revision.
func (r *replica) watched(entries []entry, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.snap.Load()
	for _, e := range entries {
		own, ok := r.ahead[e.key]
		if ok && own.rev <= e.rev {
			delete(r.ahead, e.key)
		}
		if ok && own.rev >= e.rev {
			continue
		}
		r.apply(&next, e)
	}
	next.revision = max(next.revision, revision)
	r.publish(&next)
}

// reset replaces the state by what a complete reading of the store brought.
func (r *replica) reset(entries []entry, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *emptySnapshot()
	for _, e := range entries {
		r.apply(&next, e)
	}
	for key, e := range r.ahead {
		if e.rev <= revision {
			delete(r.ahead, key)
			continue
		}
		r.apply(&next, e)
	}
	next.revision = revision
	r.publish(&next)
}

// publish makes next the current snapshot. r.mu is held.
func (r *replica) publish(next *Snapshot) {
	r.snap.Store(next)
	close(r.changed)
	r.changed = make(chan struct{})
}

// apply changes s by one entry. An entry that does not decode is logged and
// passed over: a newer version of Sluice may have written it, and the rest of
// the state must not stand still for it.
func (r *replica) apply(s *Snapshot, e entry) {
	kind, id := splitNoun(e.key)
	var err error
	switch kind {
	case kindAccount:
		err = put(&s.accounts, id, e, func(v *Account) string { return v.ID })
	case kindAPIToken:
		err = s.applyAPIToken(id, e)
	case kindTunnel:
		err = s.applyTunnel(id, e)
	case kindServiceToken:
		err = s.applyServiceToken(id, e)
	case kindApplication:
		err = s.applyApplication(id, e)
	case kindPolicy:
		err = put(&s.policies, id, e, func(v *access.ReusablePolicy) string { return v.ID })
	case kindDatabase:
		err = s.applyDatabase(id, e)
	case kindPending:
		err = put(&s.pending, id, e, func(v *pendingDatabase) string { return v.ID })
	case kindCertificate:
		err = s.applyCertificate(id, e)
	case kindSeen:
		err = s.applySeen(id, e)
	case kindClaim:
		s.applyClaim(id, e)
	case kindSystem:
		switch {
		case e.key == keyRotation && r.rotated != nil:
			err = r.rotated(e)
		case e.key == keySigning && r.signing != nil:
			err = r.signing(e)
		}
	}
	if err != nil {
		r.logger.Error("stored state does not decode", "key", e.key, "revision", e.rev, "err", err)
	}
}

// errOtherID keeps indexes sound: they are cleared by the ID that a noun has.
var errOtherID = errors.New("the noun has another ID than its key")

// put decodes an entry into a table, or takes it out.
func put[T any](t *table[*T], id string, e entry, nounID func(*T) string) error {
	if e.value == nil {
		*t = t.without(id)
		return nil
	}
	v := new(T)
	if err := json.Unmarshal(e.value, v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if nounID(v) != id {
		return errOtherID
	}
	*t = t.with(id, v)
	return nil
}

func (s *Snapshot) applyAPIToken(id string, e entry) error {
	old, had := s.apiTokens.get(id)
	if err := put(&s.apiTokens, id, e, func(v *APIToken) string { return v.ID }); err != nil {
		return err
	}
	if had {
		s.apiTokenByHash = s.apiTokenByHash.without(string(old.Hash[:]))
	}
	if now, ok := s.apiTokens.get(id); ok {
		s.apiTokenByHash = s.apiTokenByHash.with(string(now.Hash[:]), now)
	}
	return nil
}

// applyTunnel also moves the names that lead to the tunnel. The watch brings
// only the last revision of each key, so another tunnel may have taken a name
// before this one is seen to have given it up: only its own names are removed.
func (s *Snapshot) applyTunnel(id string, e entry) error {
	old, had := s.tunnels.get(id)
	if err := put(&s.tunnels, id, e, func(v *Tunnel) string { return v.ID }); err != nil {
		return err
	}
	now, has := s.tunnels.get(id)
	if had && (!has || old.Name != now.Name) {
		if t, ok := s.tunnelByName.get(scoped(old.AccountID, old.Name)); ok && t.ID == id {
			s.tunnelByName = s.tunnelByName.without(scoped(old.AccountID, old.Name))
		}
	}
	if has {
		s.tunnelByName = s.tunnelByName.with(scoped(now.AccountID, now.Name), now)
	}
	if had {
		for _, in := range old.Ingress {
			if r, ok := s.routes.get(in.Hostname); ok && r.tunnel.ID == id {
				s.routes = s.routes.without(in.Hostname)
			}
		}
	}
	if has {
		for _, in := range now.Ingress {
			s.routes = s.routes.with(in.Hostname, route{tunnel: now, ingress: in})
		}
	}
	return nil
}

func (s *Snapshot) applyServiceToken(id string, e entry) error {
	old, had := s.serviceTokens.get(id)
	if err := put(&s.serviceTokens, id, e, func(v *access.ServiceToken) string { return v.ID }); err != nil {
		return err
	}
	if had {
		s.serviceTokenByClient = s.serviceTokenByClient.without(old.ClientID)
	}
	if now, ok := s.serviceTokens.get(id); ok {
		s.serviceTokenByClient = s.serviceTokenByClient.with(now.ClientID, now)
	}
	return nil
}

func (s *Snapshot) applyApplication(id string, e entry) error {
	old, had := s.applications.get(id)
	if err := put(&s.applications, id, e, func(v *access.Application) string { return v.ID }); err != nil {
		return err
	}
	now, has := s.applications.get(id)
	if had && (!has || old.Hostname != now.Hostname) {
		if a, ok := s.applicationByHost.get(scoped(old.AccountID, old.Hostname)); ok && a.ID == id {
			s.applicationByHost = s.applicationByHost.without(scoped(old.AccountID, old.Hostname))
		}
	}
	if has {
		s.applicationByHost = s.applicationByHost.with(scoped(now.AccountID, now.Hostname), now)
	}
	return nil
}

func (s *Snapshot) applyDatabase(id string, e entry) error {
	old, had := s.databases.get(id)
	if err := put(&s.databases, id, e, func(v *Database) string { return v.ID }); err != nil {
		return err
	}
	now, has := s.databases.get(id)
	if had && (!has || old.Name != now.Name) {
		if d, ok := s.databaseByName.get(scoped(old.AccountID, old.Name)); ok && d.ID == id {
			s.databaseByName = s.databaseByName.without(scoped(old.AccountID, old.Name))
		}
	}
	if has {
		s.databaseByName = s.databaseByName.with(scoped(now.AccountID, now.Name), now)
	}
	return nil
}

func (s *Snapshot) applyCertificate(id string, e entry) error {
	if err := put(&s.certificates, id, e, func(v *Certificate) string { return v.ID }); err != nil {
		return err
	}
	s.certificateRevs = s.certificateRevs.without(id)
	if e.value != nil {
		s.certificateRevs = s.certificateRevs.with(id, e.rev)
	}
	return nil
}

func (s *Snapshot) applySeen(id string, e entry) error {
	if e.value == nil {
		s.seen = s.seen.without(id)
		return nil
	}
	at, err := time.Parse(time.RFC3339, string(e.value))
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	s.seen = s.seen.with(id, at)
	return nil
}

func (s *Snapshot) applyClaim(rest string, e entry) {
	kind, name, ok := splitClaim(rest)
	if !ok || kind != claimHostname {
		return // the other claims guard writes only
	}
	if e.value == nil {
		s.hostnames = s.hostnames.without(name)
		return
	}
	s.hostnames = s.hostnames.with(name, e.rev)
}

var _ access.Directory = (*Snapshot)(nil)
