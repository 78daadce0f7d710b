package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/dialect"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// configure turns a database of the state, and the certificates that it names,
// into what the dialect needs.
func (p *Proxy) configure(of *control.Database, certificate func(id string) (*control.Certificate, bool)) (postgres.Config, error) {
	tlsConfig, err := p.originTLS(of, certificate)
	if err != nil {
		return postgres.Config{}, err
	}
	if of.MTLS.SSLMode == control.SSLNoVerify {
		p.cfg.Logger.Warn("the origin's certificate is not verified", "database", of.Name)
	}
	password, err := p.cfg.Source.OriginPassword(of)
	if err != nil {
		return postgres.Config{}, fmt.Errorf("unseal origin password: %w", err)
	}
	former, err := p.cfg.Source.FormerOriginPassword(of)
	if err != nil {
		return postgres.Config{}, fmt.Errorf("unseal former origin password: %w", err)
	}
	dial, err := p.dialer(of)
	if err != nil {
		return postgres.Config{}, err
	}
	var wrote func(w cache.Write, ddl, inDoubt bool)
	if topic := of.AccountID + "." + of.ID; p.gossip != nil {
		wrote = func(w cache.Write, ddl, inDoubt bool) { p.gossip.wrote(topic, w, ddl, inDoubt) }
	}
	return postgres.Config{
		Dial: dial, Host: of.Origin.Host, Database: of.Origin.Database, User: of.Origin.User, Password: password.Reveal(), FormerPassword: former.Reveal(),
		TLS: tlsConfig, Generation: of.Generation, Limits: p.limits(of), ForwardApplicationName: of.Pooling.ForwardApplicationName,
		Cache: p.cache, Caching: caching(of.Caching), KeepNothing: p.cfg.CacheMemory == 0, Wrote: wrote, Policy: policies[of.Pooling.SessionState],
	}, nil
}

// policies are the dialect's, by what the state calls them; Replay where it says nothing.
var policies = map[string]postgres.Policy{
	control.SessionReplay: postgres.Replay, control.SessionReset: postgres.Reset, control.SessionPin: postgres.Pin,
}

// caching is a database's own policy.
func caching(c control.Caching) cache.Policy {
	if c.Disabled {
		return cache.Policy{}
	}
	return cache.Policy{MaxAge: time.Duration(c.MaxAge) * time.Second, Stale: time.Duration(c.StaleWhileRevalidate) * time.Second}
}

// limits are a database's own, and the proxy's where it has none. What is zero
// has the dialect's and the pool's defaults, which are Hyperdrive's limits.
func (p *Proxy) limits(of *control.Database) dialect.Limits {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	l := dialect.Limits{
		MaxConns: of.OriginConnectionLimit, MinConns: of.Pooling.MinConnections,
		ConnectTimeout: seconds(of.Pooling.ConnectTimeout), WaitTimeout: seconds(of.Pooling.WaitTimeout),
		IdleTimeout: seconds(of.Pooling.IdleTimeout), MaxLifetime: seconds(of.Pooling.MaxLifetime),
		QueryTimeout: seconds(of.Pooling.QueryTimeout), IdleTransactionTimeout: seconds(of.Pooling.IdleTransactionTimeout),
	}
	if l.MinConns == 0 {
		l.MinConns = min(minConns, l.MaxConns)
	}
	switch of.Pooling.QueryTimeout {
	case 0:
		l.QueryTimeout = p.cfg.QueryTimeout
	case control.Unlimited:
		l.QueryTimeout = 0
	}
	return l
}

// dialer is how an origin is reached: through its tunnel, or directly.
func (p *Proxy) dialer(of *control.Database) (func(context.Context) (net.Conn, error), error) {
	if of.Origin.AccessClientID == "" {
		addr := net.JoinHostPort(of.Origin.Host, strconv.Itoa(of.Origin.Port))
		return func(ctx context.Context) (net.Conn, error) { return p.dialDirect(ctx, addr) }, nil
	}
	if p.cfg.Dial == nil {
		return nil, errors.New("this proxy has no relay to reach tunnels by")
	}
	secret, err := p.cfg.Source.AccessClientSecret(of)
	if err != nil {
		return nil, fmt.Errorf("unseal access client secret: %w", err)
	}
	target := Target{Hostname: of.Origin.Host, ClientID: of.Origin.AccessClientID, ClientSecret: secret.Reveal()}
	return func(ctx context.Context) (net.Conn, error) {
		snap := p.cfg.Source.Snapshot()
		if t, _, ok := snap.TunnelByHostname(of.Origin.Host); ok && t.AccountID != of.AccountID {
			return nil, errForeign
		}
		if of.MTLS.SSLMode == control.SSLDisable && !snap.MayBePlaintext(of) {
			return nil, errPlaintext
		}
		return p.cfg.Dial(ctx, target)
	}, nil
}

// errPlaintext is why an origin without TLS is not dialled.
var errPlaintext = &refused{"plaintext_refused"}

// errForeign is why an origin is not dialled whose hostname leads into another account's network by now.
var errForeign = &refused{"denied"}

type refused struct{ reason string }

func (r *refused) Error() string { return r.reason }

func (r *refused) Reason() string { return r.reason }

// credentials are a database's names and verifiers. One that cannot be read admits nobody.
func (p *Proxy) credentials(of *control.Database) map[string]*pgwire.Verifier {
	m := make(map[string]*pgwire.Verifier, len(of.Credentials))
	for _, c := range of.Credentials {
		v, err := pgwire.ParseVerifier(string(c.Verifier))
		if err != nil {
			p.cfg.Logger.Error("credential cannot be used", "database", of.Name, "user", c.Name, "err", err)
			continue
		}
		m[c.Name] = v
	}
	return m
}
