package stream_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/stream/streamtest"
)

// TestConformanceTCP covers TestTunnel15, 16, 17, 18 and 37 on TCP.
func TestConformanceTCP(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	streamtest.Run(t, func(t *testing.T) (a, b stream.Conn) {
		x, y := connect(t, ln)
		return stream.TCP(x.(*net.TCPConn)), stream.TCP(y.(*net.TCPConn))
	})
}

func listen(t testing.TB, network, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// connect returns both ends of a new connection. Concurrent calls may get each other's acceptor, so that they hold a lock.
func connect(t testing.TB, ln net.Listener) (dialled, accepted net.Conn) {
	t.Helper()
	dialling <- struct{}{}
	defer func() { <-dialling }()
	dialled, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}

var dialling = make(chan struct{}, 1)

func unixPair(t testing.TB) (a, b stream.Conn) {
	ln := listen(t, "unix", filepath.Join(t.TempDir(), "s"))
	x, y := connect(t, ln)
	return stream.Unix(x.(*net.UnixConn)), stream.Unix(y.(*net.UnixConn))
}
