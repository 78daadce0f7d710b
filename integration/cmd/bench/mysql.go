package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/sluicedb/sluice/integration/harness"
)

// tables are those that sysbench fills and asks.
const tables = 4

// newMySQL raises the servers. The caller closes its stage.
func newMySQL(ctx context.Context, o options) (l *lab, err error) {
	stage, err := harness.NewStage()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, errors.New(stage.Logs()), stage.Close())
		}
	}()
	l = &lab{options: o, stage: stage, load: runSysbench, program: "sysbench", counted: "queries/s",
		peers: []string{"direct", "router", "haproxy"},
		calls: workload{args: []string{"oltp_point_select", "--db-ps-mode=auto"}}, connect: connectMySQL}
	if err := l.certify(); err != nil {
		return nil, err
	}
	my, err := stage.StartMySQL(ctx, harness.MySQLConfig{Addr: "127.0.0.1", Settings: map[string]string{
		"max-connections": strconv.Itoa(o.idle + 300), "innodb-buffer-pool-size": "512M", "innodb-redo-log-capacity": "512M", "performance-schema": "OFF"}})
	if err != nil {
		return nil, err
	}
	l.entries = []entry{{name: "direct", about: "MySQL itself", target: my.Target()}}
	if err := warm(ctx, my); err != nil {
		return nil, err
	}
	fmt.Printf("filling sysbench's tables, %d x %d rows\n", tables, l.rows())
	if _, err := l.sysbench(ctx, l.entries[0], 1, "oltp_read_only", "prepare"); err != nil {
		return nil, err
	}
	if err := l.addHAProxy(ctx, my); err != nil {
		return nil, err
	}
	for _, share := range []bool{false, true} {
		if err := l.addRouter(ctx, my, share); err != nil {
			return nil, err
		}
	}
	own, err := l.startLone(ctx, "sluice", lone{MySQL: true, Origin: my.Target()})
	if err != nil {
		return nil, err
	}
	l.entries = append(l.entries, own)
	if err := l.addPostgres(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// warm logs in over TLS, after which the server knows the user's password and asks for less without TLS.
func warm(ctx context.Context, my *harness.MySQL) error {
	db := my.Connect()
	defer db.Close()
	return db.PingContext(ctx)
}

// addHAProxy adds an HAProxy that passes bytes on, with a thread for each core.
func (l *lab) addHAProxy(ctx context.Context, my *harness.MySQL) error {
	target := my.Target()
	var err error
	if target.Port, err = harness.FreePort(target.Host); err != nil {
		return err
	}
	p, err := l.stage.StartHAProxy(ctx, harness.HAProxyConfig{
		Name: "haproxy", Listen: address(target), Target: my.Address()})
	l.entries = append(l.entries, entry{name: "haproxy", about: "HAProxy, TCP", target: target, cpu: p, noTLS: true})
	return err
}

// addRouter adds a MySQL Router, which shares server connections between clients or gives each its own.
func (l *lab) addRouter(ctx context.Context, my *harness.MySQL, share bool) error {
	config := harness.RouterConfig{Name: "router", PoolSize: poolSize}
	about := "MySQL Router, a server connection for each client"
	if share {
		config.Name, config.Share = "router-share", true
		about = "MySQL Router, connection sharing"
	}
	target, p, err := l.stage.StartRouter(ctx, my, config)
	l.entries = append(l.entries, entry{name: config.Name, about: about, target: target, cpu: p, noTLS: true})
	return err
}

// addPostgres adds the PostgreSQL proxy, with the same rows, whose processor time is that to compare with.
func (l *lab) addPostgres(ctx context.Context) error {
	pg, err := l.stage.StartPostgres(ctx, harness.PostgresConfig{Addr: "127.0.0.1", Settings: map[string]string{
		"shared_buffers": "512MB", "log_connections": "off", "autovacuum": "off"}})
	if err != nil {
		return err
	}
	own, err := l.startLone(ctx, "sluice-postgres", lone{Origin: pg.Target()})
	if err != nil {
		return err
	}
	own.about, own.abroad, own.alone = "the PostgreSQL proxy before PostgreSQL", true, false
	l.entries = append(l.entries, own)
	_, err = l.sysbench(ctx, own, 1, "oltp_read_only", "prepare")
	return err
}

func address(t harness.Target) string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

// connectMySQL connects with a driver.
func connectMySQL(ctx context.Context, target harness.Target) (func(), error) {
	db, err := target.ConnectMySQL()
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return func() { db.Close() }, nil
}
