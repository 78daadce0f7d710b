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
	mu       sync.Mutex
	queue    []outgoing
	sending  bool          // run has taken a batch and has not sent all of it
	control  yamuxControl  // takes what is small without waiting; without a stream where there is none that does
	wake     chan struct{} // holds a token while queue may have something
	overflow chan struct{} // holds a token when something was dropped: the session must end
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), overflow: make(chan struct{}, 1)}
}

// attach lets what is put go to c, which is what run writes to, without waiting for run.
func (o *outbox) attach(c yamuxControl) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.control = c
}

// put queues what goes together.
func (o *outbox) put(all ...outgoing) { o.add(all, (*muxOut).flush) }

// putLazily is put for what nobody waits for: it goes with what follows, if that is soon.
func (o *outbox) putLazily(all ...outgoing) { o.add(all, (*muxOut).flushSoon) }

func (o *outbox) add(all []outgoing, flush func(*muxOut)) {
	o.mu.Lock()
	sent := o.now(all)
	full := !sent && len(o.queue) >= maxOutbox
	if !sent && !full {
		o.queue = append(o.queue, all...)
	}
	o.mu.Unlock()
	switch {
	case sent:
		flush(o.control.m.out)
	case full:
		signal(o.overflow)
	default:
		signal(o.wake)
	}
}

// now hands all over to the mux, if nothing is to be sent before and none of it has to wait. Who puts spares run, and a wake. Called
// with mu held.
func (o *outbox) now(all []outgoing) bool {
	if o.control.muxStream == nil || o.sending || len(o.queue) > 0 {
		return false
	}
	frames, size := make([][]byte, len(all)), 0
	for i, g := range all {
		if g.frame == nil {
			continue
		}
		b, err := encode(g.frame)
		if err != nil {
			return false // run ends the session
		}
		frames[i] = b
		size += len(b)
	}
	if size > maxQuiet || !o.control.fits(size) {
		return false
	}
	for i, g := range all {
		if g.finish != nil {
			g.finish.finish()
			continue
		}
		// It fails when the session has ended, which its reader learns.
		_, _ = o.control.write(frames[i], true)
	}
	return true
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

// take returns what waits, which is then being sent. What was taken before is.
func (o *outbox) take() []outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queue
	o.queue = nil
	o.sending = len(q) > 0
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
		for batch := o.take(); len(batch) > 0; batch = o.take() {
			if err := o.send(w, batch); err != nil {
				return err
			}
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
	if c, ok := w.(yamuxControl); ok {
		c.m.out.flush() // it does not wait for that
	}
	return nil
}
