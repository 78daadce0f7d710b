package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// poolingFlags are how a database's connections are kept and lent. 0 is the proxy's default everywhere.
type poolingFlags struct {
	minConnections                                        int
	connect, wait, idle, lifetime, query, idleTransaction time.Duration
	noQueryTimeout, forwardApplicationName                bool
	sessionState                                          string
}

func (p *poolingFlags) add(set *pflag.FlagSet) {
	set.IntVar(&p.minConnections, "min-connections", 0, "connections to the origin that are kept open while the database is in use; 0 for 5")
	set.DurationVar(&p.connect, "connect-timeout", 0, "how long connecting to the origin may take, login included; 0 for 15s")
	set.DurationVar(&p.wait, "wait-timeout", 0, "how long a client may wait for a connection; 0 for 15s")
	set.DurationVar(&p.idle, "idle-timeout", 0, "how long a connection may be idle before it is closed; 0 for 10m")
	set.DurationVar(&p.lifetime, "max-lifetime", 0, "how long a connection may live, give or take a fifth; 0 for 1h")
	set.DurationVar(&p.query, "query-timeout", 0, "how long a statement may run before it is cancelled; 0 for the proxy's, 1m")
	set.BoolVar(&p.noQueryTimeout, "no-query-timeout", false, "let statements run as long as they like")
	set.DurationVar(&p.idleTransaction, "idle-transaction-timeout", 0, "how long a driver may be silent in a transaction before it is disconnected; 0 for no limit")
	set.BoolVar(&p.forwardApplicationName, "forward-application-name", false, "show the drivers' application_name at the origin in place of Sluice's")
	set.StringVar(&p.sessionState, "session-state", "replay", "what becomes of a session's settings: replay on every connection, reset after each transaction, or pin the connection where a function may have changed them")
}

// body is what was given, nil where nothing was.
func (p *poolingFlags) body(d *databaseFlags) (*v4.PoolingWrite, error) {
	if d.set.Changed("query-timeout") && p.noQueryTimeout {
		return nil, usagef("--query-timeout and --no-query-timeout exclude each other")
	}
	w := v4.PoolingWrite{
		MinConnections:         given(d, "min-connections", &p.minConnections),
		ForwardApplicationName: given(d, "forward-application-name", &p.forwardApplicationName),
		SessionState:           given(d, "session-state", &p.sessionState),
	}
	for _, t := range []struct {
		flag  string
		value time.Duration
		to    **int
	}{
		{"connect-timeout", p.connect, &w.ConnectTimeout}, {"wait-timeout", p.wait, &w.WaitTimeout},
		{"idle-timeout", p.idle, &w.IdleTimeout}, {"max-lifetime", p.lifetime, &w.MaxLifetime},
		{"query-timeout", p.query, &w.QueryTimeout}, {"idle-transaction-timeout", p.idleTransaction, &w.IdleTransactionTimeout},
	} {
		if !d.set.Changed(t.flag) {
			continue
		}
		if t.value < 0 || t.value%time.Second != 0 {
			return nil, usagef("--%s: must be whole seconds, none less than 0, such as 30s or 10m", t.flag)
		}
		seconds := int(t.value / time.Second)
		*t.to = &seconds
	}
	if d.set.Changed("no-query-timeout") {
		limit := 0
		if p.noQueryTimeout {
			limit = -1
		}
		w.QueryTimeout = &limit
	}
	if w == (v4.PoolingWrite{}) {
		return nil, nil
	}
	return &w, nil
}

// poolingText says what of a database's pooling is not the proxy's default.
func poolingText(p v4.Pooling) string {
	var parts []string
	for _, t := range []struct {
		name    string
		seconds int
	}{
		{"connect", p.ConnectTimeout}, {"wait", p.WaitTimeout}, {"idle", p.IdleTimeout}, {"lifetime", p.MaxLifetime},
		{"query", p.QueryTimeout}, {"idle transaction", p.IdleTransactionTimeout},
	} {
		switch {
		case t.seconds < 0:
			parts = append(parts, t.name+" unlimited")
		case t.seconds > 0:
			parts = append(parts, t.name+" "+(time.Duration(t.seconds)*time.Second).String())
		}
	}
	if p.MinConnections > 0 {
		parts = append(parts, "at least "+strconv.Itoa(p.MinConnections)+" connections")
	}
	if p.ForwardApplicationName {
		parts = append(parts, "application_name forwarded")
	}
	if p.SessionState != "" && p.SessionState != "replay" {
		parts = append(parts, "session state "+p.SessionState)
	}
	return strings.Join(parts, ", ")
}
