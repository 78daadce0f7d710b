package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// RouterConfig says how a MySQL Router runs.
type RouterConfig struct {
	Name     string
	Share    bool // server connections between clients, to whom it offers TLS with a certificate of the server's authority
	PoolSize int  // server connections that it keeps idle
}

// StartRouter starts a MySQL Router before a MySQL of the stage. Without sharing a client has a server connection of its own, and
// its bytes, TLS among them, are passed on.
func (s *Stage) StartRouter(ctx context.Context, my *MySQL, config RouterConfig) (Target, *Process, error) {
	target := my.Target()
	var err error
	if target.Port, err = FreePort(target.Host); err != nil {
		return target, nil, err
	}
	root := os.Getenv("SLUICE_MYSQLROUTER")
	if root == "" {
		root = "/var/cache/sluice/mysqlrouter" // scripts/install.sh
	}
	path := filepath.Join(root, "mysqlrouter")
	if _, err := os.Stat(path); err != nil {
		return target, nil, fmt.Errorf("no MySQL Router on this machine: run `scripts/install.sh mysqlrouter`")
	}
	dir := s.Path(config.Name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return target, nil, err
	}
	modes := "client_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT\n"
	files := map[string]string{}
	if config.Share {
		modes = fmt.Sprintf("client_ssl_mode=PREFERRED\nserver_ssl_mode=DISABLED\nconnection_sharing=1\nclient_ssl_cert=%[1]s/client.crt\nclient_ssl_key=%[1]s/client.key\n", dir)
		cert, key, err := my.ca.IssueRSA(target.Host) // a client without TLS encrypts its password for it
		if err != nil {
			return target, nil, err
		}
		files["client.crt"], files["client.key"] = string(cert), string(key)
	}
	files["router.conf"] = fmt.Sprintf(`[DEFAULT]
logging_folder=
runtime_folder=%[1]s
data_folder=%[1]s
plugin_folder=%[2]s/tree/usr/lib/mysqlrouter/plugin
max_total_connections=20000
[logger]
level=WARNING
[connection_pool]
max_idle_server_connections=%[3]d
[routing:bench]
bind_address=%[4]s
bind_port=%[5]d
destinations=%[6]s
routing_strategy=first-available
protocol=classic
max_connections=20000
%[7]s`, dir, root, config.PoolSize, target.Host, target.Port, my.Address(), modes)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return target, nil, err
		}
	}
	p, err := s.Start(Command{Name: config.Name, Path: path, Args: []string{"-c", filepath.Join(dir, "router.conf")}})
	if err != nil {
		return target, nil, err
	}
	return target, p, p.WaitFor(ctx, "a listener", Listening(net.JoinHostPort(target.Host, strconv.Itoa(target.Port))))
}
