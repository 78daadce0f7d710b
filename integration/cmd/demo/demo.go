package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// The names of the demo's things.
const (
	tunnelName = "vpc-1"
	hostname   = "db.internal.example"
	tokenName  = "app"
	policyName = "app may"
	database   = "app"
)

// private is the database's address in its namespace: of a documentation range (RFC 5737), so
// that no network of the machine's own has it.
var private = netip.MustParseAddr("192.0.2.5")

// demo is what is on the stage.
type demo struct {
	stage       *harness.Stage
	bin         string
	noNamespace bool
	show        printer

	ns        *harness.Namespace
	host      string // where server and proxy listen
	pg        *harness.Postgres
	sluice    *harness.Sluice
	server    *harness.Process
	connector *harness.Process
	target    harness.Target
	cold      time.Duration // the very first connection's time to its first answer

	my       *harness.MySQL // nil where this machine has none
	myTarget harness.Target
}

// run plays the demo's parts in order.
func (d *demo) run(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		d.privateNetwork, d.startServer, d.startConnector, d.register, d.firstQuery, d.measure, d.refuse, d.withMySQL,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	d.byHand()
	return nil
}

// privateNetwork puts a PostgreSQL where this machine's own network does not reach.
func (d *demo) privateNetwork(ctx context.Context) (err error) {
	d.show.title("A private network with a PostgreSQL in it")
	config := harness.PostgresConfig{Addr: "127.0.0.2"}
	d.host = "127.0.0.1"
	if reason := d.makeNamespace(); reason != nil {
		d.show.say("this machine allows no network namespace (%v):", reason)
		d.show.say("the database has a loopback address of its own instead, which only the connector dials")
	} else {
		config.Addr, config.Namespace = private.String(), d.ns
	}
	if d.pg, err = d.stage.StartPostgres(ctx, config); err != nil {
		return err
	}
	d.show.good("PostgreSQL at %s, TLS on, passwords by scram-sha-256", d.pg.Origin())
	if d.ns == nil {
		return nil
	}
	dialCtx, cancel := context.WithTimeout(ctx, 500*time.Millisecond) // within a machine, an answer takes microseconds
	defer cancel()
	conn, err := new(net.Dialer).DialContext(dialCtx, "tcp", net.JoinHostPort(d.pg.Addr, "5432"))
	if err == nil {
		return errors.Join(errors.New("the private address answers from outside its network"), conn.Close())
	}
	d.show.good("from here it cannot be reached: %v", plain(err))
	return nil
}

// makeNamespace makes the network and a link to it, and says why not if it cannot.
func (d *demo) makeNamespace() (err error) {
	if d.noNamespace {
		return errors.New("as asked")
	}
	if d.ns, err = d.stage.NewNamespace(); err != nil {
		return err
	}
	outside, inside, err := freeLink()
	if err == nil {
		err = d.ns.Link(outside, inside)
	}
	if err == nil {
		err = d.ns.AddAddress(private)
	}
	if err != nil {
		d.ns = nil // it stays empty, and goes with the stage
		return err
	}
	d.host = outside.Addr().String()
	return nil
}

// freeLink finds a pair of addresses that no interface of this machine is near, in the range
// that RFC 6598 sets aside for networks between networks.
func freeLink() (outside, inside netip.Prefix, err error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return outside, inside, err
	}
	for third := 64; third < 128; third++ {
		first := netip.AddrFrom4([4]byte{100, 100, byte(third), 0})
		link := netip.PrefixFrom(first, 30)
		taken := false
		for _, addr := range addrs {
			prefix, err := netip.ParsePrefix(addr.String())
			taken = taken || err == nil && prefix.Overlaps(link)
		}
		if !taken {
			return netip.PrefixFrom(first.Next(), 30), netip.PrefixFrom(first.Next().Next(), 30), nil
		}
	}
	return outside, inside, errors.New("no free addresses for a link")
}

func (d *demo) startServer(ctx context.Context) (err error) {
	d.show.title("The server: control API, relay and proxy in one process")
	if d.sluice, err = d.stage.NewSluice(d.bin, d.host); err != nil {
		return err
	}
	d.show.command("sluice server --data-dir data --public-host %s", d.host)
	start := time.Now()
	if d.server, err = d.sluice.StartServer(ctx); err != nil {
		return err
	}
	d.show.good("ready after %s, process %d", short(time.Since(start)), d.server.PID())
	return nil
}

func (d *demo) startConnector(ctx context.Context) error {
	d.show.title("The connector: beside the database, one token, no inbound port")
	d.show.command("sluice tunnel create %s", tunnelName)
	d.show.command("sluice tunnel token %s > %[1]s.token", tunnelName)
	tokenFile, err := d.sluice.Tunnel(ctx, tunnelName)
	if err != nil {
		return err
	}
	d.show.command("sluice-connector run --token-file %s.token", tunnelName)
	start := time.Now()
	if d.connector, err = d.sluice.StartConnector(ctx, "connector", tokenFile, d.ns); err != nil {
		return err
	}
	where := ""
	if d.ns != nil {
		where = ", inside the private network"
	}
	d.show.good("connected after %s, process %d%s", short(time.Since(start)), d.connector.PID(), where)
	return nil
}

// register says which hostname leads where and who may use it.
func (d *demo) register(ctx context.Context) error {
	d.show.title("Hostname, service token, application, policy, database")
	if err := d.cli(ctx, "tunnel", "route", tunnelName, hostname, d.pg.Origin()); err != nil {
		return err
	}
	d.show.command("sluice access token create %s", tokenName)
	token, err := d.sluice.Token(ctx, tokenName)
	if err != nil {
		return err
	}
	if err := d.cli(ctx, "access", "app", "create", "--hostname", hostname); err != nil {
		return err
	}
	if err := d.admit(ctx); err != nil {
		return err
	}
	args := []string{"--origin-host", hostname, "--access-client-id", token.ClientID, "--sslmode", "verify-full", "--ca-certificate", d.pg.CAFile}
	d.show.command("sluice database create %s --origin-user %s --database %s \\\n      %s \\\n      %s", database, harness.PostgresUser, harness.PostgresDatabase,
		strings.Join(args[:4], " "), strings.Join(args[4:], " "))
	if d.target, err = d.sluice.Database(ctx, d.pg, token.ClientSecret, database, args...); err != nil {
		return err
	}
	d.show.good("the secrets came by the environment; none was an argument")
	return nil
}

// admit makes the policy.
func (d *demo) admit(ctx context.Context) error {
	return d.cli(ctx, "access", "policy", "create", "--app", hostname, "--name", policyName, "--decision", "non_identity", "--include-token", tokenName)
}

// cli shows a command and runs it.
func (d *demo) cli(ctx context.Context, args ...string) error {
	typed := make([]string, len(args))
	for i, arg := range args {
		typed[i] = quote(arg)
	}
	d.show.command("sluice %s", strings.Join(typed, " "))
	_, err := d.sluice.CLI(ctx, nil, args...)
	return err
}

// quote writes an argument as a person types it.
func quote(arg string) string {
	if strings.Contains(arg, " ") {
		return "'" + arg + "'"
	}
	return arg
}

func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// plain is an error without the operation that a net.OpError puts before it.
func plain(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "no answer"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return fmt.Sprint(err)
}
