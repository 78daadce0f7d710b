package harness

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/go-sql-driver/mysql"
)

// The one database of a stage's MySQL.
const (
	MySQLUser     = "app"
	MySQLDatabase = "orders"
)

// MySQLConfig says which server runs, and where and how.
type MySQLConfig struct {
	MariaDB   bool              // instead of MySQL
	Addr      string            // the only address it listens on
	Port      int               // 0 is a free one of Addr
	Namespace *Namespace        // nil is the machine's own network
	Settings  map[string]string // options without their dashes, in addition to the harness's own
}

// MySQL is a MySQL or MariaDB with TLS, one user and one database. MySQL's user has
// caching_sha2_password, MariaDB's mysql_native_password. The user root connects by the unix
// socket alone, with no password.
type MySQL struct {
	Addr     string // as configured
	Port     int
	Socket   string
	CAFile   string // of the server's certificate
	Password string // of MySQLUser

	stage  *Stage
	config MySQLConfig
	name   string
	dir    string
	ca     *CA
	proc   *Process
}

// StartMySQL makes a new data directory and starts a server on it. It returns when the server
// answers. A stage has at most one MySQL and one MariaDB.
func (s *Stage) StartMySQL(ctx context.Context, config MySQLConfig) (*MySQL, error) {
	m := &MySQL{Addr: config.Addr, Port: config.Port, Password: rand.Text(), stage: s, config: config, name: "mysql"}
	if config.MariaDB {
		m.name = "mariadb"
	}
	m.dir = s.Path(m.name)
	m.Socket, m.CAFile = filepath.Join(m.dir, "socket"), filepath.Join(m.dir, "ca.crt")
	s.Secret("origin password", m.Password)
	if m.Port == 0 {
		m.Port = 3306
		if config.Namespace == nil {
			var err error
			if m.Port, err = FreePort(m.Addr); err != nil {
				return nil, err
			}
		}
	}
	if err := m.initialize(ctx); err != nil {
		return nil, fmt.Errorf("make a data directory of %s: %w", m.name, err)
	}
	if err := m.Start(ctx); err != nil {
		return nil, err
	}
	return m, m.createDatabase(ctx)
}

// program is the server's, with the options that it needs to find itself.
func (m *MySQL) program() (string, error) {
	if m.config.MariaDB {
		return "mariadbd", nil
	}
	dir := os.Getenv("SLUICE_MYSQL")
	if dir == "" {
		dir = "/var/cache/sluice/mysql" // scripts/install.sh
	}
	path := filepath.Join(dir, "mysqld")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no MySQL server on this machine: run `make install`")
	}
	return path, nil
}

// Installed reports whether this machine has the server that c names.
func (c MySQLConfig) Installed() bool {
	program, err := (&MySQL{config: c}).program()
	if err == nil {
		_, err = exec.LookPath(program)
	}
	return err == nil
}

// throwaway are options for data that nobody keeps: nothing waits for the disk.
var throwaway = []string{"--innodb-flush-method=nosync", "--innodb-doublewrite=0", "--innodb-buffer-pool-size=64M", "--skip-log-bin"}

