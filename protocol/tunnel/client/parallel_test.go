package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// hold opens n streams one after the other, and waits after each until no session is being made.
func hold(t *testing.T, c *Client, n int) []stream.Conn {
	t.Helper()
	target := Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s"}
	streams := make([]stream.Conn, n)
	for i := range streams {
		s, err := c.Dial(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		streams[i] = s
		until(t, "no session is being made", func() bool { return !theLink(c).isGrowing() })
	}
	return streams
}

// until waits for something that happens by itself.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func theLink(c *Client) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links {
		return l
	}
	return nil
}

func (l *link) isGrowing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.growing
}

// sessions returns those that take streams.
func (l *link) sessions() []*tunnel.Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*tunnel.Session(nil), l.current...)
}

func endAll(streams []stream.Conn) {
	for _, s := range streams {
		s.Close()
	}
}

func TestTunnel25ClientMakesSessionsBesideBusyOnes(t *testing.T) {
	tests := []struct {
		protocol Protocol
		streams  int
		sessions int32
	}{
		{WebSocket, busyStreams, 1},
		{WebSocket, busyStreams + 1, 2},
		{WebSocket, 200, maxParallel},
		{QUIC, 200, 1},
	}
	cert := tunneltest.NewCertificate(t)
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d streams over %s", tt.streams, tt.protocol), func(t *testing.T) {
			relay := &fakeRelay{secret: "s"}
			addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
			c := newClient(t, cert, addr)
			c.Protocol = tt.protocol
			streams := hold(t, c, tt.streams)
			defer endAll(streams)
			if n := relay.hellos.Load(); n != tt.sessions {
				t.Errorf("%d sessions were made, want %d", n, tt.sessions)
			}
			total := 0
			for i, s := range theLink(c).sessions() {
				total += s.Streams()
				if n := s.Streams(); tt.streams == 200 && n < 40 { // the mean is 50 of four
					t.Errorf("session %d has %d of 200 streams", i, n)
				}
			}
			if total != tt.streams {
				t.Errorf("the sessions have %d streams, want %d", total, tt.streams)
			}
			for i, s := range streams {
				echo(t, s, fmt.Sprint("stream ", i))
			}
		})
	}
}

// TestClientLeavesARelayWithAllItsSessions: the relay asks on one of them, or refuses a stream there.
func TestClientLeavesARelayWithAllItsSessions(t *testing.T) {
	for _, how := range []string{"it says so", "it refuses"} {
		t.Run(how, func(t *testing.T) {
			cert := tunneltest.NewCertificate(t)
			first, second := &fakeRelay{secret: "s"}, &fakeRelay{secret: "s"}
			addr1, _ := tunneltest.Start(t, first.server(), cert, tunneltest.Passes)
			addr2, _ := tunneltest.Start(t, second.server(), cert, tunneltest.Passes)
			c := newClient(t, cert, addr1, addr2)
			c.Protocol = WebSocket
			old := hold(t, c, 100)
			defer endAll(old)
			before := theLink(c).sessions()
			first.refuse.Store(&tunnel.Refusal{Code: tunnelpb.Code_DRAINING})
			if how == "it says so" {
				(<-first.sessions).SendGoAway(t.Context(), &tunnelpb.GoAway{})
				until(t, "the client has heard", func() bool { return spent(before[0]) || spent(before[1]) || spent(before[2]) || spent(before[3]) })
			}
			fresh := hold(t, c, 1)
			defer endAll(fresh)
			if n := second.hellos.Load(); len(before) != maxParallel || first.hellos.Load() != maxParallel || n != 1 {
				t.Errorf("%d sessions were made with the other relay, want 1", n)
			}
			now := theLink(c).sessions()
			if len(now) != 1 {
				t.Errorf("%d sessions take streams, want 1", len(now))
			}
			for i, s := range old {
				echo(t, s, fmt.Sprint("old stream ", i))
			}
			endAll(old)
			c.sweep(time.Now())
			for i, s := range before {
				if s.Err() == nil {
					t.Errorf("session %d with the relay that was left is still there", i)
				}
			}
		})
	}
}

