package harness

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// The one database of a stage's PostgreSQL.
const (
	PostgresUser     = "app"
	PostgresDatabase = "orders"
)

// PostgresConfig says where and how a PostgreSQL runs.
type PostgresConfig struct {
	Addr      string            // the only address it listens on
	Port      int               // 0 is a free one of Addr
	Namespace *Namespace        // nil is the machine's own network
	Settings  map[string]string // of postgresql.conf, in addition to the harness's own
	HBA       []string          // lines of pg_hba.conf before the harness's own
}

// Postgres is a PostgreSQL with TLS and scram-sha-256, one login role and one database. The
// superuser connects by the unix socket alone.
type Postgres struct {
	Addr      string // as configured
	Port      int
	SocketDir string
	CAFile    string // of the server's certificate
	Password  string // of PostgresUser

	stage  *Stage
	config PostgresConfig
	bin    string
	data   string
	ca     *CA
	user   *Account
	proc   *Process
}

// StartPostgres makes a new cluster and starts it. It returns when the server answers.
func (s *Stage) StartPostgres(ctx context.Context, config PostgresConfig) (*Postgres, error) {
	bin, err := PostgresBin()
	if err != nil {
		return nil, err
	}
	p := &Postgres{Addr: config.Addr, Port: config.Port, SocketDir: s.Path("pg"), data: s.Path("pg", "data"), CAFile: s.Path("pg", "ca.crt"),
		Password: rand.Text(), stage: s, config: config, bin: bin}
	s.Secret("origin password", p.Password)
	if p.Port == 0 {
		p.Port = 5432
		if config.Namespace == nil {
			if p.Port, err = FreePort(p.Addr); err != nil {
				return nil, err
			}
		}
	}
	if os.Getuid() == 0 { // it refuses to run as root
		if p.user, err = LookupAccount("postgres"); err != nil {
			return nil, err
		}
	}
	if err := p.initialize(ctx); err != nil {
		return nil, fmt.Errorf("make a PostgreSQL cluster: %w", err)
	}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return p, p.createDatabase(ctx)
}

// PostgresBin returns the directory of PostgreSQL's server programs: SLUICE_POSTGRES_BIN, or the
// machine's own, the newest release's where there are several.
func PostgresBin() (string, error) {
	if dir := os.Getenv("SLUICE_POSTGRES_BIN"); dir != "" {
		return dir, nil
	}
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // where Debian keeps them
	if err != nil {
		return "", err
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			dirs = append(dirs, filepath.Join(dir, "initdb"))
		}
	}
	if len(dirs) == 0 {
		return "", fmt.Errorf("no PostgreSQL server on this machine: run `make install`")
	}
	release := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(dirs, func(a, b string) int { return release(a) - release(b) })), nil
}

