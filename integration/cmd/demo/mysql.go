package main

import (
	"context"
	"database/sql"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// myDatabase is the MySQL's name at the proxy.
const myDatabase = "shop"

// myWhereami is what the database itself knows about the way.
const myWhereami = "select version() as mysql, user() as asked_from, (select variable_value from performance_schema.session_status where variable_name = 'Ssl_version') as tls"

// withMySQL puts a MySQL into the private network and reaches it the short way.
func (d *demo) withMySQL(ctx context.Context) (err error) {
	d.show.title("The same with MySQL")
	config, there := d.mysqlConfig()
	if !there {
		d.show.say("this machine has neither MySQL nor MariaDB: scripts/install.sh mysql installs one")
		return nil
	}
	if d.my, err = d.stage.StartMySQL(ctx, config); err != nil {
		return err
	}
	what := "MySQL"
	if config.MariaDB {
		what = "MariaDB"
	}
	d.show.good("%s at %s, TLS on, process %d", what, d.my.Origin(), d.my.Process().PID())
	args := []string{"--tunnel", tunnelName, "--origin", d.my.Origin(), "--ca-certificate", d.my.CAFile}
	d.show.command("sluice database create %s --origin-scheme mysql --origin-user %s --database %s \\\n      %s", myDatabase, harness.MySQLUser, harness.MySQLDatabase, strings.Join(args, " "))
	if d.myTarget, err = d.sluice.MySQLDatabase(ctx, d.my, myDatabase, args...); err != nil {
		return err
	}
	start := time.Now()
	db, err := d.myTarget.ConnectMySQL()
	if err != nil {
		return err
	}
	defer db.Close()
	if err := askMySQL(ctx, db); err != nil {
		return err
	}
	cold := time.Since(start)
	if err := d.showMySQL(ctx, db); err != nil {
		return err
	}
	return d.compare(ctx, cold, mysqlSession(func() (*sql.DB, error) { return d.my.Connect(), nil }), mysqlSession(d.myTarget.ConnectMySQL))
}

// mysqlConfig says which server there is: MySQL before MariaDB.
func (d *demo) mysqlConfig() (config harness.MySQLConfig, there bool) {
	config = harness.MySQLConfig{Addr: "127.0.0.2"}
	if d.ns != nil {
		config.Addr, config.Namespace = private.String(), d.ns
	}
	if config.Installed() {
		return config, true
	}
	config.MariaDB = true
	return config, config.Installed()
}

// showMySQL asks the database where it is, with its own command line where there is one.
func (d *demo) showMySQL(ctx context.Context, db *sql.DB) error {
	if client := mysqlClient(); client != "" {
		args := mysqlArgs(d.myTarget)
		d.show.command("%s %s \\\n      -t -e \"%s\"", client, strings.Join(args, " "), myWhereami)
		out, err := d.stage.Output(ctx, harness.Command{Name: client, Path: client, Env: []string{"MYSQL_PWD=" + d.myTarget.Password},
			Args: append([]string{"--no-defaults"}, append(args, "-t", "-e", myWhereami)...)}, "")
		d.show.output(out)
		return err
	}
	var version, from, encrypted string
	if err := db.QueryRowContext(ctx, myWhereami).Scan(&version, &from, &encrypted); err != nil {
		return err
	}
	d.show.good("go-sql-driver asks MySQL %s, which was asked from %s, %s", version, from, encrypted)
	return nil
}

// mysqlClient is the command line of MySQL or MariaDB, "" where there is none.
func mysqlClient() string {
	for _, name := range []string{"mariadb", "mysql"} {
		if _, err := exec.LookPath(name); err == nil {
			return name
		}
	}
	return ""
}

// mysqlArgs are a client's, who has the password elsewhere.
func mysqlArgs(t harness.Target) []string {
	return []string{"--host=" + t.Host, "--port=" + strconv.Itoa(t.Port), "--user=" + t.User, "--ssl-ca=" + t.CAFile, t.Database}
}

func askMySQL(ctx context.Context, db *sql.DB) error {
	var one int
	return db.QueryRowContext(ctx, "select 1").Scan(&one)
}

// mysqlSession makes a pool of one connection.
func mysqlSession(connect func() (*sql.DB, error)) connecting {
	return func(ctx context.Context) (session, error) {
		db, err := connect()
		if err != nil {
			return session{}, err
		}
		conn, err := db.Conn(ctx)
		if err != nil {
			return session{}, errors.Join(err, db.Close())
		}
		ask := func() error {
			var one int
			return conn.QueryRowContext(ctx, "select 1").Scan(&one)
		}
		return session{ask: ask, close: func() error { return errors.Join(conn.Close(), db.Close()) }}, nil
	}
}
