package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/dialect"
	"github.com/sluicedb/sluice/proxy/mysql"
	"github.com/sluicedb/sluice/proxy/postgres"
)

const (
	// settleWait is how long a refusal that may be of yesterday's state is tried
	// again: relays have a change within a second.
	settleWait = 1500 * time.Millisecond
	// freshWait is the same of a candidate whose way was made a moment ago:
	// connectors have it after the relays.
	freshWait = 5 * time.Second
	// settlePause is the least wait between two tries; it doubles, up to a second.
	settlePause = 50 * time.Millisecond
)

// unsettled are refusals of a relay or connector that may not have heard yet of
// a hostname, application or service token.
var unsettled = []string{"no_tunnel", "unknown_host", "denied", "unauthenticated", "plaintext_refused"}

// Test connects to a candidate's origin as a pool would, and runs an empty
// query. It is a control.Test, and returns a *control.TestFailure or an error of
// this proxy's own.
func (p *Proxy) Test(ctx context.Context, c *control.Candidate) error {
	of := c.Database
	asked := &atomic.Bool{}
	test, err := p.tester(c, asked)
	if err != nil {
		return err
	}
	settled := time.Now().Add(settleWait)
	if c.Fresh {
		settled = time.Now().Add(freshWait)
	}
	for pause := settlePause; ; pause = min(2*pause, time.Second) {
		err := test(ctx)
		if err == nil {
			return nil
		}
		if !slices.Contains(unsettled, reason(err)) || time.Now().After(settled) {
			return p.testFailure(of, err, asked.Load())
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)): // jitter
		case <-ctx.Done():
			return p.testFailure(of, ctx.Err(), asked.Load())
		}
	}
}

// tester makes what connects to a candidate's origin once. asked is set when that
// asks for a client certificate.
func (p *Proxy) tester(c *control.Candidate, asked *atomic.Bool) (func(context.Context) error, error) {
	of := c.Database
	if isMySQL(of.Origin.Scheme) {
		cfg, err := p.configureMySQL(of, c.Certificate)
		cfg.FormerPassword = "" // it is the new one that is tried
		return func(ctx context.Context) error { return mysql.Test(ctx, cfg) }, err
	}
	cfg, err := p.configure(of, c.Certificate)
	cfg.FormerPassword = ""
	if cfg.TLS != nil {
		watchCertificateRequest(cfg.TLS, asked)
	}
	return func(ctx context.Context) error { return postgres.Test(ctx, cfg) }, err
}

// watchCertificateRequest notes whether the origin asks for a client certificate.
func watchCertificateRequest(cfg *tls.Config, asked *atomic.Bool) {
	certificate := &tls.Certificate{}
	if len(cfg.Certificates) > 0 {
		certificate = &cfg.Certificates[0]
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked.Store(true)
		return certificate, nil
	}
}

// reason is the word that a relay, or this proxy, refused with, or "".
func reason(err error) string {
	var r interface{ Reason() string }
	if errors.As(err, &r) {
		return r.Reason()
	}
	return ""
}

// refusals are what a relay's refusals mean for a test.
var refusals = map[string]control.TestFailure{
	"no_tunnel":          {Code: control.TestNoTunnel, Message: "The hostname leads through no tunnel: route it to one."},
	"unknown_host":       {Code: control.TestNoTunnel, Message: "The tunnel's connector has no rule for the hostname: route it to the tunnel, and let the connector reach its relay."},
	"no_connector":       {Code: control.TestNoConnector, Message: "No connector of the tunnel is connected: start sluice-connector with the tunnel's token."},
	"denied":             {Code: control.TestDenied, Message: "No policy of the hostname's application admits the service token: add one that does."},
	"unauthenticated":    {Code: control.TestUnauthenticated, Message: "Access client ID and secret are not those of a valid service token."},
	"origin_refused":     {Code: control.TestRefused, Message: "The origin refused the connector's connection: nothing listens at the address that the hostname is routed to, or a firewall rejects it."},
	"origin_timeout":     {Code: control.TestCannotConnect, Message: "The origin did not answer the connector: check the address that the hostname is routed to, and firewalls between."},
	"origin_unreachable": {Code: control.TestCannotConnect, Message: "The connector cannot reach the address that the hostname is routed to: check that address, and the connector's network."},
}