// initialize makes the cluster: keys, data directory, configuration.
func (p *Postgres) initialize(ctx context.Context) error {
	if err := os.Mkdir(p.SocketDir, 0o755); err != nil {
		return err
	}
	var err error
	if p.ca, err = NewCA("origin"); err != nil {
		return err
	}
	cert, key, err := p.ca.Issue("localhost", "127.0.0.1", "db.internal.example", p.Addr)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"ca.crt": p.ca.PEM, "server.crt": cert, "server.key": key} {
		path := filepath.Join(p.SocketDir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
		if err := p.own(path); err != nil {
			return err
		}
	}
	if err := p.own(p.SocketDir); err != nil {
		return err
	}
	if err := os.Chmod(p.CAFile, 0o644); err != nil {
		return err
	}
	_, err = p.stage.Output(ctx, Command{Name: "initdb", Path: filepath.Join(p.bin, "initdb"), User: p.user,
		Args: []string{"-D", p.data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"}}, "")
	if err != nil {
		return err
	}
	hba := strings.Join(append(p.config.HBA, ""), "\n") + "local all postgres trust\nlocal all all scram-sha-256\nhostssl all all all scram-sha-256\nhostnossl all all samehost scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(p.data, "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(p.data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for name, value := range p.settings() {
		if _, err := fmt.Fprintf(f, "%s = '%s'\n", name, value); err != nil {
			return err
		}
	}
	return f.Close()
}

func (p *Postgres) own(path string) error {
	if p.user == nil {
		return nil
	}
	return os.Chown(path, int(p.user.UID), int(p.user.GID))
}

func (p *Postgres) settings() map[string]string {
	settings := map[string]string{
		"listen_addresses":        p.Addr,
		"port":                    strconv.Itoa(p.Port),
		"unix_socket_directories": p.SocketDir,
		"ssl":                     "on",
		"ssl_cert_file":           filepath.Join(p.SocketDir, "server.crt"),
		"ssl_key_file":            filepath.Join(p.SocketDir, "server.key"),
		"ssl_ca_file":             p.CAFile, // of clients' certificates, for whom HBA asks for one
		"password_encryption":     "scram-sha-256",
		"max_connections":         "100",
		"log_connections":         "on",
		"log_line_prefix":         "%m [%p] ",
		// the data is thrown away
		"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
	}
	for name, value := range p.config.Settings {
		settings[name] = value
	}
	return settings
}

// Start starts the server again after Stop or Kill, with the same data, and returns when it answers.
func (p *Postgres) Start(ctx context.Context) error {
	var err error
	p.proc, err = p.stage.Start(Command{Name: "postgres", Path: filepath.Join(p.bin, "postgres"), Args: []string{"-D", p.data},
		User: p.user, Namespace: p.config.Namespace, Stop: syscall.SIGINT})
	if err != nil {
		return err
	}
	return p.proc.WaitFor(ctx, "an answer", func(ctx context.Context) error {
		conn, err := p.Admin(ctx)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

func (p *Postgres) createDatabase(ctx context.Context) error {
	conn, err := p.Admin(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		// the password is text of this process's own making, without a quote in it
		fmt.Sprintf("create role %s login password '%s'", PostgresUser, p.Password),
		fmt.Sprintf("create database %s owner %s", PostgresDatabase, PostgresUser),
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// Admin connects as the superuser, by the unix socket. Close the connection.
func (p *Postgres) Admin(ctx context.Context) (*pgx.Conn, error) {
	return p.connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", p.SocketDir, p.Port), nil)
}

// Connect connects as the login role by the way a neighbour would: over TLS to the server's
// address, from inside its namespace if it has one. Close the connection.
func (p *Postgres) Connect(ctx context.Context) (*pgx.Conn, error) { return p.ConnectWith(ctx) }

// ConnectWith is Connect with parameters of the start-up packet, names and values.
func (p *Postgres) ConnectWith(ctx context.Context, params ...string) (*pgx.Conn, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.ca.PEM)
	return p.connect(ctx, fmt.Sprintf("host=%s port=%d user=%s dbname=%s password=%s sslmode=require", p.Addr, p.Port, PostgresUser, PostgresDatabase, p.Password),
		&tls.Config{RootCAs: roots, ServerName: p.Addr}, params...)
}

func (p *Postgres) connect(ctx context.Context, dsn string, tlsConfig *tls.Config, params ...string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(params); i += 2 {
		config.RuntimeParams[params[i]] = params[i+1]
	}
	if tlsConfig != nil {
		config.TLSConfig = tlsConfig
		config.Fallbacks = nil
		if ns := p.config.Namespace; ns != nil {
			config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) { return ns.Dial(ctx, network, addr) }
		}
	}
	return pgx.ConnectConfig(ctx, config)
}

// Origin is the server's address as a connector's service.
func (p *Postgres) Origin() string {
	return "tcp://" + net.JoinHostPort(p.Addr, strconv.Itoa(p.Port))
}

var received = regexp.MustCompile(`connection received: host=[^\[]`)

// Connections counts the connections that ever reached the server's address, from its own log.
func (p *Postgres) Connections() int {
	return len(received.FindAllString(p.proc.Log(), -1))
}

// ClientCertificate makes a certificate for a role, which HBA's method cert accepts, with its key.
func (p *Postgres) ClientCertificate(role string) (tls.Certificate, error) {
	cert, key, err := p.ca.Issue(role)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// Demote starts the server again as a standby, which only reads.
func (p *Postgres) Demote(ctx context.Context) error {
	if err := p.Stop(); err != nil {
		return err
	}
	signal := filepath.Join(p.data, "standby.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		return err
	}
	if err := p.own(signal); err != nil {
		return err
	}
	return p.Start(ctx)
}

// Stop ends the server in order, telling its clients.
func (p *Postgres) Stop() error { return p.proc.Stop(stopGrace) }

// Kill ends the server and its backends with SIGKILL: clients see their sockets close.
func (p *Postgres) Kill() { p.proc.Kill() }

// Process is the server's process.
func (p *Postgres) Process() *Process { return p.proc }
