package tunnel

import (
	"io"
	"sync"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// outgoing is one thing for the control stream's writer to do, in its turn.
type outgoing struct {
	frame  *tunnelpb.Frame // to send
	finish *muxStream      // to send the FIN of
}

// maxOutbox bounds the queue, in entries. A stream that is reset queues three at most, so that an honest session stays below it
// with all of its streams; a peer that asks for answers without reading them does not.
const maxOutbox = 4 * defaultStreams

// outbox queues for the control stream, so that a Reset never waits for a blocked connection.
type outbox struct {
	flush func() // sends what a batch has queued, which waits for it; nil where nothing does

	mu       sync.Mutex
	queue    []outgoing
	wake     chan struct{} // holds a token while queue may have something
	overflow chan struct{} // holds a token when something was dropped: the session must end
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), overflow: make(chan struct{}, 1)}
}

// put queues what goes together.
func (o *outbox) put(all ...outgoing) {
	o.mu.Lock()
	full := len(o.queue) >= maxOutbox
	if !full {
		o.queue = append(o.queue, all...)
	}
	o.mu.Unlock()
	if full {
		signal(o.overflow)
		return
	}
	signal(o.wake)
}

// putIfEmpty drops g when something else is to be sent.
func (o *outbox) putIfEmpty(g outgoing) {
	o.mu.Lock()
	empty := len(o.queue) == 0
	if empty {
		o.queue = append(o.queue, g)
	}
	o.mu.Unlock()
	if empty {
		signal(o.wake)
	}
}

// signal leaves a token, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (o *outbox) take() []outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queue
	o.queue = nil
	return q
}

// run sends what is put, until done is closed or w fails.
func (o *outbox) run(w io.Writer, done <-chan struct{}) error {
	for {
		select {
		case <-o.wake:
		case <-done:
			return nil
		}
		if err := o.send(w, o.take()); err != nil {
			return err
		}
	}
}

// send sends a batch, in one message where it can.
func (o *outbox) send(w io.Writer, batch []outgoing) error {
	for _, g := range batch {
		if g.finish != nil {
			g.finish.finish()
			continue
		}
		if err := writeMessage(w, g.frame); err != nil {
			return err
		}
	}
	if o.flush != nil {
		o.flush()
	}
	return nil
}
