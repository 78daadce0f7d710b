package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// A Dialer makes sessions from the connector's or the client's side. It holds no state: it may be used again, and concurrently.
type Dialer struct {
	Addr    string      // host:port of the relay; resolved anew by each Dial
	Prefer  int         // which of the addresses that Addr's name has is tried first, counted round and round
	Carrier Carrier     // QUIC unless set
	TLS     *tls.Config // RootCAs, ServerName (Addr's host unless set); the package sets ALPN and the minimum version

	// Hello introduces this peer. It is required.
	Hello *tunnelpb.Hello

	// Configure is called when the relay sends rules, one call at a time, and returns what is now in force. Its context ends with
	// the session. Nil refuses them.
	Configure func(context.Context, *tunnelpb.Configure) *tunnelpb.Configured

	// GoAway is called when the relay asks this peer to move, never at the same time as Configure. It may be nil.
	GoAway func(*tunnelpb.GoAway)

	// Leaving is called when the relay says that what carries some of this peer's streams beyond it will end: see Stream.Via. It must
	// not block. It may be nil.
	Leaving func(via string)

	// Commit is called when the carrier is connected, before the Hello is said; an error abandons the dial. A race of carriers
	// uses it to let one register only. It may be nil.
	Commit func(context.Context) error

	Limits Limits       // what the relay may ask of this side
	Logger *slog.Logger // discards unless set
}

// Dial connects, says Hello and waits for the Welcome, within ctx and at most 15 seconds. It returns a *Refusal when the relay
// said no. The session outlives ctx; the caller closes it. A WebSocket is dialled through the proxy that HTTPS_PROXY and NO_PROXY
// name.
func (d *Dialer) Dial(ctx context.Context) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	host, _, err := net.SplitHostPort(d.Addr)
	if err != nil {
		return nil, fmt.Errorf("relay address: %w", err)
	}
	if d.Hello == nil {
		return nil, errors.New("dial relay: no hello to say")
	}
	conf := &tls.Config{}
	if d.TLS != nil {
		conf = d.TLS.Clone()
	}
	if conf.ServerName == "" {
		conf.ServerName = host
	}
	conf.MinVersion = tls.VersionTLS13

	dial := d.dialQUIC
	if d.Carrier == CarrierWebSocket {
		dial = d.dialWebSocket
	}
	s, err := dial(ctx, conf)
	if err != nil {
		var refusal *Refusal
		if ctx.Err() != nil && !errors.As(err, &refusal) {
			err = errors.Join(context.Cause(ctx), err)
		}
		return nil, fmt.Errorf("dial relay %s over %s: %w", d.Addr, d.Carrier, err)
	}
	return s, nil
}

func (d *Dialer) logger() *slog.Logger {
	if d.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Logger
}

func (d *Dialer) commit(ctx context.Context) error {
	if d.Commit == nil {
		return nil
	}
	return d.Commit(ctx)
}

// session is what both carriers of a Dialer fill alike.
func (d *Dialer) session(remote netip.AddrPort, welcome *tunnelpb.Welcome) *Session {
	return &Session{
		carrier: d.Carrier, remote: remote,
		hello: d.Hello, welcome: welcome,
		limits: d.Limits.withDefaults(), log: d.logger(),
		out:       newOutbox(),
		configure: d.Configure, goAway: d.GoAway, onLeaving: d.Leaving,
	}
}

func (d *Dialer) dialQUIC(ctx context.Context, conf *tls.Config) (*Session, error) {
	conf.NextProtos = []string{Protocol}
	link, err := raceQUIC(ctx, d.Addr, d.Prefer, conf, quicConfig(d.Limits.withDefaults()))
	if err != nil {
		return nil, err
	}
	return d.overQUIC(ctx, link)
}

// overQUIC makes a session of a connection.
func (d *Dialer) overQUIC(ctx context.Context, link *quicLink) (*Session, error) {
	control, err := link.conn.OpenStreamSync(ctx)
	if err == nil {
		err = d.commit(ctx)
	}
	if err != nil {
		link.close(stream.CodeCancelled, "")
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = control.SetDeadline(past) })
	welcome, err := sayHello(control, d.Hello)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		link.close(stream.CodeCancelled, "")
		return nil, err
	}
	s := d.session(addrPort(link.conn.RemoteAddr()), welcome)
	s.link = link
	return newSession(s, control), nil
}

func (d *Dialer) dialWebSocket(ctx context.Context, conf *tls.Config) (*Session, error) {
	conf.NextProtos = []string{"http/1.1"}
	ws, err := dialWS(ctx, d.Addr, d.Prefer, conf)
	if err != nil {
		return nil, err
	}
	return d.overWebSocket(ctx, ws)
}

// overWebSocket makes a session of a WebSocket.
func (d *Dialer) overWebSocket(ctx context.Context, ws *wsConn) (*Session, error) {
	if err := d.commit(ctx); err != nil {
		_ = ws.Close()
		return nil, err
	}
	stop := ws.bound(ctx)
	asked := time.Now()
	welcome, err := sayHello(ws, d.Hello)
	rtt := time.Since(asked)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = ws.Close()
		return nil, err
	}
	s := d.session(addrPort(ws.remote), welcome)
	link := newYamuxLink(ws, s.out, true, s.limits, rtt)
	s.link = link
	var control yamuxControl
	if err := link.sess.open(ctx, nil, func(ms *muxStream) { control.muxStream = ms }); err != nil {
		link.drop()
		return nil, err
	}
	return newSession(s, control), nil
}

// addrPort returns a network address as a value; the zero value when it has none.
func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	case nil:
		return netip.AddrPort{}
	}
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return unmap(p)
}

// unmap makes 10.0.0.1 of ::ffff:10.0.0.1, which is how a socket that listens on both families names it.
func unmap(p netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
