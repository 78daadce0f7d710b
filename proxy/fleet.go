package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluicedb/sluice/proxy/cache"
)

// A Fleet lets the proxies of one store speak to each other. *control.Control is one.
type Fleet interface {
	// Tell says something to every proxy that listens, this one included. It does
	// not wait for them.
	Tell(topic string, data []byte) error
	// Listen passes what is told about topics that begin with prefix to hear, in the order
	// of each teller, until ctx ends. It calls lost where something may have been missed.
	Listen(ctx context.Context, prefix string, hear func(topic string, data []byte), lost func()) error
}

const (
	writesPrefix = "writes." // then account and database
	// beat is how often a proxy tells how many writes it has told of: what of them
	// another has not heard by then is lost.
	beat = time.Second
	// missing is for how long a proxy is not heard before what it said is taken to
	// be lost: two beats, and half a one for the way.
	missing = 5 * beat / 2
	// mostTables bounds the tables that a message names: more are all.
	mostTables = 256
	// maxPeers bounds the proxies that are followed. Beyond, all are forgotten.
	maxPeers = 4096
)

// What a message is.
const (
	toldWrite = iota
	toldDoubt // a write that may yet be committed within a while
	toldBeat
	toldGoodbye
)

// peerID tells one proxy's process from all others.
type peerID [8]byte

// gossip tells the other proxies what is written through this one, and hears from
// them what is written through them. While it cannot hear, the cache is suspended.
type gossip struct {
	p     *Proxy
	fleet Fleet
	id    peerID
	now   func() time.Time

	mu      sync.Mutex
	pending map[string]*writeTold // not told yet, by topic
	wake    chan struct{}
	told    uint64 // writes told of so far
	beats   uint64 // beats sent
	resume  uint64 // the own beat from which on hearing is good again; 0: it is
	heard   time.Time
	peers   map[peerID]*peer
}

// A peer is another proxy, as far as it was heard.
type peer struct {
	told  uint64
	heard time.Time
}

// writeTold is what was written to one database.
type writeTold struct {
	cache.Write
	ddl, inDoubt bool
}

func newGossip(p *Proxy, fleet Fleet) *gossip {
	g := &gossip{p: p, fleet: fleet, now: time.Now, pending: make(map[string]*writeTold), wake: make(chan struct{}, 1), peers: make(map[peerID]*peer), resume: 1}
	_, _ = rand.Read(g.id[:]) // which never fails
	p.cache.Suspend()
	return g
}

// run tells and listens until ctx ends.
func (g *gossip) run(ctx context.Context) {
	var listening sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	g.heard = g.now()
	listening.Go(func() {
		for ctx.Err() == nil {
			if err := g.fleet.Listen(ctx, writesPrefix, g.hear, g.lost); err != nil {
				g.p.cfg.Logger.Error("other proxies are not heard", "err", err)
				g.lost()
				select {
				case <-ctx.Done():
				case <-time.After(beat):
				}
			}
		}
	})
	listening.Go(func() { g.watch(ctx) })
	defer listening.Wait()
	defer stop()
	t := time.NewTicker(beat)
	defer t.Stop()
	g.beat()
	for {
		select {
		case <-ctx.Done():
			g.flush()
			_ = g.fleet.Tell(writesPrefix+"bye", g.message(toldGoodbye, nil))
			return
		case <-g.wake:
			g.flush()
		case <-t.C:
			g.flush()
			g.beat()
		}
	}
}

// watch looks for silence until ctx ends, also while telling is blocked.
func (g *gossip) watch(ctx context.Context) {
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			g.look()
		}
	}
}

// wrote notes what was written to a database, to be told. It does not block.
func (g *gossip) wrote(topic string, w cache.Write, ddl, inDoubt bool) {
	g.mu.Lock()
	of := g.pending[topic]
	if of == nil {
		of = &writeTold{}
		g.pending[topic] = of
	}
	of.add(writeTold{w, ddl, inDoubt})
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (t *writeTold) add(o writeTold) {
	t.All, t.ddl, t.inDoubt = t.All || o.All, t.ddl || o.ddl, t.inDoubt || o.inDoubt
	for _, id := range o.Tables {
		if !slices.Contains(t.Tables, id) {
			t.Tables = append(t.Tables, id)
		}
	}
	if t.All || len(t.Tables) > mostTables {
		t.All, t.Tables = true, nil
	}
}

// flush tells what is to be told. What cannot be is kept.
func (g *gossip) flush() {
	g.mu.Lock()
	pending := g.pending
	g.pending = make(map[string]*writeTold)
	g.mu.Unlock()
	for _, topic := range slices.Sorted(maps.Keys(pending)) {
		w := pending[topic]
		kind := byte(toldWrite)
		if w.inDoubt {
			kind = toldDoubt
		}
		g.mu.Lock()
		g.told++
		g.mu.Unlock()
		if err := g.fleet.Tell(writesPrefix+topic, g.message(kind, w)); err != nil {
			g.mu.Lock()
			g.told-- // nobody has heard it
			if later := g.pending[topic]; later != nil {
				w.add(*later)
			}
			g.pending[topic] = w
			g.mu.Unlock()
			g.lost()
		}
	}
}

func (g *gossip) beat() {
	g.mu.Lock()
	g.beats++
	g.mu.Unlock()
	if err := g.fleet.Tell(writesPrefix+"beat", g.message(toldBeat, nil)); err != nil {
		g.lost()
	}
}

// lost suspends the cache until a beat that is yet to be sent is heard.
func (g *gossip) lost() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resume = g.beats + 1
	if g.p.cache.Suspend() {
		g.p.cfg.Logger.Warn("the cache rests: other proxies cannot be heard")
	}
}

