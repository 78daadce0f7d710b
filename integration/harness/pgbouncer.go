package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// PgBouncerConfig says which PgBouncer runs and how.
type PgBouncerConfig struct {
	Name      string
	Root      string // of a system tree to run it in, "" is this machine's own
	PoolSize  int    // server connections
	Plaintext bool   // to the server; TLS unless set
	Cert, Key []byte // PEM: TLS for drivers that ask for it; none unless set
	Settings  string // lines of pgbouncer.ini, in addition to the harness's own
}

// StartPgBouncer starts a PgBouncer in transaction mode before a PostgreSQL of the stage.
func (s *Stage) StartPgBouncer(ctx context.Context, pg *Postgres, config PgBouncerConfig) (Target, *Process, error) {
	target := pg.Target()
	target.Host, target.CAFile = "127.0.0.1", ""
	var err error
	if target.Port, err = FreePort(target.Host); err != nil {
		return target, nil, err
	}
	dir := config.Root + s.Path(config.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return target, nil, err
	}
	serverTLS := "require"
	if config.Plaintext {
		serverTLS = "disable"
	}
	files := map[string]string{}
	if config.Cert != nil {
		files["client.crt"], files["client.key"] = string(config.Cert), string(config.Key)
		config.Settings += fmt.Sprintf("client_tls_sslmode = allow\nclient_tls_cert_file = %[1]s/client.crt\nclient_tls_key_file = %[1]s/client.key\nclient_tls_ca_file = %[1]s/client.crt\n", s.Path(config.Name))
	}
	files["pgbouncer.ini"] = fmt.Sprintf(`[databases]
%s = host=%s port=%d dbname=%s
[pgbouncer]
listen_addr = %s
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s/users.txt
pool_mode = transaction
max_client_conn = 20000
default_pool_size = %d
server_tls_sslmode = %s
log_connections = 0
log_disconnections = 0
ignore_startup_parameters = extra_float_digits
%s
`, target.Database, pg.Addr, pg.Port, target.Database, target.Host, target.Port, s.Path(config.Name), config.PoolSize, serverTLS, config.Settings)
	files["users.txt"] = fmt.Sprintf("%q %q\n", target.User, target.Password)
	command := Command{Name: config.Name, Path: "pgbouncer", Args: []string{s.Path(config.Name, "pgbouncer.ini")}}
	if os.Getuid() == 0 { // it refuses to run as root
		if command.User, err = LookupAccount("nobody"); err != nil {
			return target, nil, err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return target, nil, err
		}
		if command.User != nil {
			if err := os.Chown(filepath.Join(dir, name), int(command.User.UID), int(command.User.GID)); err != nil {
				return target, nil, err
			}
		}
	}
	if config.Root != "" {
		s.onClose(func() error { return os.RemoveAll(config.Root + s.Dir) })
		command.Args = append([]string{config.Root, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", command.Path}, command.Args...)
		command.Path, command.User = "chroot", nil
	}
	p, err := s.Start(command)
	if err != nil {
		return target, nil, err
	}
	return target, p, p.WaitFor(ctx, "a listener", Listening(net.JoinHostPort(target.Host, strconv.Itoa(target.Port))))
}

// PgBouncerVersion returns the release that a StartPgBouncer with the same root runs.
func (s *Stage) PgBouncerVersion(ctx context.Context, root string) (string, error) {
	command := Command{Name: "pgbouncer", Path: "pgbouncer", Args: []string{"--version"}}
	if root != "" {
		command.Path, command.Args = "chroot", []string{root, "pgbouncer", "--version"}
	}
	out, err := s.Output(ctx, command, "")
	first, _, _ := strings.Cut(out, "\n")
	return first, err
}

// Listening is a probe for WaitFor: something accepts TCP connections at the address.
func Listening(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
