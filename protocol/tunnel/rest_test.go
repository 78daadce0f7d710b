package tunnel

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestJoinOfStreamsRests joins two streams of a session, as a relay does, and leaves them alone for minutes between bytes: what rests
// goes on, and ends in order.
func TestJoinOfStreamsRests(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		synctest.Test(t, func(t *testing.T) {
			sim := simulate(t, c, path{delay: time.Millisecond}, &Server{})
			defer sim.stop()
			client, origin, ended := joined(t, sim.dialled, sim.served)
			for range 3 {
				for _, way := range [][2]*Stream{{client, origin}, {origin, client}} {
					if _, err := way[0].Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(way[1], make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Minute)
			}
			for _, way := range [][2]*Stream{{client, origin}, {origin, client}} {
				if err := way[0].CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if n, err := way[1].Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("read %d bytes, %v, want EOF", n, err)
				}
			}
			if err := <-ended; err != nil {
				t.Errorf("the join ended with %v", err)
			}
			_ = client.Close()
			_ = origin.Close()
		})
	})
}

// opened opens a stream.
func opened(t *testing.T, from, to *Session) (one, other *Stream) {
	t.Helper()
	accepted := make(chan *Stream, 1)
	go func() {
		in, err := to.Accept(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		st, err := in.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- st
	}()
	st, err := from.Open(t.Context(), &tunnelpb.Open{Hostname: "db"})
	if err != nil {
		t.Fatal(err)
	}
	return st, <-accepted
}

// joined joins two streams as a relay does, and returns their ends at the other side and what tells how the join has ended.
func joined(t *testing.T, outer, relay *Session) (client, origin *Stream, ended <-chan error) {
	t.Helper()
	client, near := opened(t, outer, relay)
	far, origin := opened(t, relay, outer)
	end := make(chan error, 1)
	stream.Join(context.Background(), near, far, func(_ stream.Stats, err error) { end <- err })
	return client, origin, end
}

// TestTunnel16ResetOfAStuckJoin joins two streams of a session, of which one is read by nobody, and resets the other, whose bytes wait.
func TestTunnel16ResetOfAStuckJoin(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		synctest.Test(t, func(t *testing.T) {
			sim := simulate(t, c, path{delay: time.Millisecond}, &Server{})
			defer sim.stop()
			client, origin, ended := joined(t, sim.dialled, sim.served)
			wrote := make(chan error, 1)
			go func() {
				_, err := client.Write(make([]byte, 16<<20)) // more than the windows
				wrote <- err
			}()
			time.Sleep(time.Minute)
			_ = client.Reset(stream.CodeCancelled)
			<-wrote
			select {
			case err := <-ended:
				var reset *stream.ResetError
				if !errors.As(err, &reset) || reset.Code != stream.CodeCancelled {
					t.Errorf("the join ended with %v, want the client's reset", err)
				}
			case <-time.After(time.Second):
				t.Error("the join goes on")
			}
			if _, err := io.Copy(io.Discard, origin); err == nil {
				t.Error("the origin reads a clean end")
			}
			_ = origin.Close()
		})
	})
}
