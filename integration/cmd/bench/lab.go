package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sluicedb/sluice/integration/harness"
)

// poolSize is every pooler's number of origin connections: more than two cores can keep busy.
const poolSize = 20

// entry is one way to the database.
type entry struct {
	name   string
	about  string
	target harness.Target
	cpu    *harness.Process // whose processor time is measured, nil is nobody's
	tunnel *harness.Process // and that of the tunnel's far end
	server *harness.Sluice  // whose allocations are counted, nil is none
}

// lab is everything that is measured.
type lab struct {
	options
	stage   *harness.Stage
	pgbench string
	entries []entry
}

// newLab raises the servers. The caller closes its stage.
func newLab(ctx context.Context, o options) (l *lab, err error) {
	stage, err := harness.NewStage()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, errors.New(stage.Logs()), stage.Close())
		}
	}()
	l = &lab{options: o, stage: stage}
	pg, err := stage.StartPostgres(ctx, harness.PostgresConfig{Addr: "127.0.0.1", Settings: map[string]string{
		"max_connections": "200", "shared_buffers": "512MB", "log_connections": "off", "autovacuum": "off"}})
	if err != nil {
		return nil, err
	}
	if l.pgbench, err = pgbenchPath(); err != nil {
		return nil, err
	}
	direct := pg.Target()
	direct.CAFile = ""
	fmt.Printf("filling pgbench's tables, %d x 100,000 rows\n", o.scale)
	if _, err := stage.Output(ctx, harness.Command{Name: "pgbench", Path: l.pgbench, Env: direct.Env(),
		Args: []string{"-q", "-i", "-s", fmt.Sprint(o.scale)}}, ""); err != nil {
		return nil, err
	}
	l.entries = []entry{{name: "direct", about: "PostgreSQL itself, plaintext", target: direct}}
	if err := l.addPgBouncer(ctx, pg, "pgbouncer", ""); err != nil {
		return nil, err
	}
	if o.sid != "" {
		if err := l.addPgBouncer(ctx, pg, "pgbouncer-sid", o.sid); err != nil {
			return nil, err
		}
	}
	return l, l.addSluice(ctx, pg)
}

func (l *lab) addPgBouncer(ctx context.Context, pg *harness.Postgres, name, root string) error {
	version, err := l.stage.PgBouncerVersion(ctx, root)
	if err != nil {
		return err
	}
	config := harness.PgBouncerConfig{Name: name, Root: root, PoolSize: poolSize}
	if root != "" {
		config.Settings = "max_prepared_statements = 200\n" // from 1.21 on
	}
	target, p, err := l.stage.StartPgBouncer(ctx, pg, config)
	if err != nil {
		return err
	}
	l.entries = append(l.entries, entry{name: name, about: version + ", transaction mode", target: target, cpu: p})
	return nil
}

func pgbenchPath() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	bin, err := harness.PostgresBin()
	return filepath.Join(bin, "pgbench"), err
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
