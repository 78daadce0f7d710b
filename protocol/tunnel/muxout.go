package tunnel

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
)

const (
	// maxMessage is the most that a WebSocket message of a session has (PROTOCOL.md): a frame behind just less than one more.
	maxMessage = muxHeader + 2*stream.MaxWrite
	// fullOut is how much waits before who has data waits too. Another frame fits in the message then.
	fullOut = stream.MaxWrite
	// maxOut bounds what waits of what cannot wait: FINs, window updates, answers to pings. An honest session's stay far below it.
	maxOut = 1 << 20
	// soon is how long a frame that nobody waits for may wait for others to go with. What follows from a session that is in use comes
	// sooner; the peer keeps an ended stream, of some hundred bytes, for so long.
	soon = 20 * time.Millisecond
)

// muxOut gathers frames into messages. Who adds a frame while nobody writes becomes the writer, once everyone else who is about to
// run had a turn to add theirs: alone it costs no other goroutine, and together they cost one message, TLS record and system call.
type muxOut struct {
	ws       *wsConn
	overflow chan struct{} // is given a token when too much waits: the session must end
	wake     chan struct{} // holds a token while flushes has something to do

	mu      sync.Mutex
	room    sync.Cond // of mu; signalled when the queue has been taken for writing, and at the end
	queue   []byte    // frames
	writing bool      // somebody writes, or is about to
	timed   bool      // flushLater will be called
	since   time.Time // the current write began
	err     error     // set once: the session has ended
}

// outBuffers are messages of maxMessage bytes.
var outBuffers = sync.Pool{New: func() any { return new([maxMessage]byte) }}

func newMuxOut(ws *wsConn, overflow chan struct{}) *muxOut {
	o := &muxOut{ws: ws, overflow: overflow, wake: make(chan struct{}, 1)}
	o.room.L = &o.mu
	return o
}

// frame is a yamux header and a body.
type frame struct {
	kind  byte
	flags uint16
	id    uint32
	size  uint32 // of body, or the header's value where there is none
	body  []byte
}

// add appends frames to the queue. Called with mu held.
func (o *muxOut) add(frames ...frame) {
	for _, f := range frames {
		if o.queue == nil {
			o.queue = outBuffers.Get().(*[maxMessage]byte)[:0]
		}
		q := append(o.queue, muxVersion, f.kind)
		q = binary.BigEndian.AppendUint16(q, f.flags)
		q = binary.BigEndian.AppendUint32(q, f.id)
		q = binary.BigEndian.AppendUint32(q, f.size)
		o.queue = append(q, f.body...)
	}
}

// send sends a stream's data, and waits while the connection is blocked.
func (o *muxOut) send(f frame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) >= fullOut && o.err == nil {
		o.hand() // it may be full of what was to go with something
		o.room.Wait()
	}
	if o.err != nil {
		return o.err
	}
	o.add(f)
	if o.writing {
		return nil
	}
	o.writing = true
	o.mu.Unlock()
	runtime.Gosched()
	o.mu.Lock()
	o.write()
	if len(o.queue) > 0 || o.err != nil {
		signal(o.wake) // the writer's own frame is out: the rest is for flushes
		return o.err
	}
	o.writing = false
	return nil
}

// begin queues the first frames of a stream, in the order of calls, and does not write itself: a blocked connection would hold it
// beyond ctx. prepare makes the frames with mu held.
func (o *muxOut) begin(ctx context.Context, prepare func() []frame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= fullOut {
		defer context.AfterFunc(ctx, o.interrupt)()
	}
	for len(o.queue) >= fullOut && o.err == nil && ctx.Err() == nil {
		o.hand() // as in send
		o.room.Wait()
	}
	switch {
	case o.err != nil:
		return o.err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	o.add(prepare()...)
	o.hand()
	return nil
}

func (o *muxOut) interrupt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.room.Broadcast()
}

// put queues a frame that cannot wait for room. It goes with what follows, at the latest when flush is called.
func (o *muxOut) put(f frame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return o.err
	case len(o.queue) > maxOut:
		signal(o.overflow)
		return nil
	}
	o.add(f)
	return nil
}

// flush has the queue written. It does not wait for that.
func (o *muxOut) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hand()
}

// flushSoon has the queue written with what follows soon, or without.
func (o *muxOut) flushSoon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) > 0 && !o.writing && !o.timed {
		o.timed = true
		time.AfterFunc(soon, o.flushLater)
	}
}

func (o *muxOut) flushLater() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timed = false
	o.hand()
}

// hand makes flushes write the queue, unless somebody does. Called with mu held.
func (o *muxOut) hand() {
	if len(o.queue) > 0 && !o.writing {
		o.writing = true
		signal(o.wake)
	}
}

// flushes writes what others hand over, until done is closed or a write has failed.
func (o *muxOut) flushes(done <-chan struct{}) error {
	for {
		select {
		case <-o.wake:
		case <-done:
			return nil
		}
		runtime.Gosched()
		o.mu.Lock()
		for len(o.queue) > 0 && o.err == nil {
			o.write()
		}
		o.writing = false
		err := o.err
		o.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// write writes what is queued. Called with mu held, by whoever has set writing.
func (o *muxOut) write() {
	message := o.queue
	o.queue = nil
	o.since = time.Now()
	o.room.Broadcast()
	o.mu.Unlock()
	err := o.messages(message)
	if cap(message) == maxMessage {
		outBuffers.Put((*[maxMessage]byte)(message[:maxMessage]))
	}
	o.mu.Lock()
	o.since = time.Time{}
	if err != nil && o.err == nil {
		o.err = err
		o.room.Broadcast()
	}
}

func (o *muxOut) messages(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), maxMessage)
		if err := o.ws.send(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// fail makes everything fail from here on.
func (o *muxOut) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	o.room.Broadcast()
}

// blocked returns for how long the connection has not taken what is written.
func (o *muxOut) blocked(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return 0
	}
	return now.Sub(o.since)
}
