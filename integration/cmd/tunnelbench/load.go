package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The kinds of load.
const (
	down   = "down"   // bytes from the target
	up     = "up"     // bytes to the target
	fetch  = "fetch"  // so many bytes from the target, from connecting to the last
	ping   = "ping"   // a byte there and back, on streams that are kept
	open   = "open"   // a stream for each byte there and back
	beside = "beside" // ping, and then again beside one stream of down
	idle   = "idle"   // streams that are kept and carry nothing, until the process is ended
)

// pingTimeout is how long a byte may be away: longer than any queue that a network holds.
const pingTimeout = 20 * time.Second

// load is what to do, Streams at a time.
type load struct {
	Kind    string
	Streams int
	Seconds float64
	Bytes   int64 // of a fetch
}

// figures are what came of a load.
type figures struct {
	Count    int64         // bytes, round trips or opens
	Took     time.Duration // for all of them
	P50, P99 time.Duration // of round trips and opens
	Quiet    time.Duration // of beside: the 99th percentile without the neighbour
}

// rate is Count for each second.
func (f figures) rate() float64 { return float64(f.Count) / f.Took.Seconds() }

// runLoad prints what it measured, as JSON.
func runLoad(ctx context.Context, s setup) (err error) {
	l := s.Load
	var f figures
	switch l.Kind {
	case down, up:
		f, err = l.stream(s.To)
	case fetch:
		f, err = l.fetch(s.To)
	case ping:
		var conns []net.Conn
		if conns, err = l.connect(s.To); err == nil {
			f, err = l.ping(conns)
		}
	case open:
		f, err = l.open(s.To)
	case beside:
		f, err = l.beside(s.To)
	case idle:
		return l.idle(ctx, s)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

func (l load) duration() time.Duration { return time.Duration(l.Seconds * float64(time.Second)) }

// each runs f in as many goroutines as there are streams, and returns their errors.
func (l load) each(f func(i int) error) error {
	errs := make([]error, l.Streams)
	var wg sync.WaitGroup
	for i := range l.Streams {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// connect makes the streams of a ping: each has carried a byte.
func (l load) connect(to string) ([]net.Conn, error) {
	conns := make([]net.Conn, l.Streams)
	return conns, l.each(func(i int) (err error) {
		conns[i], err = dial(to, askEcho)
		if err == nil {
			_, err = trip(conns[i])
		}
		return err
	})
}

func dial(to string, ask ...byte) (net.Conn, error) {
	c, err := net.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(ask); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// trip sends a byte there and back.
func trip(c net.Conn) (time.Duration, error) {
	began := time.Now()
	var b [1]byte
	if err := c.SetDeadline(began.Add(pingTimeout)); err != nil {
		return 0, err
	}
	if _, err := c.Write(b[:]); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(c, b[:])
	return time.Since(began), err
}

func (l load) ping(conns []net.Conn) (figures, error) {
	return l.repeat(func(i int) (time.Duration, error) { return trip(conns[i]) })
}

func (l load) open(to string) (figures, error) {
	return l.repeat(func(int) (time.Duration, error) {
		began := time.Now()
		c, err := dial(to, askEcho, 0)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		if err := c.SetDeadline(began.Add(pingTimeout)); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return 0, err
		}
		took := time.Since(began)
		return took, c.(*net.TCPConn).SetLinger(0) // no TIME_WAIT, or the ports run out
	})
}

// repeat calls f again and again on each stream, for the load's time.
func (l load) repeat(f func(i int) (time.Duration, error)) (figures, error) {
	all := make([][]time.Duration, l.Streams)
	began := time.Now()
	end := began.Add(l.duration())
	err := l.each(func(i int) error {
		for time.Now().Before(end) {
			took, err := f(i)
			if err != nil {
				return err
			}
			all[i] = append(all[i], took)
		}
		return nil
	})
	took := time.Since(began)
	flat := slices.Concat(all...)
	slices.Sort(flat)
	if err == nil && len(flat) == 0 {
		err = errors.New("nothing came back in time")
	}
	if err != nil {
		return figures{}, err
	}
	return figures{Count: int64(len(flat)), Took: took, P50: flat[len(flat)/2], P99: flat[len(flat)*99/100]}, nil
}

// stream moves bytes for the load's time. Those of an up count when the target has said that it has them.
func (l load) stream(to string) (figures, error) {
	var count atomic.Int64
	began := time.Now()
	end := began.Add(l.duration())
	err := l.each(func(int) error {
		if l.Kind == down {
			return pull(to, end, &count)
		}
		return push(to, end, &count)
	})
	return figures{Count: count.Load(), Took: time.Since(began)}, err
}

// pull reads until end.
func pull(to string, end time.Time, count *atomic.Int64) error {
	c, err := dial(to, binary.BigEndian.AppendUint64([]byte{askDown}, 1<<62)...)
	if err != nil {
		return err
	}
	defer c.Close()
	c.(*net.TCPConn).SetLinger(0)
	c.SetDeadline(end)
	buf := make([]byte, chunk)
	for {
		n, err := c.Read(buf)
		count.Add(int64(n))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
	}
}

// push writes until end, and then waits until all of it has arrived.
func push(to string, end time.Time, count *atomic.Int64) error {
	c, err := dial(to, askUp)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetWriteDeadline(end)
	buf := make([]byte, chunk)
	for err == nil {
		_, err = c.Write(buf)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	c.SetReadDeadline(end.Add(pingTimeout))
	var arrived int64
	if err := binary.Read(c, binary.BigEndian, &arrived); err != nil {
		return err
	}
	count.Add(arrived)
	return nil
}

// fetch reads so many bytes.
func (l load) fetch(to string) (figures, error) {
	began := time.Now()
	c, err := dial(to, binary.BigEndian.AppendUint64([]byte{askDown}, uint64(l.Bytes))...)
	if err != nil {
		return figures{}, err
	}
	defer c.Close()
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{c}, make([]byte, chunk))
	if err == nil && n != l.Bytes {
		err = io.ErrUnexpectedEOF
	}
	return figures{Count: n, Took: time.Since(began)}, err
}

// beside measures round trips without and with a stream that takes what it can get.
func (l load) beside(to string) (figures, error) {
	conns, err := l.connect(to)
	if err != nil {
		return figures{}, err
	}
	quiet, err := l.ping(conns)
	if err != nil {
		return figures{}, err
	}
	var bytes atomic.Int64
	bulk := make(chan error, 1)
	end := time.Now().Add(l.duration() + time.Second) // and the pings to their end
	go func() { bulk <- pull(to, end, &bytes) }()
	f, err := l.ping(conns)
	if err := errors.Join(err, <-bulk); err != nil {
		return figures{}, err
	}
	f.Quiet = quiet.P99
	return f, nil
}

// idle holds streams.
func (l load) idle(ctx context.Context, s setup) error {
	conns := make([]net.Conn, l.Streams)
	const openers = 16
	err := load{Streams: openers}.each(func(i int) error {
		for ; i < len(conns); i += openers {
			c, err := dial(s.To, askEcho)
			if err != nil {
				return err
			}
			conns[i] = c
			if _, err := trip(c); err != nil {
				return err
			}
			if err := c.SetDeadline(time.Time{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	<-ctx.Done()
	for _, c := range conns {
		c.Close()
	}
	return nil
}
