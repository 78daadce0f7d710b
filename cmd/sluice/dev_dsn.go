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

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/pgwire"
)

// probeTimeout bounds the look at a developer's database before anything is started: it is on this machine or near it.
const probeTimeout = 10 * time.Second

// devOrigin is the database that a DSN names.
type devOrigin struct {
	scheme                   string // postgres or mysql
	service                  string // tcp://host:port or unix:/path
	network, address         string
	host                     string
	user, password, database string
	sslmode, sslrootcert     string // as the DSN has them
}

// parseDSN reads postgres://user:password@host:port/database?sslmode=…, or with host=/directory for a socket, or the same of mysql,
// with socket=/path. Its errors quote nothing of the DSN, which holds a password.
func parseDSN(dsn string) (devOrigin, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return devOrigin{}, errors.New("the DSN is not a URL of the form postgres://user:password@host:port/database")
	}
	scheme, port := "postgres", "5432"
	switch u.Scheme {
	case "postgres", "postgresql":
	case "mysql":
		scheme, port = "mysql", "3306"
	default:
		return devOrigin{}, errors.New("the DSN must begin with postgres://, postgresql:// or mysql://")
	}
	query := u.Query()
	password, _ := u.User.Password()
	o := devOrigin{
		scheme: scheme, user: u.User.Username(), password: password, database: strings.TrimPrefix(u.Path, "/"), host: u.Hostname(),
		sslmode: query.Get("sslmode"), sslrootcert: query.Get("sslrootcert"),
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if o.host == "" && scheme == "postgres" {
		o.host = query.Get("host")
	}
	if o.user == "" {
		return devOrigin{}, fmt.Errorf("the DSN names no user: %s://user:password@host/database", scheme)
	}
	if o.database == "" && scheme == "mysql" { // whose servers know no database of the user's name
		return devOrigin{}, errors.New("the DSN names no database: mysql://user:password@host/database")
	}
	if o.database == "" {
		o.database = o.user
	}
	switch socket := query.Get("socket"); {
	case scheme == "mysql" && o.host == "" && strings.HasPrefix(socket, "/"):
		o.network, o.address = "unix", filepath.Clean(socket)
		o.service = "unix:" + o.address
	case strings.HasPrefix(o.host, "/"):
		o.network, o.address = "unix", filepath.Join(o.host, ".s.PGSQL."+port)
		o.service = "unix:" + o.address
	case o.host == "":
		return devOrigin{}, fmt.Errorf("the DSN names no host: %s://user:password@host/database", scheme)
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
	if o.sslmode == "disable" || o.scheme == "mysql" && o.network == "unix" && o.sslmode == "" { // where MySQL's own client prefers none
		return originTLS{sslmode: "disable", insecure: true}, nil
	}
	switch o.sslmode {
	case "verify-ca", "verify-full":
		ca, err := o.rootCert()
		return originTLS{sslmode: o.sslmode, ca: ca}, err
	}
	request, server := pgwire.RequestTLS, "PostgreSQL"
	if o.scheme == "mysql" {
		request, server = mywire.RequestTLS, "MySQL"
	}
	offered, err := request(conn)
	switch {
	case err != nil:
		return originTLS{}, fmt.Errorf("%s does not speak %s: %w", o.address, server, err)
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
