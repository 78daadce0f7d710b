//go:build linux

package socket

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slowReader connects a patient connection to one that has room for little, as a database beside it has.
func slowReader(t *testing.T, timeout time.Duration) (*Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			if err := SetInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout/time.Millisecond)); err != nil {
				t.Error(err)
			}
		})
	}}
	near, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := NewPatient(near, timeout).(*Conn)
	t.Cleanup(func() { c.Close(); far.Close() })
	return c, far
}

func userTimeout(t *testing.T, c *Conn) (value int) {
	t.Helper()
	err := c.raw.Control(func(fd uintptr) {
		var err error
		if value, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// A peer that reads nothing for longer than the timeout is not dead, whether what is sent to it fits the system's buffers or not. When it
// has read everything the timeout counts again.
func TestPatientWithWhoReadsLate(t *testing.T) {
	const timeout = 5 * time.Second
	for name, size := range map[string]int{"fits the buffers": 3 << 20, "does not fit": 16 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := slowReader(t, timeout)
			sent := bytes.Repeat([]byte{1, 2, 3, 5, 7}, size/5)
			wrote := make(chan error, 1)
			go func() {
				_, err := near.Write(sent)
				wrote <- err
			}()
			time.Sleep(2 * timeout) // this is what the peer does
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("the late reader: %v", err)
			}
			if err := <-wrote; err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); userTimeout(t, near) != int(timeout/time.Millisecond); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("TCP_USER_TIMEOUT is %d ms", userTimeout(t, near))
				}
			}
		})
	}
}

// Who has sent everything is looked at no more.
func TestPatientRests(t *testing.T) {
	near, _ := slowReader(t, 100*time.Millisecond)
	if _, err := near.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	p := near.patience
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		armed := p.armed
		p.mu.Unlock()
		if !armed && !p.wrote.Load() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a timer runs")
		}
	}
}
