package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// answered is what a client can tell of a refusal.
type answered struct {
	status         int
	body, location string
}

// httpClient reaches the rig whatever hostname a URL has, as DNS would lead there.
func (g *rig) httpClient() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", g.addr)
			},
			TLSClientConfig: &tls.Config{RootCAs: g.cert.Pool, ServerName: "localhost"},
		},
	}
}

// upgrade asks for a WebSocket to hostname, which must be refused.
func (g *rig) upgrade(t *testing.T, hostname string, h http.Header) answered {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, "wss://"+hostname, &websocket.DialOptions{HTTPClient: g.httpClient(), HTTPHeader: h})
	if err == nil {
		ws.CloseNow()
		t.Fatal("the upgrade is granted")
	}
	if resp == nil {
		t.Fatalf("no answer: %v", err)
	}
	body, _ := io.ReadAll(resp.Body)
	return answered{status: resp.StatusCode, body: string(body), location: resp.Header.Get("Location")}
}

// generic dials hostname as a client that knows nothing of Sluice.
func (g *rig) websocket(t *testing.T) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "wss://"+host+"/", &websocket.DialOptions{
		HTTPClient: g.httpClient(),
		HTTPHeader: http.Header{headerClientID: {g.token.ClientID}, headerClientSecret: {g.secret}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	t.Cleanup(func() { ws.CloseNow() })
	return ws
}

func TestGenericWebSocketIsByteExact(t *testing.T) {
	g := newRig(t, nil)
	g.connector("c1", 0, echo)
	ws := g.websocket(t)
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	c := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	var sizes []int
	for k := 0; k <= 20; k += 2 {
		sizes = append(sizes, max(1, 1<<k-1), 1<<k, 1<<k+1)
	}
	sizes = append(sizes, 16384, 16385, 32768, 32769)
	for _, n := range sizes {
		sent := make([]byte, n)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		go c.Write(sent) // one message
		got := make([]byte, n)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes in one message came back wrong: %v", n, err)
		}
	}
	sent := []byte(strings.Repeat("split anyhow ", 300))
	go func() {
		for i := range sent {
			c.Write(sent[i : i+1])
		}
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("1-byte messages came back wrong: %v", err)
	}
}

// held hands the connector's end of streams to the test.
func held(streams chan<- *tunnel.Stream) func(*tunnel.Incoming) {
	return func(in *tunnel.Incoming) {
		if s, err := in.Accept(); err == nil {
			streams <- s
		}
	}
}

func TestGenericWebSocketEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(*testing.T, *websocket.Conn, *tunnel.Stream)
	}{
		{"client closes", func(t *testing.T, ws *websocket.Conn, st *tunnel.Stream) {
			go ws.Close(websocket.StatusNormalClosure, "")
			if _, err := st.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the origin saw %v, want EOF", err)
			}
			st.Close()
		}},
		{"client vanishes", func(t *testing.T, ws *websocket.Conn, st *tunnel.Stream) {
			ws.Close(websocket.StatusInternalError, "broken")
			wantReset(t, st, stream.CodeAborted)
		}},
		{"origin closes", func(t *testing.T, ws *websocket.Conn, st *tunnel.Stream) {
			io.WriteString(st, "last words")
			st.CloseWrite()
			_, got, err := ws.Read(t.Context())
			if err != nil || string(got) != "last words" {
				t.Errorf("the client read %q, %v", got, err)
			}
			if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Errorf("the client saw %v, want a normal closure", err)
			}
			st.SetReadDeadline(time.Now().Add(testWait))
			if _, err := st.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the origin saw %v, want EOF", err)
			}
			st.Close()
		}},
		{"origin resets", func(t *testing.T, ws *websocket.Conn, st *tunnel.Stream) {
			st.Reset(stream.CodeAborted)
			if _, _, err := ws.Read(t.Context()); err == nil || websocket.CloseStatus(err) == websocket.StatusNormalClosure {
				t.Errorf("the client saw %v, want a failure", err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			streams := make(chan *tunnel.Stream, 1)
			g.connector("c1", 0, held(streams))
			ws := g.websocket(t)
			st := receive(t, "stream", streams)
			st.SetReadDeadline(time.Now().Add(testWait))
			tt.end(t, ws, st)
			eventually(t, "end of the connection", func() bool { return g.generic.Load() == 0 && g.live.len() == 0 })
		})
	}
}

