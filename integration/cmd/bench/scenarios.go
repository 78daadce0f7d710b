package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A scenario is a part of the benchmark that can be run alone.
type scenario struct {
	name  string
	mysql bool // in the lab of MySQL, not of PostgreSQL
	run   func(*lab, context.Context) error
	alone func(context.Context, options) error // without a lab, instead of run
}

// load makes a scenario of a workload.
func load(w workload) scenario {
	return scenario{name: w.name, run: func(l *lab, ctx context.Context) error { return l.measure(ctx, w) }}
}

// scenarios are in the order in which they run.
func scenarios() []scenario {
	all := []scenario{
		load(workload{name: "simple", title: "one row by its key, simple protocol", args: []string{"-S", "-M", "simple"}}),
		load(workload{name: "extended", title: "one row by its key, extended protocol", args: []string{"-S", "-M", "extended"}}),
		load(workload{name: "prepared", title: "one row by its key, prepared statements", args: []string{"-S", "-M", "prepared"}}),
		load(workload{name: "tpcb", title: "TPC-B, prepared statements", args: []string{"-M", "prepared"}, clients: 16}),
		load(workload{name: "connect", title: "a connection for each row", args: []string{"-S", "-C"}, clients: 8}),
		load(workload{name: "tls-driver", title: "one row by its key, prepared statements, TLS to the driver", args: []string{"-S", "-M", "prepared"}, clients: 16, ways: driverTLS}),
		load(workload{name: "tls-origin", title: "one row by its key, prepared statements, TLS to the origin", args: []string{"-S", "-M", "prepared"}, clients: 16, ways: originTLS}),
		{name: "logins", run: (*lab).measureLogins},
		{name: "calls", run: (*lab).measureCalls},
		{name: "bulk", run: (*lab).measureBulk},
		{name: "idle", run: (*lab).measureIdle},
		{name: "distance", alone: measureDistance},
		{name: "control", alone: func(ctx context.Context, o options) error { return measureControl(ctx, o.bin, o.databases) }},
	}
	return append(all, mysqlScenarios()...)
}

// mysqlScenarios are those of MySQL: each of sysbench's workloads with text and with prepared statements.
func mysqlScenarios() []scenario {
	var all []scenario
	for _, kind := range []struct {
		name, title, script string
		abroad              bool
	}{
		{"mysql-point", "MySQL, one row by its key", "oltp_point_select", true},
		{"mysql-readonly", "MySQL, 14 SELECTs in a transaction", "oltp_read_only", false},
		{"mysql-readwrite", "MySQL, 14 SELECTs and 4 writes in a transaction", "oltp_read_write", false},
	} {
		w := workload{name: kind.name, abroad: kind.abroad}
		w.title, w.args = kind.title+", text", []string{kind.script, "--db-ps-mode=disable"}
		all = append(all, load(w))
		w.name += "-prepared"
		w.title, w.args = kind.title+", prepared statements", []string{kind.script, "--db-ps-mode=auto"}
		all = append(all, load(w))
	}
	all = append(all, scenario{name: "mysql-calls", run: (*lab).measureCalls}, scenario{name: "mysql-idle", run: (*lab).measureIdle})
	for i := range all {
		all[i].mysql = true
	}
	return all
}

func scenarioNames() string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return strings.Join(names, ",")
}

// choose picks scenarios by name, or by what names begin with before a dash; "" are all.
func choose(only string) ([]scenario, error) {
	all := scenarios()
	if only == "" {
		return all, nil
	}
	names := strings.Split(only, ",")
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s scenario) bool { return s.is(name) }) {
			return nil, fmt.Errorf("-only: there is no %q, only %s", name, scenarioNames())
		}
	}
	return slices.DeleteFunc(all, func(s scenario) bool { return !slices.ContainsFunc(names, s.is) }), nil
}

func (s scenario) is(name string) bool { return s.name == name || strings.HasPrefix(s.name, name+"-") }
