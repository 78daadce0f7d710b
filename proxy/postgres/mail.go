package postgres

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
	"github.com/sluicedb/sluice/proxy/query"
)

// maxMail bounds the notifications that wait for a client, in bytes: those of a
// long transaction, or of a driver that does not read.
const maxMail = 4 << 20

// A mailbox is what waits to be told to a client that listens.
type mailbox struct {
	mu      sync.Mutex
	some    atomic.Bool // there are letters
	letters []letter
	size    int
	waiting bool // the serving goroutine waits for the driver
	woken   bool // and was told to look here
	unseen  bool // some came while it did not wait, and it has not looked since
	full    bool // more came than there was room for

	listens map[string]bool // by channel: true, or false while its LISTEN may be rolled back
}

// A letter is one message for the driver.
type letter struct {
	channel string // "": for everybody
	msg     []byte
}

// put leaves a message for c.
func (m *mailbox) put(c *client, channel string, msg []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return
	}
	if m.size += len(msg); m.size > maxMail {
		m.full, m.letters = true, nil
		_ = c.conn.SetDeadline(time.Unix(1, 0))
		return
	}
	m.letters = append(m.letters, letter{channel, msg})
	m.some.Store(true)
	m.unseen = m.unseen || !m.waiting
	m.wake(c)
}

// wake makes the serving goroutine look, where it waits for the driver. The lock
// is held.
func (m *mailbox) wake(c *client) {
	if m.waiting && !m.woken {
		m.woken = true
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// fill reads from the driver. It reports false where it has delivered mail instead.
func (c *client) fill() (read bool, err error) {
	m := &c.mail
	m.mu.Lock()
	m.waiting = true
	if m.unseen || len(m.letters) > 0 && !c.attached() {
		m.wake(c)
	}
	m.unseen = false
	m.mu.Unlock()
	err = c.conn.Await()
	m.mu.Lock()
	m.waiting = false
	woken := m.woken
	if m.woken = false; woken {
		_ = c.conn.SetReadDeadline(time.Time{})
		if errors.Is(err, bufconn.ErrRest) {
			err = os.ErrDeadlineExceeded // it is to look here first
		}
	}
	full := m.full
	m.unseen = m.unseen || woken && err == nil // what the driver sent comes first
	m.mu.Unlock()
	if !woken || full || !isTimeout(err) {
		return true, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return true, c.ended
	}
	c.deliver()
	return false, c.writeReplies()
}

// deliver puts the mail of channels that the client listens to behind the replies,
// between two transactions. The lock is held.
func (c *client) deliver() {
	if !c.mail.some.Load() || c.origin != nil && (!c.settledButTidying() || c.session.asked.listens) {
		return
	}
	m := &c.mail
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.letters[:0]
	m.size = 0
	for _, l := range m.letters {
		sure, known := m.listens[l.channel]
		switch {
		case sure, l.channel == "":
			c.replies.put(l.msg)
		case known:
			kept = append(kept, l)
			m.size += len(l.msg)
		}
	}
	clear(m.letters[len(kept):])
	m.letters = kept
	m.some.Store(len(kept) > 0)
}

// settledButTidying reports whether the driver is owed nothing and no transaction
// is open.
func (c *client) settledButTidying() bool {
	return c.ledger.owed == 0 && c.status == pgwire.TxIdle && !c.unsynced && !c.copying && c.giving.left == 0
}

// noteListens notes the LISTENs and UNLISTENs that are sent to the origin, and
// waits until what the former ask for is heard: nothing may be missed once they
// are answered.
func (c *client) noteListens(found []query.Listen) error {
	var heard []<-chan struct{}
	for _, l := range found {
		if l.Stop {
			c.session.unlisten = append(c.session.unlisten, l.Channel)
			continue
		}
		if len(c.mail.listens) >= maxChannels {
			return pgwire.Fatalf(pgwire.CodeLimitExceeded, "a session can listen to %d channels", maxChannels)
		}
		heard = append(heard, c.listen(l.Channel, false))
	}
	if len(heard) == 0 {
		return nil
	}
	timeout := time.NewTimer(hubTimeout)
	defer timeout.Stop()
	for _, h := range heard {
		select {
		case <-h:
		case <-timeout.C:
			return pgwire.Fatalf(pgwire.CodeSystemError, "Server connection attempt failed: nothing can be listened to at the moment")
		}
	}
	return nil
}

// maxChannels bounds the channels that one client listens to.
const maxChannels = 1000

// listen takes a channel into the client's, for sure or not yet.
func (c *client) listen(channel string, sure bool) <-chan struct{} {
	m := &c.mail
	m.mu.Lock()
	if m.listens == nil {
		m.listens = make(map[string]bool)
	}
	m.listens[channel] = m.listens[channel] || sure
	m.mu.Unlock()
	return c.db.hub.add(c, channel)
}

// unlisten takes channels out again, "" all of them.
func (c *client) unlisten(is func(channel string, sure bool) bool) {
	m := &c.mail
	m.mu.Lock()
	var gone []string
	for channel, sure := range m.listens {
		if is(channel, sure) {
			delete(m.listens, channel)
			gone = append(gone, channel)
		}
	}
	m.mu.Unlock()
	for _, channel := range gone {
		c.db.hub.remove(c, channel)
	}
}

// uncertain are the channels whose LISTEN may have been rolled back.
func (c *client) uncertain() (channels []string) {
	m := &c.mail
	m.mu.Lock()
	defer m.mu.Unlock()
	for channel, sure := range m.listens {
		if !sure {
			channels = append(channels, channel)
		}
	}
	return channels
}

// listened takes in to which channels the transaction has listened: after the
// UNLISTENs of it, which the origin knows nothing of.
func (c *client) listened(channels []string) {
	a := &c.session.asked
	for _, stop := range a.stops {
		c.unlisten(func(channel string, sure bool) bool { return sure && (stop == "" || stop == channel) })
	}
	for _, channel := range channels {
		c.listen(channel, true)
	}
	c.unlisten(func(channel string, sure bool) bool { return !sure && slices.Contains(a.doubts, channel) })
}

// listenAll takes every channel for one that is listened to for sure.
func (c *client) listenAll() {
	m := &c.mail
	m.mu.Lock()
	defer m.mu.Unlock()
	for channel := range m.listens {
		m.listens[channel] = true
	}
}

// quoteName quotes an identifier.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
