package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
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
func Pipe(ctx context.Context, a, b Conn) (Stats, error) {
	// What waits for hours in this frame is on the stack of a goroutine for each stream: the rest is elsewhere.
	p := newPipe(a, b)
	stop := p.watch(ctx)
	p.other.Go(p.ba.run)
	p.ab.run()
	p.other.Wait()
	stop()
	return p.end()
}

// pipe is what the two directions share.
type pipe struct {
	a, b   Conn
	ab, ba direction
	other  sync.WaitGroup // ba

	mu  sync.Mutex
	err error // the first failure
}

func newPipe(a, b Conn) *pipe {
	p := &pipe{a: a, b: b}
	p.ab = direction{pipe: p, src: a, dst: b, from: "a", to: "b"}
	p.ba = direction{pipe: p, src: b, dst: a, from: "b", to: "a"}
	return p
}

// watch fails the pipe when ctx ends, until stop.
func (p *pipe) watch(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { p.fail(context.Cause(ctx), CodeCancelled) })
}

// end frees both sides once both directions have ended.
func (p *pipe) end() (Stats, error) {
	err := p.cause()
	if err == nil {
		// Nothing is in flight: these only free the two.
		_ = p.a.Close()
		_ = p.b.Close()
	}
	return Stats{AToB: p.ab.n, BToA: p.ba.n}, err
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

func (p *pipe) cause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// direction copies from src to dst.
type direction struct {
	pipe     *pipe
	src, dst Conn
	from, to string
	n        int64 // bytes delivered
}

func (d *direction) run() {
	for {
		if err := d.src.WaitRead(); err != nil {
			d.fail(d.from, "read", err)
			return
		}
		buf := buffers.get()
		more := d.burst(buf[:])
		buffers.put(buf)
		if !more {
			return
		}
	}
}

// burst copies until the source may have to be waited for, and reports whether the direction goes on.
func (d *direction) burst(buf []byte) bool {
	for {
		n, err := d.src.Read(buf)
		if n > 0 {
			w, werr := d.dst.Write(buf[:n])
			d.n += int64(w)
			if werr != nil {
				d.fail(d.to, "write", werr)
				return false
			}
		}
		switch {
		case err == io.EOF:
			if err := d.dst.CloseWrite(); err != nil {
				d.fail(d.to, "write", err)
			}
			return false
		case err != nil:
			d.fail(d.from, "read", err)
			return false
		case n < len(buf):
			return true
		}
	}
}

func (d *direction) fail(side, op string, err error) {
	d.pipe.fail(&PipeError{Side: side, Op: op, Err: err}, CodeAborted)
}
