package tunnel

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestTunnel06StatelessReset kills a relay without a word and starts another in its place, with the same key: its peers learn of
// it from the next packet they send, long before the idle timeout.
func TestTunnel06StatelessReset(t *testing.T) {
	key := [32]byte{1, 2, 3}
	r := startRelay(t, nil)
	serverTLS, _ := testTLS(t)
	serve := func(pc net.PacketConn, sessions chan<- *Session) (kill func()) {
		s := &Server{
			TLS:               serverTLS,
			StatelessResetKey: &key,
			Authenticate: func(context.Context, Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
				return &tunnelpb.Welcome{}, nil
			},
			Handle: func(ctx context.Context, s *Session) {
				sessions <- s
				<-ctx.Done()
			},
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.ServeQUIC(ctx, pc)
		}()
		return func() { cancel(); <-done }
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mute := &mutable{PacketConn: pc, muted: make(chan struct{})}
	sessions := make(chan *Session, 2)
	kill := serve(mute, sessions)

	d := r.dialer(CarrierQUIC)
	d.Addr = pc.LocalAddr().String()
	d.TLS.InsecureSkipVerify = true
	dialled, err := d.Dial(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close(0, "")
	<-sessions
	mute.silence() // it must not say that it ends
	kill()

	pc, err = net.ListenPacket("udp", d.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer serve(pc, sessions)()
	// The peer says something: here a probe, elsewhere the keepalive.
	if _, err := dialled.Probe(testContext(t)); err == nil {
		t.Error("a session survived its relay")
	}
	<-dialled.Done()
	var reset *quic.StatelessResetError
	if err := dialled.Err(); !errors.As(err, &reset) {
		t.Errorf("error = %v, want a stateless reset", err)
	}
}

// mutable is a PacketConn that can be made to send nothing.
type mutable struct {
	net.PacketConn
	muted chan struct{}
}

func (m *mutable) silence() { close(m.muted) }

func (m *mutable) WriteTo(p []byte, to net.Addr) (int, error) {
	select {
	case <-m.muted:
		return len(p), nil
	default:
		return m.PacketConn.WriteTo(p, to)
	}
}