// A client that goes on sending when the origin has ended must not look as if it had ended cleanly before: the origin gets all of
// it and EOF, or a reset.
func TestGenericWebSocketThatGoesOnLosesNothingUnseen(t *testing.T) {
	g := newRig(t, nil)
	streams := make(chan *tunnel.Stream, 1)
	g.connector("c1", 0, held(streams))
	const messages = 50
	for range 20 {
		ws := g.websocket(t)
		st := receive(t, "stream", streams)
		st.SetReadDeadline(time.Now().Add(testWait))
		go st.CloseWrite()
		sent := make(chan int, 1)
		go func() {
			n := 0
			for range messages {
				if ws.Write(t.Context(), websocket.MessageBinary, []byte("x")) != nil {
					break
				}
				n++
			}
			sent <- n
			ws.Read(t.Context()) // the Close frame, which this answers
		}()
		got, err := io.Copy(io.Discard, st)
		if n := <-sent; err == nil && int(got) != n {
			t.Errorf("the origin saw a clean end after %d bytes of %d", got, n)
		}
		st.Reset(stream.CodeAborted)
	}
}

// A client of cloudflared's kind ends without a Close frame, as a TCP client does.
func TestGenericWebSocketEndsWithoutCloseFrame(t *testing.T) {
	tests := []struct {
		name string
		end  func(raw *net.TCPConn, c *tls.Conn)
		eof  bool
	}{
		{"between messages", func(_ *net.TCPConn, c *tls.Conn) { c.Close() }, true},
		{"in a message", func(_ *net.TCPConn, c *tls.Conn) {
			c.Write([]byte{0x82, 0x80 | 5, 0, 0, 0, 0, 'h', 'e'}) // RFC 6455 section 5.2: 2 of 5 bytes, masked with zeros
			c.Close()
		}, false},
		{"by a RST", func(raw *net.TCPConn, _ *tls.Conn) {
			raw.SetLinger(0)
			raw.Close()
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			streams := make(chan *tunnel.Stream, 1)
			g.connector("c1", 0, held(streams))
			raw, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			c := tls.Client(raw, &tls.Config{RootCAs: g.cert.Pool, ServerName: "localhost"})
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
				"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"+headerClientID+": "+g.token.ClientID+"\r\n"+headerClientSecret+": "+g.secret+"\r\n\r\n")
			st := receive(t, "stream", streams)
			answer := make([]byte, 12)
			if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "HTTP/1.1 101" {
				t.Fatalf("answered %q, %v", answer, err)
			}
			st.SetReadDeadline(time.Now().Add(testWait))
			tt.end(raw.(*net.TCPConn), c)
			if !tt.eof {
				wantReset(t, st, stream.CodeAborted)
				return
			}
			if _, err := st.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the origin saw %v, want EOF", err)
			}
			st.Close()
		})
	}
}

