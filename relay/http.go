package relay

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel"
)

const (
	// requestTimeout bounds a TLS handshake and, once more, a request's headers (docs/behaviours.md, Tunnel27).
	requestTimeout = 5 * time.Second
	// answerTimeout bounds the way from the headers to the answer: an open, and time to write.
	answerTimeout = openTimeout + 5*time.Second
	// maxHeaders bounds a request's headers; an upgrade with credentials takes under 1 KiB. net/http adds 4 KiB.
	maxHeaders = 8 << 10
)

// serveTCP serves WebSocket sessions and generic WebSocket clients until ctx ends, and returns when all have ended.
func (r *Relay) serveTCP(ctx context.Context, server *tunnel.Server, ln net.Listener) error {
	var requests tasks // a handler may begin while Close and Wait are under way
	conf := r.cfg.TLS.Clone()
	conf.NextProtos = []string{"http/1.1"}                        // an upgrade is HTTP/1.1
	conf.ClientAuth = max(conf.ClientAuth, tls.RequestClientCert) // relays have one
	h := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			requests.begin()
			defer requests.done()
			r.serveHTTP(ctx, server, w, req)
		}),
		TLSConfig:         conf,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         newStrangers(r.cfg.MaxHandshakes).observe,
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(r.log.Handler(), slog.LevelDebug), // peers' handshakes that fail: not an operator's matter
	}
	h.SetKeepAlivesEnabled(false)
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	err := h.ServeTLS(tunnel.Gathering(ln), "", "")
	h.Close()
	requests.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// strangers gives places to connections that have not become a WebSocket, and closes those that get none.
type strangers struct {
	places *tunnel.Places

	mu  sync.Mutex
	has map[net.Conn]netip.Addr // whose place it is
}

func newStrangers(limit int) *strangers {
	return &strangers{places: tunnel.NewPlaces(limit), has: make(map[net.Conn]netip.Addr)}
}

func (s *strangers) observe(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		remote, _ := netip.ParseAddrPort(c.RemoteAddr().String()) // the zero one on a listener without addresses
		if !s.places.Take(remote.Addr()) {
			c.Close()
			return
		}
		s.mu.Lock()
		s.has[c] = remote.Addr()
		s.mu.Unlock()
	case http.StateHijacked, http.StateClosed:
		s.mu.Lock()
		peer, ok := s.has[c]
		delete(s.has, c)
		s.mu.Unlock()
		if ok {
			s.places.Give(peer)
		}
	}
}

// serveHTTP tells sessions of peers from generic WebSocket clients; there is nothing else here. ctx ends when the relay does.
func (r *Relay) serveHTTP(ctx context.Context, server *tunnel.Server, w http.ResponseWriter, req *http.Request) {
	switch {
	case !hasToken(req.Header, "Upgrade", "websocket") || !hasToken(req.Header, "Connection", "upgrade"):
		http.NotFound(w, req)
	case hasToken(req.Header, "Sec-Websocket-Protocol", tunnel.Protocol):
		server.ServeWebSocket(w, req)
	default:
		r.serveGeneric(ctx, w, req)
	}
}

// hasToken reports whether a header's comma-separated lists hold token, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h[name] {
		for field := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(field), token) {
				return true
			}
		}
	}
	return false
}
