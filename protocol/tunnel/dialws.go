package tunnel

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"

	"github.com/coder/websocket"
	"golang.org/x/net/http/httpproxy"
)

// WebSocketPath is where a Dialer asks for a WebSocket session, so that an HTTP proxy before the relay can route by it. The relay
// goes by the sub-protocol.
const WebSocketPath = "/sluice/1/session"

// dialWS makes the WebSocket of a session.
func dialWS(ctx context.Context, addr string, conf *tls.Config) (*wsConn, error) {
	proxy := httpproxy.FromEnvironment().ProxyFunc() // read anew each time: nothing is kept in the package
	tr := &http.Transport{
		Proxy:               func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		TLSClientConfig:     conf,
		TLSHandshakeTimeout: handshakeTimeout,
		DisableKeepAlives:   true,
		DisableCompression:  true,
		// An empty map keeps HTTP/2 out, over which a WebSocket cannot be upgraded.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	var local, remote net.Addr
	trace := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		local, remote = i.Conn.LocalAddr(), i.Conn.RemoteAddr()
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
	return newWSConn(c, local, remote), nil
}
