package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// carrier is how a carrier's dial behaves: it connects, says Hello in its turn, and is welcomed.
type carrier struct {
	connect time.Duration // negative: never
	welcome time.Duration // negative: never
	err     error         // instead of the session
}

func (c carrier) dial(ctx context.Context, d *tunnel.Dialer, hellos *atomic.Int32) (*tunnel.Session, error) {
	if err := pause(ctx, c.connect); err != nil {
		return nil, err
	}
	if c.err != nil && c.welcome == 0 {
		return nil, c.err
	}
	if err := d.Commit(ctx); err != nil {
		return nil, err
	}
	hellos.Add(1)
	if err := pause(ctx, c.welcome); err != nil {
		return nil, err
	}
	if c.err != nil {
		return nil, c.err
	}
	return &tunnel.Session{}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	if d < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return sleep(ctx, d)
}

func TestTunnel01RaceOfCarriers(t *testing.T) {
	const ms = time.Millisecond
	refused := &tunnel.Refusal{Code: tunnelpb.Code_UNAUTHENTICATED}
	closed := errors.New("connection refused")
	tests := []struct {
		name            string
		quic, websocket carrier
		after           time.Duration
		hellos          int32
		err             error
	}{
		{"QUIC is there in time", carrier{100 * ms, 100 * ms, nil}, carrier{0, 0, nil}, 200 * ms, 1, nil},
		{"UDP is dropped", carrier{-1, 0, nil}, carrier{100 * ms, 100 * ms, nil}, 1200 * ms, 1, nil},
		{"UDP is refused", carrier{1 * ms, 0, closed}, carrier{100 * ms, 100 * ms, nil}, 201 * ms, 1, nil},
		{"UDP dies after the handshake", carrier{100 * ms, -1, nil}, carrier{100 * ms, 100 * ms, nil}, 2700 * ms, 2, nil},
		{"QUIC fails while WebSocket waits for its turn", carrier{100 * ms, 1500 * ms, closed}, carrier{100 * ms, 100 * ms, nil}, 1700 * ms, 2, nil},
		{"both connect at once", carrier{1100 * ms, 100 * ms, nil}, carrier{101 * ms, 100 * ms, nil}, 1200 * ms, 1, nil},
		{"the relay refuses", carrier{100 * ms, 100 * ms, refused}, carrier{0, 0, nil}, 200 * ms, 1, refused},
		{"neither", carrier{100 * ms, 0, closed}, carrier{100 * ms, 0, closed}, 200 * ms, 0, closed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hellos atomic.Int32
				r := &Racer{dial: func(ctx context.Context, d *tunnel.Dialer) (*tunnel.Session, error) {
					if d.Carrier == tunnel.CarrierQUIC {
						return tt.quic.dial(ctx, d, &hellos)
					}
					return tt.websocket.dial(ctx, d, &hellos)
				}}
				start := time.Now()
				session, err := r.Dial(t.Context())
				if took := time.Since(start); took != tt.after {
					t.Errorf("took %v, want %v", took, tt.after)
				}
				if !errors.Is(err, tt.err) || (session == nil) == (tt.err == nil) {
					t.Errorf("got session %t, error %v, want error %v", session != nil, err, tt.err)
				}
				if got := hellos.Load(); got != tt.hellos {
					t.Errorf("%d Hellos were said, want %d", got, tt.hellos)
				}
			})
		})
	}
}

func TestRaceReportsBothCarriers(t *testing.T) {
	r := &Racer{Dialer: tunnel.Dialer{Addr: "relay:7844"}, dial: func(_ context.Context, d *tunnel.Dialer) (*tunnel.Session, error) {
		return nil, errors.New("no " + d.Carrier.String() + " here")
	}}
	_, err := r.Dial(t.Context())
	for _, want := range []string{"relay:7844", "no quic here", "no websocket here"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

// TestRaceEndsWhereNobodyListens: a relay that is gone costs an attempt no handshake's timeout.
func TestRaceEndsWhereNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // QUIC's handshake has five
	defer cancel()
	r := Racer{Dialer: tunnel.Dialer{Addr: l.Addr().String(), TLS: &tls.Config{}, Hello: &tunnelpb.Hello{}}}
	if _, err := r.Dial(ctx); !errors.Is(err, syscall.ECONNREFUSED) || ctx.Err() != nil {
		t.Errorf("Dial: %v; the attempt's time is up: %v", err, ctx.Err())
	}
}

func TestRaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		r := &Racer{dial: func(ctx context.Context, _ *tunnel.Dialer) (*tunnel.Session, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		if _, err := r.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
	})
}

func TestOneCarrierOnly(t *testing.T) {
	for protocol, want := range map[Protocol]tunnel.Carrier{QUIC: tunnel.CarrierQUIC, WebSocket: tunnel.CarrierWebSocket} {
		var got []tunnel.Carrier
		r := &Racer{Protocol: protocol, dial: func(_ context.Context, d *tunnel.Dialer) (*tunnel.Session, error) {
			got = append(got, d.Carrier)
			return nil, errors.New("down")
		}}
		if _, err := r.Dial(t.Context()); err == nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s dialled %v with error %v, want only %v", protocol, got, err, want)
		}
	}
	if _, err := ParseProtocol("http2"); err == nil {
		t.Error("protocol http2 is taken")
	}
}
