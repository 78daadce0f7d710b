package connector

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// TestWhatAnOriginSaysToEarlyData: it reaches the opener in order, whether it travels with the answer or comes late; an end is an end and
// an abort an abort, also when it comes before the answer.
func TestWhatAnOriginSaysToEarlyData(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	relay := &fakeRelay{ingress: rule("db.example", service)}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	start(t, testConfig(cert, &logBuffer{}, addr))
	session := relay.session(t)
	tests := []struct {
		name  string
		say   string
		end   string
		late  bool // after the answer
		clean bool
	}{
		{"at once, and an end", "hello", "close", false, true},
		{"more than travels with the answer", string(make([]byte, 3*firstBytes)), "close", false, true},
		{"late, and an end", "hello", "close", true, true},
		{"an end only", "", "close", false, true},
		{"an abort only", "", "abort", false, false},
		{"an abort after something", "hello", "abort", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answered := make(chan struct{})
			done := make(chan struct{})
			defer func() { <-done }()
			go func() {
				defer close(done)
				conn := <-conns
				defer conn.Close()
				if _, err := io.ReadFull(conn, make([]byte, len("early"))); err != nil {
					t.Errorf("the origin read: %v", err)
				}
				if tt.late {
					<-answered
				}
				io.WriteString(conn, tt.say)
				if tt.end == "abort" {
					conn.SetLinger(0)
				}
			}()
			st, err := session.Open(t.Context(), &tunnelpb.Open{Hostname: "db.example", EarlyData: []byte("early")})
			close(answered)
			if refusal := new(tunnel.Refusal); errors.As(err, &refusal) && !tt.clean && !tt.late && refusal.Code == tunnelpb.Code_ORIGIN_REFUSED {
				return // it was seen before the answer
			}
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			st.SetReadDeadline(time.Now().Add(patience))
			got, err := io.ReadAll(st)
			var reset *stream.ResetError
			if tt.clean && (err != nil || string(got) != tt.say) || !tt.clean && !errors.As(err, &reset) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
}
