package tunnel

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// wedged is a session with a peer that welcomes it, keeps the connection alive, and never answers a stream.
func wedged(t *testing.T) (s *Session, stop func()) {
	serverTLS, clientTLS := testTLS(t)
	n := &simnet.Simnet{Router: &simnet.PerfectRouter{}}
	link := simnet.NodeBiDiLinkSettings{Latency: 10 * time.Millisecond}
	near := n.NewEndpoint(&net.UDPAddr{IP: net.IPv4(1, 0, 0, 1), Port: 9001}, link)
	far := n.NewEndpoint(&net.UDPAddr{IP: net.IPv4(1, 0, 0, 2), Port: 9002}, link)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	serverTLS = serverTLS.Clone()
	serverTLS.NextProtos = []string{Protocol}
	server, dialler := &quic.Transport{Conn: far}, &quic.Transport{Conn: near}
	ln, err := server.Listen(serverTLS, quicConfig(Limits{}.withDefaults()))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	serving.Go(func() {
		conn, err := ln.Accept(ctx)
		if err != nil {
			return
		}
		control, err := conn.AcceptStream(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := hearHello(control); err != nil {
			t.Error(err)
		}
		if err := answerHello(control, &tunnelpb.Welcome{}, nil); err != nil {
			t.Error(err)
		}
		for err == nil {
			_, err = conn.AcceptStream(ctx)
		}
	})
	conf := clientTLS.Clone()
	conf.NextProtos, conf.ServerName = []string{Protocol}, "relay.test"
	conn, err := dialler.Dial(ctx, far.LocalAddr(), conf, quicConfig(Limits{}.withDefaults()))
	if err != nil {
		t.Fatal(err)
	}
	if s, err = (&Dialer{Hello: &tunnelpb.Hello{}}).overQUIC(ctx, &quicLink{conn: conn}); err != nil {
		t.Fatal(err)
	}
	return s, func() {
		cancel()
		_ = ln.Close()
		serving.Wait()
		_ = dialler.Close()
		_ = server.Close()
		_ = near.Close()
		_ = far.Close()
		_ = n.Close()
	}
}
