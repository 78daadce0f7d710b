package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"

	"github.com/sluicedb/sluice/integration/harness"
)

// lab is everything that is measured.
type lab struct {
	options
	stage   *harness.Stage
	ways    []way
	plain   way    // the proxy with caching disabled
	metrics string // URL of the proxy's figures
}

// A way is a server that is asked.
type way struct {
	name   string
	target harness.Target // of those that speak a database's protocol
	mysql  bool           // which is MySQL's
	addr   string         // of those that do not
	speak  func(q question) (greeting, ask []byte)
}

// cacheBytes is what each cache may keep: 100,000 results of 200 bytes several times over.
const cacheBytes = 512 << 20

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
	pg, err := stage.StartPostgres(ctx, harness.PostgresConfig{Addr: "127.0.0.1",
		HBA:      []string{"hostnossl all all 127.0.0.1/32 trust"}, // pgpool can pass no SCRAM on by itself
		Settings: map[string]string{"max_connections": "300", "log_connections": "off", "autovacuum": "off"}})
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, pg); err != nil {
		return nil, err
	}
	origin := pg.Target()
	origin.CAFile = ""
	for _, add := range []struct {
		name string
		way  func(context.Context, *harness.Postgres) (way, error)
	}{{"echo", l.startEcho}, {"redis", l.startRedis}, {"pgpool", l.startPgpool}, {"pgbouncer", l.startPgBouncer},
		{"origin", func(context.Context, *harness.Postgres) (way, error) { return way{target: origin}, nil }}, {"sluice", func(ctx context.Context, _ *harness.Postgres) (way, error) { return l.startProxy(ctx, origin, false) }}} {
		if add.name != "sluice" && o.ways != nil && !slices.Contains(o.ways, add.name) {
			continue
		}
		w, err := add.way(ctx, pg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", add.name, err)
		}
		w.name = add.name
		l.ways = append(l.ways, w)
	}
	return l, nil
}

// fill makes the table that is asked. Its keys are the sizes of their bodies in bytes.
func fill(ctx context.Context, pg *harness.Postgres) error {
	conn, err := pg.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		"create table bodies (id bigint primary key, body text not null)",
		"alter table bodies alter body set storage external",
		fmt.Sprintf("insert into bodies select i, repeat('x', 200) from generate_series(0, %d) i where i <> 200", rows-1),
		"insert into bodies values (200, repeat('x', 200)), (10000, repeat('x', 10000))",
		"vacuum analyze bodies",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// rows are in the table that is asked.
const rows = 10_000

func freeAddress() (string, error) {
	port, err := harness.FreePort("127.0.0.1")
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

func (l *lab) startEcho(ctx context.Context, _ *harness.Postgres) (way, error) {
	w := way{speak: echoQuestion}
	self, err := os.Executable()
	if err != nil {
		return w, err
	}
	if w.addr, err = freeAddress(); err != nil {
		return w, err
	}
	p, err := l.stage.Start(harness.Command{Name: "echo", Path: self, Args: []string{"-echo", w.addr}})
	if err != nil {
		return w, err
	}
	return w, p.WaitFor(ctx, "a listener", harness.Listening(w.addr))
}

func (l *lab) startRedis(ctx context.Context, _ *harness.Postgres) (way, error) {
	w := way{speak: redisQuestion}
	var err error
	if w.addr, err = freeAddress(); err != nil {
		return w, err
	}
	_, port, _ := net.SplitHostPort(w.addr)
	p, err := l.stage.Start(harness.Command{Name: "redis", Path: "redis-server",
		Args: []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", l.stage.Dir}})
	if err != nil {
		return w, err
	}
	if err := p.WaitFor(ctx, "a listener", harness.Listening(w.addr)); err != nil {
		return w, err
	}
	return w, fillRedis(ctx, w.addr)
}

func (l *lab) startPgBouncer(ctx context.Context, pg *harness.Postgres) (way, error) {
	target, _, err := l.stage.StartPgBouncer(ctx, pg, harness.PgBouncerConfig{Name: "pgbouncer", PoolSize: poolSize, Plaintext: true})
	return way{target: target}, err
}

// startPgpool starts a pgpool-II that does nothing but pool connections and cache results.
func (l *lab) startPgpool(ctx context.Context, pg *harness.Postgres) (way, error) {
	w := way{target: pg.Target()}
	w.target.CAFile = ""
	dir := l.stage.Path("pgpool")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return w, err
	}
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = harness.FreePort("127.0.0.1"); err != nil {
			return w, err
		}
	}
	w.target.Port = ports[0]
	command := harness.Command{Name: "pgpool", Path: "pgpool", Args: []string{"-n", "-f", dir + "/pgpool.conf"}}
	if os.Getuid() == 0 {
		var err error
		if command.User, err = harness.LookupAccount("postgres"); err != nil {
			return w, err
		}
		if err := os.Chown(dir, int(command.User.UID), int(command.User.GID)); err != nil {
			return w, err
		}
	}
	config := fmt.Sprintf(`backend_clustering_mode = 'raw'
listen_addresses = '127.0.0.1'
port = %d
pcp_port = %d
socket_dir = '%[3]s'
pcp_socket_dir = '%[3]s'
pid_file_name = '%[3]s/pgpool.pid'
logdir = '%[3]s'
backend_hostname0 = '127.0.0.1'
backend_port0 = %[4]d
backend_data_directory0 = ''
num_init_children = 100
max_pool = 1
child_life_time = 0
memory_cache_enabled = on
memqcache_method = 'shmem'
memqcache_total_size = %[5]d
memqcache_max_num_cache = 1000000
memqcache_expire = 0
memqcache_oiddir = '%[3]s/oids'
`, ports[0], ports[1], dir, pg.Port, cacheBytes)
	if err := os.WriteFile(dir+"/pgpool.conf", []byte(config), 0o644); err != nil {
		return w, err
	}
	p, err := l.stage.Start(command)
	if err != nil {
		return w, err
	}
	return w, p.WaitFor(ctx, "an answer", func(ctx context.Context) error {
		conn, err := w.target.Connect(ctx)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

// startProxy starts the proxy before an origin.
func (l *lab) startProxy(ctx context.Context, origin harness.Target, mysql bool) (way, error) {
	w := way{mysql: mysql}
	var addrs [2]string
	for i := range addrs {
		var err error
		if addrs[i], err = freeAddress(); err != nil {
			return w, err
		}
	}
	text, err := json.Marshal(proxy{MySQL: mysql, Listen: addrs[0], Metrics: addrs[1], Origin: origin, CacheBytes: cacheBytes})
	if err != nil {
		return w, err
	}
	file := l.stage.Path("proxy.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return w, err
	}
	self, err := os.Executable()
	if err != nil {
		return w, err
	}
	p, err := l.stage.Start(harness.Command{Name: "sluice", Path: self, Args: []string{"-serve", file}})
	if err != nil {
		return w, err
	}
	l.metrics = "http://" + addrs[1]
	w.target, l.plain.target = origin, origin
	host, port, _ := net.SplitHostPort(addrs[0])
	w.target.Host, l.plain.target.Host = host, host
	if w.target.Port, err = strconv.Atoi(port); err != nil {
		return w, err
	}
	l.plain.target.Port = w.target.Port
	w.target.Database, l.plain.target.Database = cachedName, uncachedName
	w.name, l.plain.name = "sluice", uncachedName
	return w, p.WaitFor(ctx, "a listener", harness.Listening(addrs[0]))
}
