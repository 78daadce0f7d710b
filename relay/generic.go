package relay

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// The headers of a service token, as Cloudflare Access names them, in Go's canonical form.
const (
	headerClientID     = "Cf-Access-Client-Id"
	headerClientSecret = "Cf-Access-Client-Secret"
)

// pingEvery keeps an idle generic client's connection known to what is between; proxies forget one after a minute.
const pingEvery = 25 * time.Second

var errCredentials = errors.New("the service token's headers are duplicated, incomplete or malformed")

// credentials returns the service token in a request's headers; empty strings when there is none. Each header may be given once,
// both or neither: what could be read in two ways is refused.
func credentials(h http.Header) (id, secret string, err error) {
	ids, secrets := h[headerClientID], h[headerClientSecret]
	if len(ids) == 0 && len(secrets) == 0 {
		return "", "", nil
	}
	if len(ids) != 1 || len(secrets) != 1 {
		return "", "", errCredentials
	}
	id, secret = ids[0], secrets[0]
	for _, v := range []string{id, secret} {
		// A comma is how a proxy on the way joins two headers.
		if v == "" || len(v) > maxCredential || strings.ContainsFunc(v, func(c rune) bool { return c <= ' ' || c > '~' || c == ',' }) {
			return "", "", errCredentials
		}
	}
	return id, secret, nil
}

// hostnameOf returns the hostname in a Host header, in canonical form.
func hostnameOf(host string) (string, bool) {
	if name, port, err := net.SplitHostPort(host); err == nil {
		for _, c := range port {
			if c < '0' || c > '9' {
				return "", false
			}
		}
		host = name
	}
	host = canonical(host)
	if host == "" || len(host) > maxHostname || strings.HasPrefix(host, ".") {
		return "", false
	}
	bad := strings.ContainsFunc(host, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
	})
	return host, !bad
}

// serveGeneric joins one WebSocket to one stream, for clients that know nothing of Sluice. The stream is open before the upgrade
// is answered, so that a refusal is an HTTP status. The request's context bounds the open alone: net/http may still end it when a
// client closes right after the upgrade, which is that client's EOF. ctx ends when the relay does.
func (r *Relay) serveGeneric(ctx context.Context, w http.ResponseWriter, req *http.Request) {
	if r.generic.Add(1) > int64(r.cfg.MaxGeneric) {
		r.generic.Add(-1)
		answer(w, &tunnel.Refusal{Code: tunnelpb.Code_LIMITED, Message: "the relay has as many connections as it takes", RetryAfter: time.Second})
		return
	}
	defer r.generic.Add(-1)
	open := OpenRequest{Remote: remoteOf(req), Driver: req.RemoteAddr}
	var ok bool
	if open.Hostname, ok = hostnameOf(req.Host); !ok {
		http.Error(w, "the Host header names no hostname", http.StatusBadRequest)
		return
	}
	var err error
	if open.ClientID, open.ClientSecret, err = credentials(req.Header); err != nil {
		// One answer for every credential that is not good. This one is decided on without a token, and so is refused.
		open.ClientID, open.ClientSecret = malformed, malformed
	}
	l, err := r.open(req.Context(), &open)
	if err != nil {
		answer(w, refusalOf(err))
		return
	}
	ws, err := websocket.Accept(w, req, nil)
	if err != nil {
		r.log.Debug("websocket not accepted", "remote", req.RemoteAddr, "err", err) // Accept has answered
		l.Reset(stream.CodeProtocol)
		return
	}
	r.joinGeneric(ctx, newMessageConn(ws, req.RemoteAddr), l)
}

// malformed stands for credentials that were not one ID and one secret: no token has it for an ID, so that it is refused, recorded,
// and costs the same as any other wrong one.
const malformed = "malformed"

// joinGeneric copies between a client and its stream, and keeps the connection known to what is between.
func (r *Relay) joinGeneric(ctx context.Context, c *messageConn, l *liveStream) {
	pinging, cancel := context.WithCancel(ctx)
	var pings sync.WaitGroup
	defer pings.Wait()
	defer cancel()
	pings.Go(func() { c.keepAlive(pinging) })
	r.pipe(ctx, c, l)
}

func remoteOf(req *http.Request) netip.Addr {
	remote, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		return netip.Addr{} // no IP rule matches it
	}
	return remote.Addr().Unmap()
}

// answer sends a refusal as an HTTP status. There is no login to redirect to.
func answer(w http.ResponseWriter, refusal *tunnel.Refusal) {
	status := statusOf(refusal.Code)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `ServiceToken realm="sluice"`) // RFC 9110 section 15.5.2 demands one
	}
	if refusal.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refusal.RetryAfter.Seconds()))))
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, refusal.Message, status)
}

// statusOf is the HTTP status of a refusal.
func statusOf(code tunnelpb.Code) int {
	switch code {
	case tunnelpb.Code_UNAUTHENTICATED:
		return http.StatusUnauthorized
	case tunnelpb.Code_DENIED:
		return http.StatusForbidden
	case tunnelpb.Code_NO_TUNNEL:
		return http.StatusNotFound
	case tunnelpb.Code_NO_CONNECTOR, tunnelpb.Code_DRAINING:
		return http.StatusServiceUnavailable
	case tunnelpb.Code_ORIGIN_TIMEOUT:
		return http.StatusGatewayTimeout
	case tunnelpb.Code_UNKNOWN_HOST, tunnelpb.Code_ORIGIN_REFUSED, tunnelpb.Code_ORIGIN_UNREACHABLE:
		return http.StatusBadGateway
	case tunnelpb.Code_LIMITED:
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}
