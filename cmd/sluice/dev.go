package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

const (
	// devName names the tunnel and, without --name, the database.
	devName = "dev"
	// devReadyTimeout bounds the wait for the connector's first session, to a relay in the same process.
	devReadyTimeout = 20 * time.Second
	// devReadyEvery is how often it is looked for; a session takes some 5 ms.
	devReadyEvery = 10 * time.Millisecond
	// devLoginTimeout bounds the first login: more than the 15 s after which the proxy gives up an origin.
	devLoginTimeout = 20 * time.Second
)

func (a *app) devCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "dev [DSN]",
		Short: "Run everything, connector included, against a database of yours, and print a connection string",
		Long: `Run everything, connector included, in one process against a database that you have, and print a connection
string. It listens on this machine alone. The state is thrown away at the end, unless --data-dir keeps it.

The DSN is postgres://user:password@host:port/database, or the same of mysql://, from the argument, SLUICE_DEV_DSN or DATABASE_URL. Arguments
are seen by every user of a machine: leave a password that matters out of them, to give it with --origin-password-file
or in SLUICE_ORIGIN_PASSWORD, or to be asked for it.`,
		Example: `  sluice dev postgres://user:pass@localhost/db
  sluice dev postgres://user@localhost/db               # asks for the password
  sluice dev mysql://user@localhost/db
  SLUICE_DEV_DSN="$(cat dsn)" sluice dev`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s: unexpected argument after the DSN", cmd.CommandPath())
			}
			return nil
		},
	}
	flags := newServerFlags(cmd, stateFlags|apiFlags|relayFlags|proxyFlags, "")
	for flag, address := range map[string]string{
		"api-listen": "127.0.0.1:8443", "relay-listen": "127.0.0.1:7844", "proxy-listen": "127.0.0.1:6432", "mysql-listen": "127.0.0.1:6033", "log-level": "warn",
		"direct-origins": "any",
	} {
		setDefault(cmd, flag, address)
	}
	cmd.Flags().StringVar(&name, "name", devName, "name of the database, in the connection string")
	password := newSecret(cmd, "origin-password", "SLUICE_ORIGIN_PASSWORD", "password of the origin user")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		origin, err := a.devOrigin(args, password)
		if err != nil {
			return err
		}
		return a.dev(cmd.Context(), flags, name, origin)
	}
	return cmd
}

// setDefault gives a flag another default, which its help shows.
func setDefault(cmd *cobra.Command, name, value string) {
	flag := cmd.Flags().Lookup(name)
	flag.DefValue = value
	// The flags that have other defaults are strings, which take any value.
	_ = flag.Value.Set(value)
}

func (a *app) dev(ctx context.Context, flags *serverFlags, name string, origin devOrigin) (err error) {
	if origin.scheme == "mysql" && flags.mysqlListen == "off" {
		return usagef("--mysql-listen off leaves no proxy for a database of MySQL")
	}
	originTLS, err := origin.probe(ctx)
	if err != nil {
		return err
	}
	if flags.dataDir == "" {
		if flags.dataDir, err = os.MkdirTemp("", "sluice-dev-"); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(flags.dataDir)) }()
	}
	if err := flags.check(); err != nil {
		return err
	}
	n, err := a.newNode(flags)
	if err != nil {
		return err
	}
	// Before the directory is removed: deferred calls run last first.
	defer n.close()
	ports, err := n.listenAll(ctx)
	if err != nil {
		return err
	}
	if err := n.openState(ctx); err != nil {
		return err
	}
	n.printFirstToken()
	dev := role{name: "dev", run: func(ctx context.Context) error {
		return n.runDev(ctx, ports, origin.noun(name, originTLS), origin.service)
	}}
	if err := n.addAll(ports, dev); err != nil {
		return err
	}
	return n.run(ctx)
}

// devOrigin finds the DSN, and its password where it has none. A database that trusts this machine needs none: then an empty one is
// what the prompt is answered with, and what there is where nobody can be asked.
func (a *app) devOrigin(args []string, password *secret) (devOrigin, error) {
	dsn := a.getenv("SLUICE_DEV_DSN")
	if dsn == "" {
		dsn = a.getenv("DATABASE_URL")
	}
	if len(args) > 0 {
		dsn = args[0]
	}
	if dsn == "" {
		return devOrigin{}, usagef("no database: give postgres://user:password@host/database as argument, SLUICE_DEV_DSN or DATABASE_URL")
	}
	origin, err := parseDSN(dsn)
	if err != nil {
		return devOrigin{}, &usageError{err: err}
	}
	if origin.password == "" && (password.file != "" || a.getenv(password.variable) != "" || a.readPassword != nil) {
		if origin.password, err = password.find(a); err != nil {
			return devOrigin{}, err
		}
	}
	return origin, nil
}

// noun is the database that drivers are given.
func (o devOrigin) noun(name string, t originTLS) *control.Database {
	d := &control.Database{AccountID: control.DefaultAccountID, Name: name}
	d.Origin = control.Origin{
		Scheme: o.scheme, Database: o.database, User: o.user,
		Password: control.Plaintext(control.Secret(o.password)), Insecure: t.insecure,
	}
	d.MTLS = control.MTLS{SSLMode: t.sslmode, CACertificate: t.ca}
	return d
}

