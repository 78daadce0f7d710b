package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/sluicedb/sluice/integration/harness"
)

// rows are those of each of sysbench's tables.
func (l *lab) rows() int { return l.scale * 100_000 / tables }

// runSysbench loads MySQL, or PostgreSQL where the entry is that. What counts are queries.
func runSysbench(l *lab, ctx context.Context, e entry, w workload, clients int) (s sample, err error) {
	out, err := l.sysbench(ctx, e, clients, append(w.args, "--histogram=on", "--time="+strconv.Itoa(l.seconds), "run")...)
	if err != nil {
		return s, err
	}
	return readSysbench(out)
}

// sysbench runs it. What is secret goes by a file.
func (l *lab) sysbench(ctx context.Context, e entry, clients int, args ...string) (string, error) {
	driver := "mysql"
	if e.abroad {
		driver = "pgsql"
	}
	file := l.stage.Path("sysbench.conf")
	text := fmt.Sprintf("%[1]s-host=%[2]s\n%[1]s-port=%[3]d\n%[1]s-user=%[4]s\n%[1]s-password=%[5]s\n%[1]s-db=%[6]s\n",
		driver, e.target.Host, e.target.Port, e.target.User, e.target.Password, e.target.Database)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", err
	}
	args = append([]string{args[0], "--config-file=" + file, "--db-driver=" + driver, "--tables=" + strconv.Itoa(tables),
		"--table-size=" + strconv.Itoa(l.rows()), "--threads=" + strconv.Itoa(clients)}, args[1:]...)
	return l.stage.Output(ctx, harness.Command{Name: "sysbench", Path: "sysbench", Args: args}, "")
}

// What sysbench 1.0 prints.
var (
	queriesLine = regexp.MustCompile(`(?m)^ *queries: +([0-9]+) +\(([0-9.]+) per sec\.\)`)
	bucketLine  = regexp.MustCompile(`(?m)^ *([0-9.]+) \|\**\s+([0-9]+)$`)
)

// readSysbench reads the number and the rate of queries, and the latencies of transactions from the histogram: that of one is a
// bucket's middle.
func readSysbench(out string) (s sample, err error) {
	match := queriesLine.FindStringSubmatch(out)
	buckets := bucketLine.FindAllStringSubmatch(out, -1)
	if match == nil || buckets == nil {
		return s, errors.New("sysbench printed no figures")
	}
	number := func(text string) float64 {
		n, parse := strconv.ParseFloat(strings.TrimSpace(text), 64)
		err = errors.Join(err, parse)
		return n
	}
	s.count, s.rate = number(match[1]), number(match[2])
	total := 0.0
	for _, b := range buckets {
		total += number(b[2])
	}
	below := 0.0
	for _, b := range buckets {
		below += number(b[2])
		for _, figure := range []struct {
			of    float64
			value *float64
		}{{0.5, &s.p50}, {0.95, &s.p95}, {0.99, &s.p99}} {
			if *figure.value == 0 && below >= figure.of*total {
				*figure.value = number(b[1])
			}
		}
	}
	return s, err
}