// TestClientDoesNotGoBackToARelayItHasLeft: a session that was being made in the background when the link moved is not used.
func TestClientDoesNotGoBackToARelayItHasLeft(t *testing.T) {
	for _, what := range []string{"grow", "improve"} {
		t.Run(what, func(t *testing.T) {
			cert := tunneltest.NewCertificate(t)
			first, second := &fakeRelay{secret: "s"}, &fakeRelay{secret: "s"}
			addr1, _ := tunneltest.Start(t, first.server(), cert, tunneltest.Passes)
			addr2, _ := tunneltest.Start(t, second.server(), cert, tunneltest.Passes)
			c := newClient(t, cert, addr1, addr2)
			c.Protocol = WebSocket
			var late *tunnel.Session
			var dials atomic.Int32
			begun, moved := make(chan struct{}), make(chan struct{})
			c.race = func(ctx context.Context, r *Racer) (*tunnel.Session, error) {
				s, err := r.Dial(ctx)
				if dials.Add(1) == 2 {
					late = s
					close(begun)
					<-moved
				}
				return s, err
			}
			old := hold(t, c, 1)
			defer endAll(old)
			l := theLink(c)
			background := map[string]func(string){"grow": l.grow, "improve": l.improve}[what]
			var work sync.WaitGroup
			work.Go(func() { background(addr1) })
			<-begun
			first.refuse.Store(&tunnel.Refusal{Code: tunnelpb.Code_DRAINING})
			fresh := hold(t, c, 1)
			defer endAll(fresh)
			close(moved)
			work.Wait()
			if now := l.sessions(); len(now) != 1 || now[0] != fresh[0].(*tunnel.Stream).Session() {
				t.Errorf("%d sessions take streams, want the one with the relay that the link moved to", len(now))
			}
			if late == nil || late.Err() == nil {
				t.Error("the session with the relay that was left is not closed")
			}
		})
	}
}

// TestClientLosesOneOfSeveralSessions: the others go on, and opens meet no failure.
func TestClientLosesOneOfSeveralSessions(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{secret: "s"}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c := newClient(t, cert, addr)
	c.Protocol = WebSocket
	streams := hold(t, c, 100)
	defer endAll(streams)
	lost := theLink(c).sessions()[0]
	(<-relay.sessions).Close(stream.CodeInternal, "killed by the test")
	<-lost.Done()
	alive := 0
	for _, s := range streams {
		if s.(*tunnel.Stream).Session() != lost {
			echo(t, s, "still here")
			alive++
		}
	}
	if alive < 40 {
		t.Errorf("%d of 100 streams are left without one of four sessions", alive)
	}
	more := hold(t, c, 2) // the first has another made
	defer endAll(more)
	if n := relay.hellos.Load(); n != maxParallel+1 {
		t.Errorf("%d sessions were made in all, want %d", n, maxParallel+1)
	}
}

// TestClientGivesSessionsBack: one without streams beside others is closed, not in the sweep that finds it but in the next, and no
// stream is lost by that.
func TestClientGivesSessionsBack(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{secret: "s"}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c := newClient(t, cert, addr)
	c.Protocol = WebSocket
	streams := hold(t, c, 100)
	endAll(streams[1:])
	kept := streams[0].(*tunnel.Stream).Session()
	sessions := theLink(c).sessions()
	until(t, "the streams have ended", func() bool {
		n := 0
		for _, s := range sessions {
			n += s.Streams()
		}
		return n == 1
	})
	for sweep := range 2 {
		c.sweep(time.Now())
		ended := 0
		for _, s := range sessions {
			if s.Err() != nil {
				ended++
			}
		}
		if want := sweep * (maxParallel - 1); ended != want {
			t.Errorf("after sweep %d: %d sessions have ended, want %d", sweep+1, ended, want)
		}
	}
	if now := theLink(c).sessions(); len(now) != 1 || now[0] != kept {
		t.Errorf("%d sessions are left, or not the one with a stream", len(now))
	}
	echo(t, streams[0], "on")
	streams[0].Close()
}
