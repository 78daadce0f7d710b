package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// A hub listens for all clients of a database, over one origin connection of its
// own, which is there while a client listens.
//
//	origin ── NotificationResponse ──> hub ──> mailbox of each client that listens
type hub struct {
	db   *Database
	wake chan struct{} // for run: there is a channel, or there is none

	mu       sync.Mutex
	channels map[string]*channel
	conn     *origin    // nil while there is none
	sent     []*channel // what the origin is still to answer; nil for an UNLISTEN
	answered bool       // conn has answered a command
	lost     bool       // notifications may have been, of the channels of before
}

// A channel is one that clients listen to, or are about to.
type channel struct {
	name    string
	clients map[*client]bool
	heard   chan struct{} // closed when the origin sends what is notified
	deaf    bool          // heard is not closed yet
}

// hubTimeout bounds the dial of a hub and what a client waits for it.
const hubTimeout = 15 * time.Second

func newHub(db *Database) *hub {
	return &hub{db: db, wake: make(chan struct{}, 1), channels: make(map[string]*channel)}
}

// add lets c listen to a channel. What it returns is closed when no notification
// is missed any more.
func (h *hub) add(c *client, name string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.channels[name]
	if ch == nil {
		ch = &channel{name: name, clients: make(map[*client]bool), heard: make(chan struct{}), deaf: true}
		h.channels[name] = ch
		h.command(ch, "LISTEN "+quoteName(name))
	}
	ch.clients[c] = true
	return ch.heard
}

// remove lets c no longer listen.
func (h *hub) remove(c *client, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.channels[name]
	if ch == nil {
		return
	}
	if delete(ch.clients, c); len(ch.clients) == 0 {
		delete(h.channels, name)
		h.lost = h.lost && len(h.channels) > 0
		h.command(nil, "UNLISTEN "+quoteName(name))
	}
}

// command sends a command, if there is a connection; else it is for run to make
// one. The lock is held.
func (h *hub) command(ch *channel, sql string) {
	if h.conn != nil {
		_ = h.conn.SetWriteDeadline(time.Now().Add(cleanTimeout))
		if _, err := h.conn.Write(pgwire.AppendQuery(nil, sql)); err != nil {
			_ = h.conn.SetReadDeadline(time.Unix(1, 0)) // run makes another
		}
		h.sent = append(h.sent, ch)
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// renew makes the hub take another connection.
func (h *hub) renew() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		_ = h.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// run keeps a connection while there are channels, until ctx ends.
func (h *hub) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		h.mu.Lock()
		idle := len(h.channels) == 0
		h.mu.Unlock()
		if idle {
			select {
			case <-ctx.Done():
			case <-h.wake:
			}
			continue
		}
		dialing, stop := context.WithTimeout(ctx, hubTimeout)
		o, err := h.db.dialOrigin(dialing)
		stop()
		if err == nil && h.listen(ctx, o) {
			failures = 0
			continue
		}
		failures++
		select {
		case <-ctx.Done():
		case <-time.After(hubBackoff(failures)):
		}
	}
}

// hubBackoff is how long to wait after a dial that failed, or led to an origin that
// does not let the hub listen, as a pool does: from 50 ms doubled to 1.5 s, half of
// it drawn at random.
func hubBackoff(failures int) time.Duration {
	d := min(1500*time.Millisecond, 50*time.Millisecond<<min(failures-1, 10))
	return d/2 + rand.N(d/2)
}

// listen serves one connection until it is lost, or of no more use, and reports
// whether it was of any.
func (h *hub) listen(ctx context.Context, o *origin) bool {
	defer o.Close()
	stop := context.AfterFunc(ctx, func() { _ = o.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	h.mu.Lock()
	h.conn, h.answered = o, false
	for _, ch := range h.channels {
		h.command(ch, "LISTEN "+quoteName(ch.name))
	}
	h.mu.Unlock()
	_ = h.read(o)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn, h.sent = nil, nil
	for _, ch := range h.channels {
		if !ch.deaf {
			ch.heard, ch.deaf, h.lost = make(chan struct{}), true, true
		}
	}
	return h.answered
}

// maxNotification bounds a notification in bytes: a payload has less than 8000
// (NOTIFY_PAYLOAD_MAX_LENGTH, src/backend/commands/async.c), a name 63.
const maxNotification = 8 << 10

// read takes what the origin sends until the connection ends.
func (h *hub) read(o *origin) error {
	for {
		b := o.Bytes()
		full := pgwire.HeaderSize
		if len(b) >= full {
			_, body, err := pgwire.Header(b)
			if err != nil {
				return err
			}
			full += body
		}
		if full > pgwire.BufferSize {
			return fmt.Errorf("%w: message of %d bytes", pgwire.ErrProtocol, full)
		}
		if len(b) < full {
			if err := o.Fill(); err != nil {
				return err
			}
			continue
		}
		if !h.take(b[0], b[:full]) {
			return nil
		}
		o.Discard(full)
	}
}

// take handles one message, and reports whether there is still something to
// listen for.
func (h *hub) take(typ byte, msg []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch typ {
	case pgwire.MsgNotification:
		if len(msg) < pgwire.HeaderSize+4 || len(msg) > maxNotification {
			return true
		}
		name, _, _ := pgwire.CString(msg[pgwire.HeaderSize+4:])
		if ch := h.channels[string(name)]; ch != nil {
			msg = append([]byte(nil), msg...)
			for c := range ch.clients {
				c.mail.put(c, ch.name, msg)
			}
		}
	case pgwire.MsgErrorResponse:
		// LISTEN is never refused: the connection is, or the origin is in recovery.
		// That the driver's own LISTEN finds out as well, and answers it.
		if f := pgwire.ParseErrorFields(msg[pgwire.HeaderSize:]); f.Severity == "ERROR" {
			for _, ch := range h.sent {
				ch.unwait()
			}
		}
		return false
	case pgwire.MsgReadyForQuery:
		if len(h.sent) == 0 {
			return true
		}
		ch := h.sent[0]
		h.answered, h.sent = true, h.sent[1:]
		ch.unwait()
		if len(h.sent) > 0 {
			return true
		}
		if h.lost {
			h.lost = false
			h.warn()
		}
		return len(h.channels) > 0
	}
	return true
}

// unwait lets everybody who waits for ch go on; ch may be nil. The hub's lock is
// held.
func (ch *channel) unwait() {
	if ch != nil && ch.deaf {
		ch.deaf = false
		close(ch.heard)
	}
}

// warn tells everybody who listens that something may have been missed.
func (h *hub) warn() {
	e := pgwire.Errorf("01000", "notifications may have been lost")
	e.Hint = "The connection that listens for this database had to be made anew."
	msg := e.AppendNotice(nil)
	told := make(map[*client]bool)
	for _, ch := range h.channels {
		for c := range ch.clients {
			if !told[c] {
				told[c] = true
				c.mail.put(c, "", msg)
			}
		}
	}
}
