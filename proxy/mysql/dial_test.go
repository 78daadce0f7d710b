package mysql

import (
	"context"
	"net"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
)

// leavesAfterLogin serves one connection as an origin that is gone when it is asked for anything.
func leavesAfterLogin(nc net.Conn, password string) {
	defer nc.Close()
	a := mywire.Acceptor{Version: "8.0.36", Capabilities: originCaps | mywire.CapPluginAuth | mywire.CapConnectWithDB | mywire.CapSecureConnection, Collation: loginCharset, AllowPlaintext: true}
	d, err := a.Accept(nc, 1, func(string, string) (*mywire.Verifier, error) { return mywire.NewVerifier(password), nil })
	if err != nil {
		return
	}
	err = d.Welcome(&mywire.OK{Status: mywire.StatusAutocommit})
	for range 2 { // what a session begins with
		if err == nil {
			_, _, err = mywire.ReadPacket(nc, 4096)
		}
	}
}

// TestDialFailsBehindLogin: an origin connection whose session cannot begin leaves no
// read buffer behind.
func TestDialFailsBehindLogin(t *testing.T) {
	before := bufconn.BuffersInUse()
	d := NewDatabase("d", Config{Database: "d", User: "u", Password: "p", Dial: func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go leavesAfterLogin(far, "p")
		return near, nil
	}}, nil)
	if o, err := d.dialOrigin(t.Context(), classChanged); err == nil {
		o.Close()
		t.Fatal("no error")
	}
	if n := bufconn.BuffersInUse() - before; n != 0 {
		t.Errorf("%d read buffers are held", n)
	}
}