func TestGenericRefusals(t *testing.T) {
	g := newRig(t, nil)
	good := http.Header{headerClientID: {g.token.ClientID}, headerClientSecret: {g.secret}}
	if got := g.upgrade(t, host, good); got.status != 503 {
		t.Errorf("without a connector the answer is %d, want 503", got.status)
	}
	g.connector("c1", 0, refusing(tunnelpb.Code_ORIGIN_REFUSED))
	if got := g.upgrade(t, host, good); got.status != 502 {
		t.Errorf("with an origin that refuses the answer is %d, want 502", got.status)
	}
	for _, path := range []string{"/", "/healthz", "/metrics"} {
		resp, err := g.httpClient().Get("https://" + host + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 404 {
			t.Errorf("GET %s answers %d, want 404", path, resp.StatusCode)
		}
	}
}

func TestTunnel31GenericWebSocketIsCut(t *testing.T) {
	g := newRig(t, nil)
	g.connector("c1", 0, echo)
	ws := g.websocket(t)
	g.state.change(func() { delete(g.state.tokens, g.token.ClientID) })
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	_, _, err := ws.Read(ctx)
	if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("the client saw %v, want a policy violation", err)
	}
}

func TestTunnel27StrangersAreDropped(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxHandshakes = 4 })
	tests := []struct {
		name string
		do   func(net.Conn) net.Conn
	}{
		{"silent before TLS", func(c net.Conn) net.Conn { return c }},
		{"silent after TLS", func(c net.Conn) net.Conn {
			return tls.Client(c, &tls.Config{RootCAs: g.cert.Pool, ServerName: "localhost"})
		}},
		{"headers drop by drop", func(c net.Conn) net.Conn {
			s := tls.Client(c, &tls.Config{RootCAs: g.cert.Pool, ServerName: "localhost"})
			io.WriteString(s, "GET / HTTP/1.1\r\nX-A: ")
			return s
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			raw, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			c := tt.do(raw)
			c.SetDeadline(time.Now().Add(testWait))
			_, err = io.Copy(io.Discard, c)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("not dropped: %v", err)
			}
		})
	}
}

func TestTunnel27HeadersAreBounded(t *testing.T) {
	g := newRig(t, nil)
	raw, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(testWait))
	c := tls.Client(raw, &tls.Config{RootCAs: g.cert.Pool, ServerName: "localhost"})
	go io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("a", 1<<20)+"\r\n\r\n")
	got := make([]byte, 12)
	io.ReadFull(c, got)
	if string(got) != "HTTP/1.1 431" {
		t.Errorf("answered %q, want 431", got)
	}
}

func TestTunnel27FloodOfStrangersIsBounded(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxHandshakes = 4 })
	closed := make(chan struct{}, 20)
	for range 20 {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			io.Copy(io.Discard, c)
			closed <- struct{}{}
		}()
	}
	for range 16 {
		select {
		case <-closed:
		case <-time.After(testWait):
			t.Fatal("strangers beyond the limit are kept")
		}
	}
	// Who floods leaves places to others.
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := tls.DialWithDialer(&other, "tcp", g.addr, &tls.Config{RootCAs: g.cert.Pool, ServerName: "localhost"})
	if err != nil {
		t.Fatalf("another address is locked out: %v", err)
	}
	c.Close()
}

func FuzzCredentials(f *testing.F) {
	f.Add("0123456789abcdef0123456789abcdef.access", "slst_x", false)
	f.Add("a, b", "c", false)
	f.Add("", "c", true)
	f.Fuzz(func(t *testing.T, id, secret string, twice bool) {
		h := http.Header{headerClientID: {id}, headerClientSecret: {secret}}
		if twice {
			h.Add(headerClientSecret, secret)
		}
		gotID, gotSecret, err := credentials(h)
		if err == nil && (twice || gotID != id || gotSecret != secret || id == "" || secret == "" || strings.ContainsAny(id+secret, ", \r\n\x00")) {
			t.Errorf("%q %q are taken as %q %q", id, secret, gotID, gotSecret)
		}
	})
}

func FuzzHostnameOf(f *testing.F) {
	for _, s := range []string{"db.example", "DB.Example.:443", "[::1]:80", "a:b", "", ".", "x..y", strings.Repeat("a", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := hostnameOf(s)
		if ok && (got == "" || len(got) > maxHostname || strings.ContainsAny(got, ":/@ *\x00ABCXYZ")) {
			t.Errorf("%q is taken as %q", s, got)
		}
	})
}