// testFailure names what went wrong. asked is whether the origin asked for a
// client certificate.
func (p *Proxy) testFailure(of *control.Database, err error, asked bool) error {
	fail := func(code int, format string, args ...any) error {
		return &control.TestFailure{Code: code, Message: fmt.Sprintf(format, args...)}
	}
	if errors.Is(err, dialect.ErrTestQuery) {
		return fail(control.TestQueryFailed, "The login worked and the empty test query failed%s: check that the user may run queries on the database.", words(err))
	}
	refused := reason(err)
	if refused == "denied" && !p.hasTunnel(of) {
		refused = "no_tunnel" // which a relay does not tell everybody who asks
	}
	if f, ok := refusals[refused]; ok {
		return &f
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return loginFailure(of, pg, asked)
	}
	if f := mysqlFailure(of, err); f != nil {
		return f
	}
	var (
		dns     *net.DNSError
		direct  *notAdmittedError
		network *net.OpError
		timeout net.Error
	)
	switch {
	case errors.As(err, &direct) && direct.policy == DirectNone:
		return fail(control.TestNotAdmitted, "The server reaches origins through tunnels only (--direct-origins none): put this one behind a tunnel.")
	case errors.As(err, &direct):
		return fail(control.TestNotAdmitted, "%s resolves to %s, which is not a public address: put the origin behind a tunnel, or start the server with --direct-origins any.", of.Origin.Host, direct.addr)
	case errors.As(err, &dns):
		return fail(control.TestBadHostname, "The hostname %s does not resolve: check its spelling, and that it is in the DNS that the server asks.", of.Origin.Host)
	case errors.Is(err, dialect.ErrPlaintext):
		return fail(control.TestNoTLS, "The origin does not support TLS: turn it on there.")
	case isCertificate(err):
		return fail(control.TestBadCertificate, "The origin's certificate does not verify (%v): give the database the CA that it leads to, and with verify-full the name that it is made out to.", certificateWords(err))
	case errors.As(err, &network) && network.Op == "remote error": // a TLS alert
		return fail(control.TestWantsClientCert, "The origin ended the TLS handshake (%v): it wants a client certificate of another CA, or none of this version of TLS.", network.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(control.TestRefused, "The connection was refused: nothing listens at the origin's host and port, or a firewall rejects it.")
	case errors.As(err, &network) && network.Op == "dial", errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fail(control.TestCannotConnect, "No connection to the origin could be made: check its host and port, routes and firewalls.")
	}
	return fail(control.TestFailed, "The connection failed (%s), for a reason that the proxy does not know.", dialect.Reason(err))
}

// hasTunnel reports whether an origin's hostname leads through a tunnel of its
// own account.
func (p *Proxy) hasTunnel(of *control.Database) bool {
	t, _, ok := p.cfg.Source.Snapshot().TunnelByHostname(of.Origin.Host)
	return ok && t.AccountID == of.AccountID
}

// loginFailure is what an origin said to a login.
func loginFailure(of *control.Database, pg *pgconn.PgError, asked bool) error {
	f := &control.TestFailure{Code: control.TestFailed, Message: "The origin refused the login"}
	mend := "see the origin's log."
	switch pg.Code {
	case pgwire.CodeInvalidPassword:
		f.Code, mend = control.TestBadCredentials, "check user and password, which are case-sensitive."
	case pgwire.CodeInvalidAuthorization:
		f.Code, mend = control.TestBadCredentials, "check the user, and that the origin's pg_hba.conf admits it from here."
		if asked && of.MTLS.ClientCertificateID == "" {
			f.Code, mend = control.TestWantsClientCert, "it asks for a client certificate: upload one, and give the database its id."
		}
	case pgwire.CodeUnknownDatabase:
		f.Code, mend = control.TestNoDatabase, "check the database's name at the origin."
	case pgwire.CodeTooManyConnections:
		mend = "raise its connection limit, or end connections that it has."
	}
	f.Message += fmt.Sprintf(" (%s, SQLSTATE %s): %s", safe(pg.Message), pg.Code, mend)
	return f
}

// words are the origin's own of a failed query, in parentheses, or "".
func words(err error) string {
	if pg, ok := errors.AsType[*pgwire.Error](err); ok {
		return fmt.Sprintf(" (%s, SQLSTATE %s)", safe(pg.Message), pg.Code)
	}
	if my, ok := errors.AsType[*mywire.Error](err); ok {
		return fmt.Sprintf(" (%s, error %d)", safe(my.Message), my.Code)
	}
	return ""
}

// safeMax bounds what is repeated of an origin's words, in bytes.
const safeMax = 300

// safe makes an origin's words fit for one line.
func safe(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > safeMax {
		text = strings.ToValidUTF8(text[:safeMax], "") + "..."
	}
	return text
}

func isCertificate(err error) bool {
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification) || errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid)
}

// certificateWords say what is wrong with a certificate, without what wraps it.
func certificateWords(err error) string {
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		err = verification.Err
	}
	return safe(err.Error())
}

// Connections are how many origin connections of a database are open, by the
// generation of the database that they were made with.
func (p *Proxy) Connections(databaseID string) map[int64]int {
	p.mu.Lock()
	d, ok := p.running[databaseID]
	p.mu.Unlock()
	if !ok {
		return nil
	}
	return d.Generations()
}
