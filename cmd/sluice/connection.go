package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// connection is what a connection string of an origin says.
type connection struct {
	scheme, host, port, database, user, password, sslmode string
	// unused are the parameters that say something else, in order.
	unused []string
}

// parseConnection reads postgres://user:password@host:port/database, or the same of mysql. Its errors quote nothing of it, which
// holds a password.
func parseConnection(text string) (connection, error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" {
		return connection{}, usagef("the connection string is not of the form postgres://user:password@host:port/database")
	}
	c := connection{scheme: strings.ToLower(u.Scheme), host: u.Hostname(), port: u.Port(), database: strings.TrimPrefix(u.Path, "/"), user: u.User.Username()}
	c.password, _ = u.User.Password()
	switch c.scheme {
	case "postgres", "postgresql", "mysql":
	default:
		return connection{}, usagef("the connection string must begin with postgres://, postgresql:// or mysql://")
	}
	for _, part := range [][2]string{{"host", c.host}, {"user", c.user}, {"database", c.database}} {
		if part[1] == "" {
			return connection{}, usagef("the connection string names no %s: %s://user:password@host:port/database", part[0], c.scheme)
		}
	}
	if c.port == "" {
		c.port = "5432"
		if c.scheme == "mysql" {
			c.port = "3306"
		}
	}
	for name := range u.Query() {
		if name != "sslmode" {
			c.unused = append(c.unused, name)
		}
	}
	slices.Sort(c.unused)
	c.sslmode = u.Query().Get("sslmode")
	return c, nil
}

// connectionExcludes are the flags whose settings a connection string has.
var connectionExcludes = []string{"origin-host", "origin-port", "database", "origin-user", "origin-password", "origin-password-file",
	"access-client-id", "access-client-secret", "access-client-secret-file"}

// useConnection takes a connection string apart into the flags that it stands for. Behind a tunnel its host and port are where the
// connector reaches the origin: they become service. The environment's string counts where it is asked for.
func (d *databaseFlags) useConnection(a *app, environment bool, tunnel string, service *string) error {
	if !d.connection.given() && (!environment || a.getenv(d.connection.variable) == "" || d.set.Changed("origin-host") || *service != "") {
		return nil
	}
	for _, name := range connectionExcludes {
		if d.connection.given() && d.set.Changed(name) {
			return usagef("--connection-string excludes --%s", name)
		}
	}
	text, err := d.connection.read(a)
	if err != nil {
		return err
	}
	c, err := parseConnection(text)
	if err != nil {
		return err
	}
	if len(c.unused) > 0 {
		fmt.Fprintf(a.err, "Not used of the connection string: %s.\n", printable(strings.Join(c.unused, ", ")))
	}
	values := map[string]string{"origin-scheme": c.scheme, "database": c.database, "origin-user": c.user}
	if c.sslmode != "" && !d.set.Changed("sslmode") && !d.set.Changed("insecure-origin") {
		values["sslmode"] = c.sslmode
	}
	switch {
	case tunnel == "":
		values["origin-host"], values["origin-port"] = c.host, c.port
	case *service != "":
		return usagef("--origin and the host of --connection-string say the same: leave --origin out")
	default:
		*service = "tcp://" + net.JoinHostPort(c.host, c.port)
	}
	d.password.value = c.password
	return setAll(d.set, values)
}

// setAll gives flags values as the command line would.
func setAll(flags *pflag.FlagSet, values map[string]string) error {
	for name, value := range values {
		if err := flags.Set(name, value); err != nil {
			return usagef("the connection string: %w", err)
		}
	}
	return nil
}