// runDev makes tunnel and database, runs the connector, and prints the connection string when it can be used.
func (n *node) runDev(ctx context.Context, p ports, database *control.Database, service string) error {
	made, token, err := n.makeDev(ctx, database, service, reachable(p.relayTCP))
	if err != nil {
		return err
	}
	c, err := connector.New(connector.Config{
		Token: token, Slots: 1, Version: buildVersion().Version, Logger: n.logger.With("role", "connector"),
	})
	if err != nil {
		return fmt.Errorf("connector: %w", err)
	}
	return runRoles(ctx,
		role{name: "connector", run: c.Run},
		role{name: "greeting", run: func(ctx context.Context) error {
			if err := waitReady(ctx, c); err != nil {
				return err
			}
			if err := n.devLogin(ctx, p, made, n.printDev(p, made)); err != nil && ctx.Err() == nil {
				fmt.Fprintf(n.app.err, "sluice: the database cannot be used yet: %s\n", describeLogin(err))
			}
			<-ctx.Done()
			return nil
		}})
}

// makeDev replaces what an earlier run on the same state left, since the DSN may be another.
func (n *node) makeDev(ctx context.Context, database *control.Database, service, relayAddress string) (*control.NewDatabase, tunnel.Token, error) {
	snapshot := n.control.Snapshot()
	account := control.DefaultAccountID
	if old, ok := snapshot.DatabaseByName(account, database.Name); ok {
		if err := n.control.DeleteDatabase(ctx, account, old.ID); err != nil {
			return nil, tunnel.Token{}, fmt.Errorf("replace the database of an earlier run: %w", err)
		}
	}
	t, ok := snapshot.TunnelByName(account, devName)
	if !ok {
		var err error
		if t, err = n.control.CreateTunnel(ctx, account, devName); err != nil {
			return nil, tunnel.Token{}, fmt.Errorf("make the tunnel: %w", err)
		}
	}
	secret, err := n.control.TunnelSecret(t)
	if err != nil {
		return nil, tunnel.Token{}, fmt.Errorf("tunnel secret: %w", err)
	}
	made, err := n.control.CreateManagedDatabase(ctx, t.ID, service, database, nil)
	if err != nil {
		return nil, tunnel.Token{}, fmt.Errorf("make the database: %w", err)
	}
	return made, tunnel.Token{
		Account: account, Tunnel: t.ID, Secret: secret.Reveal(),
		Relays: []string{relayAddress}, CA: string(n.control.CA()),
	}, nil
}

// waitReady waits until the connector has a session.
func waitReady(ctx context.Context, c *connector.Connector) error {
	tick := time.NewTicker(devReadyEvery)
	defer tick.Stop()
	late := time.NewTimer(devReadyTimeout)
	defer late.Stop()
	for !c.Ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return errors.New("the connector found no relay; --log-level debug says more")
		case <-tick.C:
		}
	}
	return nil
}

// devLogin connects as a driver does, the whole way to the database.
func (n *node) devLogin(ctx context.Context, p ports, made *control.NewDatabase, connection string) error {
	ctx, cancel := context.WithTimeout(ctx, devLoginTimeout)
	defer cancel()
	if made.Database.Origin.Scheme == "mysql" {
		return n.devLoginMySQL(ctx, reachable(p.mysql), made)
	}
	conn, err := pgconn.Connect(ctx, connection)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// devLoginMySQL also asks for something, because the proxy answers a login of MySQL's by itself.
func (n *node) devLoginMySQL(ctx context.Context, address string, made *control.NewDatabase) error {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(n.control.CA())
	host, _, _ := net.SplitHostPort(address) // a listener's
	got, err := mywire.Connect(ctx, nc, &mywire.ConnectConfig{
		User: made.Credential.Name, Password: made.Password.Reveal(), Schema: made.Database.Name,
		TLS: &tls.Config{RootCAs: roots, ServerName: host}, Collation: devCollation,
	})
	if err != nil {
		return err
	}
	defer got.Conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = got.Conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	question, _ := mywire.AppendPacket(nil, 0, append([]byte{byte(mywire.ComQuery)}, "DO 0"...))
	if _, err := got.Conn.Write(question); err != nil {
		return err
	}
	answer, _, err := mywire.ReadPacket(got.Conn, mywire.BufferSize)
	if err != nil {
		return err
	}
	if len(answer) > 0 && answer[0] == mywire.HeaderErr {
		refused, err := mywire.ParseError(answer)
		return errors.Join(refused, err)
	}
	return nil
}

// devCollation is utf8mb4_general_ci (charset-def.cc), which every server has.
const devCollation = 45

// describeLogin is what the proxy, or the database through it, says. pgconn's own words would quote the connection string.
func describeLogin(err error) string {
	if refused, ok := errors.AsType[*mywire.Error](err); ok {
		return refused.Message
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return "the proxy does not answer"
	case refused.Hint != "":
		return refused.Message + "\n" + refused.Hint
	}
	return refused.Message
}

// printDev also returns the connection string.
func (n *node) printDev(p ports, made *control.NewDatabase) string {
	mysql := made.Database.Origin.Scheme == "mysql"
	proxy, more := p.proxy, ""
	if mysql {
		proxy, more = p.mysql, "\n\nby TLS, with the certificate authority in "+n.caFile()+"." // drivers of MySQL have no common word for it
	}
	connection := v4.ConnectionString(made.Database.Origin.Scheme, made.Credential.Name, made.Password.Reveal(), reachable(proxy), made.Database.Name)
	if !mysql {
		connection = withRootCert(connection, n.caFile())
	}
	n.printListening(
		[2]string{"control API", "https://" + reachable(p.api)},
		[2]string{"relay", reachable(p.relayTCP) + " (udp and tcp)"},
		metricsLine(p.metrics),
	)
	fmt.Fprintf(n.app.out, "\nConnect with this string; its password is new at every start:\n\n  %s%s\n\nCtrl-C ends it.\n", connection, more)
	return connection
}