// look takes proxies that are silent for to be lost, itself as well.
func (g *gossip) look() {
	g.mu.Lock()
	late := g.now().Add(-missing)
	silent := g.heard.Before(late)
	var gone int
	for id, p := range g.peers {
		if p.heard.Before(late) {
			delete(g.peers, id)
			gone++
		}
	}
	g.mu.Unlock()
	if silent {
		g.lost()
	}
	if gone > 0 {
		g.p.cfg.Logger.Info("another proxy fell silent: what is cached is forgotten", "proxies", gone)
		g.missed()
	}
}

// missed forgets everything: writes may have gone unheard.
func (g *gossip) missed() {
	g.p.cache.Forget()
	for _, d := range g.p.databases() {
		d.Results().Unheard()
	}
}

// message makes one. Its layout: id 8 bytes, writes told of so far 8, beats 8, kind
// 1, flags 1 (all, DDL), OIDs of tables 4 each.
func (g *gossip) message(kind byte, w *writeTold) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := append(make([]byte, 0, 64), g.id[:]...)
	b = binary.BigEndian.AppendUint64(b, g.told)
	b = append(binary.BigEndian.AppendUint64(b, g.beats), kind, 0)
	if w == nil {
		return b
	}
	if w.All {
		b[messageHead-1] |= 1
	}
	if w.ddl {
		b[messageHead-1] |= 2
	}
	for _, id := range w.Tables {
		b = binary.BigEndian.AppendUint32(b, id)
	}
	return b
}

const messageHead = 8 + 8 + 8 + 1 + 1

// hear takes a message in.
func (g *gossip) hear(topic string, b []byte) {
	if len(b) < messageHead || (len(b)-messageHead)%4 != 0 {
		g.p.cfg.Logger.Warn("another proxy is not understood")
		g.missed()
		return
	}
	id, told, beats, kind, flags := peerID(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), b[24], b[25]
	if id == g.id {
		g.hearMyself(kind, beats)
		return
	}
	if !g.follow(id, told, kind) {
		g.missed()
	}
	if kind != toldWrite && kind != toldDoubt {
		return
	}
	if r := g.p.results(databaseOf(topic)); r != nil {
		w := cache.Write{All: flags&1 != 0}
		for b := b[messageHead:]; len(b) > 0; b = b[4:] {
			w.Tables = append(w.Tables, binary.BigEndian.Uint32(b))
		}
		r.Wrote(w, flags&2 != 0, kind == toldDoubt)
	}
}

// hearMyself takes the way through the store to be open.
func (g *gossip) hearMyself(kind byte, beats uint64) {
	if kind != toldBeat {
		return
	}
	if g.p.cache.Stats().Suspended {
		g.missed() // catalogs are in doubt before anything is cached again
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard = g.now()
	if g.resume == 0 || beats < g.resume {
		return
	}
	if g.resume > 1 {
		g.p.cfg.Logger.Info("other proxies are heard again")
	}
	g.resume = 0
	g.p.cache.Resume()
}

// follow notes that a peer was heard, and reports whether nothing that it said
// before was missed.
func (g *gossip) follow(id peerID, told uint64, kind byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.peers[id]
	if kind == toldGoodbye {
		delete(g.peers, id)
		return p != nil && p.told == told
	}
	next := told
	if kind != toldBeat {
		next-- // the message itself is one
	}
	if p == nil {
		if len(g.peers) >= maxPeers {
			clear(g.peers)
		}
		p = &peer{}
		g.peers[id] = p
	}
	whole := p.told == next
	p.told, p.heard = told, g.now()
	return whole
}

// databaseOf is the ID of the database that a topic is about.
func databaseOf(topic string) string {
	for i := range topic {
		if topic[i] == '.' {
			return topic[i+1:]
		}
	}
	return ""
}
