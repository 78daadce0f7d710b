package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// probeTimeout bounds the look at a developer's database before anything is started: it is on this machine or near it.
const probeTimeout = 10 * time.Second

// devOrigin is the database that a DSN names.
type devOrigin struct {
	service                  string // tcp://host:port or unix:/path
	network, address         string
	host                     string
	user, password, database string
	sslmode, sslrootcert     string // as the DSN has them
}

// parseDSN reads postgres://user:password@host:port/database?sslmode=…, or with host=/directory for a socket. Its errors quote
// nothing of the DSN, which holds a password.
func parseDSN(dsn string) (devOrigin, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return devOrigin{}, errors.New("the DSN is not a URL of the form postgres://user:password@host:port/database")
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return devOrigin{}, errors.New("the DSN must begin with postgres:// or postgresql://")
	}
	query := u.Query()
	password, _ := u.User.Password()
	o := devOrigin{
		user: u.User.Username(), password: password, database: strings.TrimPrefix(u.Path, "/"), host: u.Hostname(),
		sslmode: query.Get("sslmode"), sslrootcert: query.Get("sslrootcert"),
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	if o.host == "" {
		o.host = query.Get("host")
	}
	if o.user == "" {
		return devOrigin{}, errors.New("the DSN names no user: postgres://user:password@host/database")
	}
	if o.database == "" {
		o.database = o.user
	}
	switch {
	case strings.HasPrefix(o.host, "/"):
		o.network, o.address = "unix", filepath.Join(o.host, ".s.PGSQL."+port)
		o.service = "unix:" + o.address
	case o.host == "":
		return devOrigin{}, errors.New("the DSN names no host: postgres://user:password@host/database")
	default:
		o.network, o.address = "tcp", net.JoinHostPort(o.host, port)
		o.service = "tcp://" + o.address
	}
	switch o.sslmode {
	case "", "allow", "prefer", "disable", "require", "verify-ca", "verify-full":
	default:
		return devOrigin{}, errors.New("the DSN's sslmode is none of disable, allow, prefer, require, verify-ca and verify-full")
	}
	return o, nil
}

// originTLS is how the proxy is to speak to an origin.
type originTLS struct {
	sslmode  string
	ca       string // PEM
	insecure bool
}

// probe looks whether the database answers, and settles what the DSN leaves open as libpq would: without an sslmode, or with prefer
// or allow, TLS where the server has it and none where it has not. libpq verifies nothing then, nor with require and no
// sslrootcert; here the certificate that the server shows now is the one that it has to show later.
func (o devOrigin) probe(ctx context.Context) (originTLS, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, o.network, o.address)
	if err != nil {
		return originTLS{}, fmt.Errorf("the database does not answer: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	switch o.sslmode {
	case "disable":
		return originTLS{sslmode: "disable", insecure: true}, nil
	case "verify-ca", "verify-full":
		ca, err := o.rootCert()
		return originTLS{sslmode: o.sslmode, ca: ca}, err
	}
	offered, err := pgwire.RequestTLS(conn)
	switch {
	case err != nil:
		return originTLS{}, fmt.Errorf("%s does not speak PostgreSQL: %w", o.address, err)
	case !offered && o.sslmode == "require":
		return originTLS{}, fmt.Errorf("%s has no TLS, which the DSN's sslmode requires", o.address)
	case !offered:
		return originTLS{sslmode: "disable", insecure: true}, nil
	case o.sslrootcert != "":
		ca, err := o.rootCert()
		return originTLS{sslmode: "verify-ca", ca: ca}, err
	}
	return shownCertificate(ctx, conn)
}

func (o devOrigin) rootCert() (string, error) {
	if o.sslrootcert == "" {
		return "", nil
	}
	ca, err := os.ReadFile(o.sslrootcert)
	if err != nil {
		return "", fmt.Errorf("the DSN's sslrootcert: %w", err)
	}
	return string(ca), nil
}

// shownCertificate pins what the server shows.
func shownCertificate(ctx context.Context, conn net.Conn) (originTLS, error) {
	session := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	if err := session.HandshakeContext(ctx); err != nil {
		return originTLS{}, fmt.Errorf("TLS with the database: %w", err)
	}
	var chain strings.Builder
	for _, certificate := range session.ConnectionState().PeerCertificates {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}); err != nil {
			return originTLS{}, err
		}
	}
	return originTLS{sslmode: "verify-ca", ca: chain.String()}, nil
}
