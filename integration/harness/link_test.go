package harness

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestLinkDelaysAndStops measures a round trip over a link, and lets nothing pass.
func TestLinkDelaysAndStops(t *testing.T) {
	s := newStage(t)
	near, far := newNamespace(t, s), newNamespace(t, s)
	const delay = 20 * time.Millisecond
	link, err := s.NewLink(near, netip.MustParsePrefix("10.77.1.1/30"), far, netip.MustParsePrefix("10.77.1.2/30"), Conditions{Delay: delay})
	if err != nil {
		t.Fatal(err)
	}
	var server net.Listener
	if err := far.thread.do(func() (err error) {
		server, err = net.Listen("tcp", "10.77.1.2:0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		c, err := server.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := near.Dial(t.Context(), "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("a round trip took %v over a link of %v", took, delay)
	}
	link.Set(Conditions{Down: true})
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(5 * delay))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a byte passed a link that is down")
	}
}

func newNamespace(t *testing.T, s *Stage) *Namespace {
	t.Helper()
	ns, err := s.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	return ns
}
