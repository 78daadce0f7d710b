package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/sluicedb/sluice/integration/harness"
)

// poolSize is every pooler's number of origin connections: more than two cores can keep busy.
const poolSize = 20

// ways says which hops of an entry are encrypted. A tunnel's are in any case.
type ways int

const (
	plaintext ways = iota // none
	driverTLS             // from the driver to the pooler
	originTLS             // from the pooler to the origin
)

// entry is one way to the database.
type entry struct {
	name    string
	about   string
	ways    ways // originTLS, or plaintext, to which drivers may speak TLS as well
	target  harness.Target
	cpu     *harness.Process // whose processor time is measured, nil is nobody's
	tunnel  *harness.Process // and that of the tunnel's far end
	metrics string           // URL of the figures of a process in Go, "" is none
	alone   bool             // it is a lone, and can be profiled
	abroad  bool             // it is the other dialect's
	noTLS   bool             // no certificate of ours is shown to drivers
}

// lab is everything that is measured of one dialect.
type lab struct {
	options
	stage   *harness.Stage
	entries []entry

	load    func(l *lab, ctx context.Context, e entry, w workload, clients int) (sample, error) // one round, by a program
	program string                                                                              // its name
	pgbench string                                                                              // its path
	counted string                                                                              // what it counts, a second
	peers   []string                                                                            // names of those that all are set beside; of the last the processor time too
	calls   workload                                                                            // that system calls are counted of
	connect func(ctx context.Context, target harness.Target) (closing func(), err error)        // a driver

	cert, key []byte // PEM, of the poolers that drivers speak TLS to
	caFile    string // that it is checked with
}

// on are the entries that are encrypted in a way, as drivers reach them so.
func (l *lab) on(w ways) []entry {
	var some []entry
	for _, e := range l.entries {
		switch {
		case l.only != "" && !slices.Contains(strings.Split(l.only, ","), e.name):
		case w == driverTLS && e.ways == plaintext && e.tunnel == nil && !e.noTLS:
			if e.cpu != nil { // PostgreSQL's own certificate is another's
				e.target.CAFile = l.caFile
			}
			some = append(some, e)
		case w == e.ways:
			some = append(some, e)
		}
	}
	return some
}

// introduce says what is measured.
func (l *lab) introduce() {
	for _, e := range l.entries {
		fmt.Printf("  %-20s %s\n", e.name, e.about)
	}
	fmt.Printf("%s, medians of %d rounds of %d s\n", l.program, l.rounds, l.seconds)
}

// newPostgres raises the servers. The caller closes its stage.
func newPostgres(ctx context.Context, o options) (l *lab, err error) {
	stage, err := harness.NewStage()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, errors.New(stage.Logs()), stage.Close())
		}
	}()
	l = &lab{options: o, stage: stage, load: runPgbench, program: "pgbench", counted: "tps", peers: []string{"direct", "pgbouncer"},
		calls: workload{args: []string{"-S", "-M", "prepared"}}, connect: connectPostgres}
	// Every pooler keeps its connections while pgbench makes up to 64 of its own.
	pg, err := stage.StartPostgres(ctx, harness.PostgresConfig{Addr: "127.0.0.1", Settings: map[string]string{
		"max_connections": "300", "shared_buffers": "512MB", "log_connections": "off", "autovacuum": "off"}})
	if err != nil {
		return nil, err
	}
	if l.pgbench, err = pgbenchPath(); err != nil {
		return nil, err
	}
	if err := l.certify(); err != nil {
		return nil, err
	}
	direct := pg.Target()
	encrypted := direct
	direct.CAFile = ""
	fmt.Printf("filling pgbench's tables, %d x 100,000 rows\n", o.scale)
	if _, err := stage.Output(ctx, harness.Command{Name: "pgbench", Path: l.pgbench, Env: direct.Env(),
		Args: []string{"-q", "-i", "-s", fmt.Sprint(o.scale)}}, ""); err != nil {
		return nil, err
	}
	l.entries = []entry{
		{name: "direct", about: "PostgreSQL itself", target: direct},
		{name: "direct+tls", about: "PostgreSQL itself, TLS", target: encrypted, ways: originTLS},
	}
	if err := l.addPgBouncer(ctx, pg, "pgbouncer", ""); err != nil {
		return nil, err
	}
	if o.sid != "" {
		if err := l.addPgBouncer(ctx, pg, "pgbouncer-sid", o.sid); err != nil {
			return nil, err
		}
	}
	own, err := l.startLone(ctx, "sluice", lone{Origin: pg.Target()})
	if err != nil {
		return nil, err
	}
	l.entries = append(l.entries, own)
	if err := l.addSluice(ctx, pg); err != nil {
		return nil, err
	}
	return l, nil
}

// certify makes the certificate of the poolers.
func (l *lab) certify() error {
	ca, err := harness.NewCA("poolers")
	if err != nil {
		return err
	}
	if l.cert, l.key, err = ca.Issue("127.0.0.1"); err != nil {
		return err
	}
	l.caFile = l.stage.Path("poolers.crt")
	return os.WriteFile(l.caFile, ca.PEM, 0o644)
}

// addPgBouncer adds a PgBouncer without TLS to the server, and one with it.
func (l *lab) addPgBouncer(ctx context.Context, pg *harness.Postgres, name, root string) error {
	version, err := l.stage.PgBouncerVersion(ctx, root)
	if err != nil {
		return err
	}
	for _, w := range []ways{plaintext, originTLS} {
		config := harness.PgBouncerConfig{Name: name, Root: root, PoolSize: poolSize, Plaintext: w == plaintext, Cert: l.cert, Key: l.key}
		about := version + ", transaction mode"
		if w == originTLS {
			config.Name, about = name+"+tls", about+", TLS to the server"
		}
		if root != "" {
			config.Settings = "max_prepared_statements = 200\n" // from 1.21 on
		}
		target, p, err := l.stage.StartPgBouncer(ctx, pg, config)
		if err != nil {
			return err
		}
		l.entries = append(l.entries, entry{name: config.Name, about: about, ways: w, target: target, cpu: p})
	}
	return nil
}

// machine is one line about where the figures were taken.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores, %s, %s", runtime.NumCPU(), model, runtime.Version())
}
