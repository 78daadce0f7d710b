package bufconn

import (
	"crypto/tls"
	"net"
	"testing"
)

// under is a TLS connection for the purpose of what lies below it.
type under struct{ net.Conn }

func (u under) NetConn() net.Conn { return u.Conn }

var _ interface{ NetConn() net.Conn } = (*tls.Conn)(nil)

// Whether a connection is quiet is asked for every transaction.
func TestQuietAllocatesNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	for name, nc := range map[string]net.Conn{"socket": near, "above a socket": under{near}, "above that": under{under{near}}} {
		c := New(nc, nil)
		if n := testing.AllocsPerRun(100, func() {
			if !c.Quiet() {
				t.Fatal("not quiet")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	far.Close()
	c := New(near, nil)
	for c.Quiet() { // until the end of file has come
	}
}
