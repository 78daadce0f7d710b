//go:build unix

package socket

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair connects two sockets, of which the second is left to package net.
func pair(t *testing.T, network string) (*Conn, net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = t.TempDir() + "/s"
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return New(near).(*Conn), far
}

// Whatever is written arrives, both ways at once, though neither fits the buffers of the system.
func TestDuplex(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			near, far := pair(t, network)
			sent := make([]byte, 16<<20)
			rand.Read(sent)
			var all sync.WaitGroup
			for _, c := range []net.Conn{near, far} {
				all.Go(func() {
					n, err := c.Write(sent)
					if n != len(sent) || err != nil {
						t.Errorf("wrote %d: %v", n, err)
					}
					c.(interface{ CloseWrite() error }).CloseWrite()
				})
				all.Go(func() {
					got, err := io.ReadAll(c)
					if err != nil || !bytes.Equal(got, sent) {
						t.Errorf("read %d bytes, which differ or are cut short: %v", len(got), err)
					}
				})
			}
			all.Wait()
		})
	}
}

// Errors are what package net returns in the same place, word for word.
func TestErrors(t *testing.T) {
	big := make([]byte, 64<<20) // more than the buffers of a connection hold
	tests := []struct {
		name string
		do   func(c, peer net.Conn) error
		is   error
	}{
		{"EOF", func(c, peer net.Conn) error { peer.Close(); _, err := c.Read(make([]byte, 1)); return err }, io.EOF},
		{"a deadline of a read", func(c, _ net.Conn) error {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			return err
		}, os.ErrDeadlineExceeded},
		{"a deadline that has passed", func(c, peer net.Conn) error {
			peer.Write([]byte("x"))
			c.SetReadDeadline(time.Unix(1, 0))
			_, err := c.Read(make([]byte, 1))
			return err
		}, os.ErrDeadlineExceeded},
		{"a deadline of a write", func(c, _ net.Conn) error {
			c.SetWriteDeadline(time.Now().Add(time.Millisecond))
			_, err := c.Write(big)
			return err
		}, os.ErrDeadlineExceeded},
		{"a read after Close", func(c, _ net.Conn) error { c.Close(); _, err := c.Read(make([]byte, 1)); return err }, net.ErrClosed},
		{"a write after Close", func(c, _ net.Conn) error { c.Close(); _, err := c.Write([]byte("x")); return err }, net.ErrClosed},
		{"a read that Close ends", func(c, _ net.Conn) error {
			time.AfterFunc(time.Millisecond, func() { c.Close() })
			_, err := c.Read(make([]byte, 1))
			return err
		}, net.ErrClosed},
		{"a write that Close ends", func(c, _ net.Conn) error {
			time.AfterFunc(time.Millisecond, func() { c.Close() })
			_, err := c.Write(big)
			return err
		}, net.ErrClosed},
		{"a reset", func(c, peer net.Conn) error {
			peer.(*net.TCPConn).SetLinger(0)
			peer.Close()
			_, err := c.Read(make([]byte, 1))
			return err
		}, syscall.ECONNRESET},
		{"a write after CloseWrite", func(c, _ net.Conn) error {
			c.(interface{ CloseWrite() error }).CloseWrite()
			_, err := c.Write([]byte("x"))
			return err
		}, syscall.EPIPE},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			near, far := pair(t, "tcp")
			got := tt.do(near, far)
			near, far = pair(t, "tcp")
			want := tt.do(near.NetConn(), far)
			if !errors.Is(got, tt.is) || shape(got) != shape(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// shape is an error's text without addresses.
func shape(err error) string {
	if o, ok := errors.AsType[*net.OpError](err); ok {
		return o.Op + " " + o.Net + " " + o.Err.Error()
	}
	return err.Error()
}

// A write that a deadline ends says how much went out, and no byte of it is lost.
func TestPartialWrite(t *testing.T) {
	near, far := pair(t, "tcp")
	sent := make([]byte, 64<<20)
	rand.Read(sent)
	first := make([]byte, 1)
	began := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(far, first)
		near.SetWriteDeadline(time.Now())
		began <- err
	}()
	n, err := near.Write(sent)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(sent) {
		t.Fatalf("wrote %d of %d: %v", n, len(sent), err)
	}
	if err := <-began; err != nil {
		t.Fatal(err)
	}
	near.CloseWrite()
	if rest, err := io.ReadAll(far); err != nil || !bytes.Equal(append(first, rest...), sent[:n]) {
		t.Errorf("%d bytes arrived of %d, or others: %v", len(rest)+1, n, err)
	}
}

// An empty read and an empty write do nothing and wait for nothing.
func TestEmpty(t *testing.T) {
	near, _ := pair(t, "tcp")
	if n, err := near.Read(nil); n != 0 || err != nil {
		t.Errorf("Read: %d, %v", n, err)
	}
	if n, err := near.Write(nil); n != 0 || err != nil {
		t.Errorf("Write: %d, %v", n, err)
	}
}

func TestPoll(t *testing.T) {
	near, far := pair(t, "tcp")
	poll := func() (got int16) {
		raw, _ := near.SyscallConn()
		if err := raw.Control(func(fd uintptr) {
			var err error
			if got, err = Poll(fd, unix.POLLIN); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Error(err)
		}
		return got
	}
	if got := poll(); got != 0 {
		t.Errorf("of a quiet socket: %#x", got)
	}
	far.Write([]byte("x"))
	near.in.mu.Lock() // nobody reads
	defer near.in.mu.Unlock()
	if err := near.raw.Read(func(uintptr) bool { return poll() != 0 }); err != nil {
		t.Error(err)
	}
	if got := poll(); got != unix.POLLIN {
		t.Errorf("of a socket with a byte to read: %#x", got)
	}
}

// A round trip allocates nothing.
func TestAllocations(t *testing.T) {
	near, far := pair(t, "tcp")
	p := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		near.Write(p)
		io.ReadFull(far, p)
		far.Write(p)
		io.ReadFull(near, p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
