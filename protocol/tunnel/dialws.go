package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/sluicedb/sluice/protocol/stream/socket"

	"github.com/coder/websocket"
	"golang.org/x/net/http/httpproxy"
)

// WebSocketPath is where a Dialer asks for a WebSocket session, so that an HTTP proxy before the relay can route by it. The relay
// goes by the sub-protocol.
const WebSocketPath = "/sluice/1/session"

// dialWS makes the WebSocket of a session.
func dialWS(ctx context.Context, addr string, prefer int, conf *tls.Config) (*wsConn, error) {
	proxy := httpproxy.FromEnvironment().ProxyFunc() // read anew each time: nothing is kept in the package
	tr := &http.Transport{
		Proxy:               func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		TLSClientConfig:     conf,
		TLSHandshakeTimeout: handshakeTimeout,
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			dial := func() (net.Conn, error) { return dialTCP(ctx, addr, prefer) }
			if to != addr { // an HTTP proxy
				dial = func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, to) }
			}
			c, err := dial()
			if err != nil {
				return nil, err
			}
			return &gatherer{Conn: socket.New(c)}, nil
		},
		DisableKeepAlives:  true,
		DisableCompression: true,
		// An empty map keeps HTTP/2 out, over which a WebSocket cannot be upgraded.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	var conn net.Conn
	trace := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		conn = i.Conn
	}})
	u := url.URL{Scheme: "https", Host: addr, Path: WebSocketPath}
	c, _, err := websocket.Dial(trace, u.String(), &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: tr},
		Subprotocols:    []string{Protocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	if got := c.Subprotocol(); got != Protocol {
		_ = c.CloseNow()
		return nil, fmt.Errorf("the server speaks sub-protocol %q, not %q", got, Protocol)
	}
	ws := newWSConn(c, conn.LocalAddr(), conn.RemoteAddr())
	ws.below = gathererOf(conn)
	return ws, nil
}

// dialTCP connects to the first of a name's addresses that accepts. One that is silent has 2 s, the time of a lost SYN and its
// repetition (RFC 6298 section 2).
func dialTCP(ctx context.Context, addr string, prefer int) (net.Conn, error) {
	const silence = 2 * time.Second
	targets, err := Resolve(ctx, addr, prefer)
	if err != nil {
		return nil, err
	}
	var errs []error
	for i, target := range targets {
		d := net.Dialer{}
		if i < len(targets)-1 {
			d.Timeout = silence
		}
		c, err := d.DialContext(ctx, "tcp", target.String())
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