// initialize makes the keys and the data directory.
func (m *MySQL) initialize(ctx context.Context) error {
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return err
	}
	var err error
	if m.ca, err = NewCA("origin"); err != nil {
		return err
	}
	cert, key, err := m.ca.Issue("localhost", "127.0.0.1", "db.internal.example", m.Addr)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"ca.crt": m.ca.PEM, "server.crt": cert, "server.key": key} {
		if err := os.WriteFile(filepath.Join(m.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	data := "--datadir=" + filepath.Join(m.dir, "data")
	command := Command{Name: m.name + "-init"}
	if m.config.MariaDB {
		command.Path = "mariadb-install-db"
		command.Args = []string{"--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", "--skip-name-resolve", "--innodb-log-file-size=8M", data}
	} else {
		if command.Path, err = m.program(); err != nil {
			return err
		}
		command.Args = []string{"--initialize-insecure", "--innodb-redo-log-capacity=16M", "--auto-generate-certs=OFF",
			"--caching-sha2-password-auto-generate-rsa-keys=OFF", data}
	}
	command.Args = append(command.Args, throwaway...)
	if user := m.user(); user != "" {
		command.Args = append(command.Args, user)
	}
	_, err = m.stage.Output(ctx, command, "")
	return err
}

// user is the option without which the servers do not run as root.
func (m *MySQL) user() string {
	if os.Getuid() == 0 {
		return "--user=root"
	}
	return ""
}

func (m *MySQL) args() []string {
	args := append([]string{
		"--datadir=" + filepath.Join(m.dir, "data"), "--socket=" + m.Socket, "--pid-file=" + filepath.Join(m.dir, "pid"),
		"--bind-address=" + m.Addr, "--port=" + strconv.Itoa(m.Port), "--skip-name-resolve",
		"--ssl-ca=" + m.CAFile, "--ssl-cert=" + filepath.Join(m.dir, "server.crt"), "--ssl-key=" + filepath.Join(m.dir, "server.key"),
		"--innodb-flush-log-at-trx-commit=0", "--performance-schema=ON", "--max-allowed-packet=128M", "--local-infile=1", "--secure-file-priv=",
	}, throwaway...)
	if m.config.MariaDB {
		args = append([]string{"--no-defaults"}, append(args, "--innodb-log-file-size=8M")...)
	} else {
		args = append(args, "--mysqlx=OFF", "--innodb-redo-log-capacity=16M")
	}
	if user := m.user(); user != "" {
		args = append(args, user)
	}
	for name, value := range m.config.Settings {
		args = append(args, "--"+name+"="+value)
	}
	return args
}

// Start starts the server again after Stop or Kill, with the same data, and returns when it answers.
func (m *MySQL) Start(ctx context.Context) error {
	path, err := m.program()
	if err != nil {
		return err
	}
	m.proc, err = m.stage.Start(Command{Name: m.name, Path: path, Args: m.args(), Namespace: m.config.Namespace})
	if err != nil {
		return err
	}
	admin := m.Admin()
	defer admin.Close()
	return m.proc.WaitFor(ctx, "an answer", admin.PingContext)
}

func (m *MySQL) createDatabase(ctx context.Context) error {
	admin := m.Admin()
	defer admin.Close()
	for _, text := range []string{
		// the password is text of this process's own making, without a quote in it
		fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", MySQLUser, m.Password),
		fmt.Sprintf("CREATE DATABASE %s", MySQLDatabase),
		fmt.Sprintf("GRANT ALL ON %s.* TO %s@'%%'", MySQLDatabase, MySQLUser),
	} {
		if _, err := admin.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// quiet says nothing of failed connections, which are tried again.
type quiet struct{}

func (quiet) Print(...any) {}

// ConnectMySQL connects to a target that speaks MySQL's protocol. Close it.
func (t Target) ConnectMySQL() (*sql.DB, error) {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = t.User, t.Password, t.Database
	config.Net, config.Addr = "tcp", net.JoinHostPort(t.Host, strconv.Itoa(t.Port))
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		config.TLS = &tls.Config{RootCAs: roots, ServerName: t.Host}
	}
	return open(config), nil
}

// Admin connects as root, by the unix socket. Close it.
func (m *MySQL) Admin() *sql.DB {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr, config.Logger = "root", "unix", m.Socket, quiet{}
	return open(config)
}

// Connect connects as the user by the way a neighbour would: over TLS to the server's address,
// from inside its namespace if it has one. Close it.
func (m *MySQL) Connect() *sql.DB {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(m.ca.PEM)
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = MySQLUser, m.Password, MySQLDatabase
	config.Net, config.Addr = "tcp", m.Address()
	config.TLS = &tls.Config{RootCAs: roots, ServerName: m.Addr}
	if ns := m.config.Namespace; ns != nil {
		config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) { return ns.Dial(ctx, network, addr) }
	}
	return open(config)
}

func open(config *mysql.Config) *sql.DB {
	connector, err := mysql.NewConnector(config)
	if err != nil {
		panic(err) // the configuration is this package's own
	}
	return sql.OpenDB(connector)
}

// Address is the server's, as host:port.
func (m *MySQL) Address() string { return net.JoinHostPort(m.Addr, strconv.Itoa(m.Port)) }

// Target is the server's own address as a target for drivers beside it, without TLS.
func (m *MySQL) Target() Target {
	return Target{Host: m.Addr, Port: m.Port, User: MySQLUser, Password: m.Password, Database: MySQLDatabase}
}

// Origin is the server's address as a connector's service.
func (m *MySQL) Origin() string { return "tcp://" + m.Address() }

// ClientCertificate makes a certificate for a user of whom REQUIRE X509 asks one, with its key.
func (m *MySQL) ClientCertificate(user string) (tls.Certificate, error) {
	cert, key, err := m.ca.Issue(user)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// Stop ends the server in order.
func (m *MySQL) Stop() error { return m.proc.Stop(stopGrace) }

// Kill ends the server with SIGKILL: clients see their sockets close.
func (m *MySQL) Kill() { m.proc.Kill() }

// Process is the server's process.
func (m *MySQL) Process() *Process { return m.proc }
