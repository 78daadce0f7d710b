package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Stats counts the bytes that Pipe delivered in each direction.
type Stats struct {
	AToB, BToA int64
}

// A PipeError names the side of a pipe that failed, and what was being done there.
type PipeError struct {
	Side string // "a" or "b"
	Op   string // "read" or "write"
	Err  error
}

func (e *PipeError) Error() string { return fmt.Sprintf("pipe: %s %s: %v", e.Op, e.Side, e.Err) }

// Unwrap returns the error of the side that failed.
func (e *PipeError) Unwrap() error { return e.Err }

// Pipe copies a to b and b to a until both directions have ended, and owns both from then on: when it returns they are closed
// or reset. An EOF of one side is passed on with CloseWrite while the other direction goes on, for as long as it likes.
//
// The error is nil when both directions ended by EOF. Otherwise both sides are reset, with the code that one side was reset with
// if that was the reason, and the error is a *PipeError. When ctx ends both are reset and the error is ctx's cause; if the cause
// is a *ResetError its code is used, otherwise CodeCancelled.
func Pipe(ctx context.Context, a, b Conn) (stats Stats, err error) {
	done := make(chan struct{})
	p := newPipe(a, b, func(s Stats, e error) {
		stats, err = s, e
		close(done)
	})
	p.ab.fixed = true
	p.watch(ctx)
	go p.ba.run()
	p.ab.run()
	<-done
	return stats, err
}

// Join is Pipe without waiting: it calls ended in the end. A pair that rests takes two goroutines of the least size, and nothing else that
// would have to be held. Both conns are set read deadlines, which must end nothing but the call that meets them.
func Join(ctx context.Context, a, b Conn, ended func(Stats, error)) {
	newPipe(a, b, ended).join(ctx)
}

func (p *pipe) join(ctx context.Context) {
	p.watch(ctx)
	go p.ab.run()
	go p.ba.run()
}

// pipe is what the two directions share.
type pipe struct {
	a, b    Conn
	ab, ba  direction
	left    atomic.Int32 // directions that have not ended
	ended   func(Stats, error)
	unwatch func() bool // nil when there is nothing to watch

	mu   sync.Mutex
	err  error       // the first failure
	look *time.Timer // calls rest; nil while nobody looks
}

func newPipe(a, b Conn, ended func(Stats, error)) *pipe {
	p := &pipe{a: a, b: b, ended: ended}
	p.ab = direction{pipe: p, src: a, dst: b, from: "a", to: "b"}
	p.ba = direction{pipe: p, src: b, dst: a, from: "b", to: "a"}
	p.left.Store(2)
	return p
}

// watch fails the pipe when ctx ends.
func (p *pipe) watch(ctx context.Context) {
	if ctx.Done() != nil {
		p.unwatch = context.AfterFunc(ctx, func() { p.fail(context.Cause(ctx), CodeCancelled) })
	}
}

// end counts a direction that has ended. After both the two sides are freed.
func (p *pipe) end() {
	if p.left.Add(-1) > 0 {
		return
	}
	if p.unwatch != nil {
		p.unwatch()
	}
	p.mu.Lock()
	err := p.err
	if p.look != nil {
		p.look.Stop()
	}
	for _, d := range []*direction{&p.ab, &p.ba} {
		if d.unwatch != nil {
			d.unwatch()
		}
	}
	p.mu.Unlock()
	if err == nil {
		// Nothing is in flight: these only free the two.
		_ = p.a.Close()
		_ = p.b.Close()
	}
	p.ended(Stats{AToB: p.ab.n, BToA: p.ba.n}, err)
}

// fail resets both sides on the first failure, which unblocks the direction that has not failed.
func (p *pipe) fail(err error, code Code) {
	p.mu.Lock()
	first := p.err == nil
	if first {
		p.err = err
	}
	p.mu.Unlock()
	if !first {
		return
	}
	var reset *ResetError
	switch {
	case errors.As(err, &reset):
		code = reset.Code
	case errors.Is(err, os.ErrDeadlineExceeded):
		code = CodeTimeout
	}
	// A socket that cannot even be reset is gone already.
	_ = p.a.Reset(code)
	_ = p.b.Reset(code)
}

// direction copies from src to dst.
type direction struct {
	pipe     *pipe
	src, dst Conn
	from, to string
	fixed    bool  // the goroutine is the caller's
	n        int64 // bytes delivered
	pace     atomic.Int32
	writing  atomic.Bool // what was read is being written
	unwatch  func() bool // ends what watchSource began; nil before. Guarded by pipe.mu
}

func (d *direction) run() {
	for {
		if err := d.src.WaitRead(); err != nil {
			if d.restarts(err) {
				return
			}
			d.fail(d.from, "read", err)
			break
		}
		d.moves()
		buf := buffers.get()
		err := d.burst(buf[:])
		buffers.put(buf)
		if err != nil {
			if d.restarts(err) {
				return
			}
			break
		}
	}
	d.pipe.end()
}

// errEnded says that a direction has ended, with what is to be said about it said.
var errEnded = errors.New("the direction has ended")

// burst copies until the source may have to be waited for. It returns errEnded when the direction has ended, and os.ErrDeadlineExceeded
// when it was roused.
func (d *direction) burst(buf []byte) error {
	for {
		n, err := d.src.Read(buf)
		if n > 0 {
			d.writing.Store(true)
			w, werr := d.dst.Write(buf[:n])
			d.writing.Store(false)
			d.n += int64(w)
			if werr != nil {
				d.fail(d.to, "write", werr)
				return errEnded
			}
		}
		switch {
		case err == io.EOF:
			if err := d.dst.CloseWrite(); err != nil {
				d.fail(d.to, "write", err)
			}
			return errEnded
		case err != nil && d.wasRoused(err):
			return err
		case err != nil:
			d.fail(d.from, "read", err)
			return errEnded
		case n < len(buf):
			return nil
		}
	}
}

func (d *direction) fail(side, op string, err error) {
	d.pipe.fail(&PipeError{Side: side, Op: op, Err: err}, CodeAborted)
}
