package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// apiTokenPrefix starts every API token of control's.
const apiTokenPrefix = "slat_"

// Sluice is an installation of this module's programs on a stage: the addresses that its roles
// share, and a command line that talks to them.
type Sluice struct {
	Bin     string // directory of the programs
	DataDir string
	CAFile  string // of API, relay and proxy
	Host    string // the address that all of them listen on

	APIPort, RelayPort, ProxyPort, MySQLPort int

	Relays    []string   // that tokens name and the proxy uses; its own alone unless set
	Namespace *Namespace // of its roles and of the command line; nil is the machine's own network

	Metrics string // URL of the metrics of the role that was started last

	name  string // of the node, "" is the first
	keys  string // the keyset that all nodes share
	stage *Stage
	env   []string // of the command line and of every role: a token, an address, a CA
	store string   // URL of an external store, "" is the embedded one
}

// NewSluice chooses addresses for an installation whose programs are in bin, on a host of this
// machine. It starts nothing.
func (s *Stage) NewSluice(bin, host string) (*Sluice, error) {
	sl := &Sluice{Host: host, stage: s}
	for _, port := range []*int{&sl.APIPort, &sl.RelayPort, &sl.ProxyPort, &sl.MySQLPort} {
		var err error
		if *port, err = FreePort(host); err != nil {
			return nil, err
		}
	}
	sl.init(bin)
	return sl, nil
}

// NewSluiceIn is NewSluice for a namespace of its own, where every port is free.
func (s *Stage) NewSluiceIn(ns *Namespace, bin, host string) *Sluice {
	sl := &Sluice{Host: host, APIPort: 8443, RelayPort: 7844, ProxyPort: 6432, MySQLPort: 6033, Namespace: ns, stage: s} // the programs' own defaults
	sl.init(bin)
	return sl
}

func (sl *Sluice) init(bin string) {
	sl.Bin, sl.DataDir, sl.CAFile = bin, sl.stage.Path("data"), sl.stage.Path("data", "ca.pem")
	sl.keys = filepath.Join(sl.DataDir, "keyset.json")
	sl.env = []string{"SLUICE_API_URL=https://" + sl.address(sl.APIPort), "SLUICE_CA_FILE=" + sl.CAFile}
}

// Node is another machine of the installation, whose roles run in a namespace of their own at host. Control must run already.
func (sl *Sluice) Node(name string, ns *Namespace, host string) *Sluice {
	node := *sl
	node.name, node.Namespace, node.Host, node.DataDir = name, ns, host, sl.stage.Path("data-"+name)
	return &node
}

func (sl *Sluice) address(port int) string { return net.JoinHostPort(sl.Host, strconv.Itoa(port)) }

// Env is the environment in which the command line finds this installation.
func (sl *Sluice) Env() []string { return sl.env }

// StartServer starts control, relay and proxy in one process, and gives the command line the
// first API token that it prints.
func (sl *Sluice) StartServer(ctx context.Context, extra ...string) (*Process, error) {
	return sl.startRole(ctx, "server", extra, "--data-dir", sl.DataDir, "--public-host", sl.Host,
		"--api-listen", sl.address(sl.APIPort), "--relay-listen", sl.address(sl.RelayPort), "--proxy-listen", sl.address(sl.ProxyPort), "--mysql-listen", sl.address(sl.MySQLPort))
}

// Apart makes the roles that are started from now on keep their state in a NATS cluster, so that
// they can be processes of their own.
func (sl *Sluice) Apart(store string) { sl.store = store }

// StartControl starts control alone, and gives the command line the first API token.
func (sl *Sluice) StartControl(ctx context.Context) (*Process, error) {
	return sl.startRole(ctx, "control", nil, "--data-dir", sl.DataDir, "--public-host", sl.Host, "--api-listen", sl.address(sl.APIPort),
		"--relay-advertise", sl.relays(), "--proxy-advertise", sl.address(sl.ProxyPort))
}

// StartRelay starts a relay alone. It shares the keyset that control made.
func (sl *Sluice) StartRelay(ctx context.Context) (*Process, error) {
	return sl.startRole(ctx, "relay", nil, "--data-dir", sl.DataDir+"-relay", "--keyset-file", sl.KeysetFile(), "--public-host", sl.Host, "--relay-listen", sl.address(sl.RelayPort))
}

// StartProxy starts a proxy alone, which reaches origins through the relay.
func (sl *Sluice) StartProxy(ctx context.Context) (*Process, error) {
	return sl.startRole(ctx, "proxy", nil, "--data-dir", sl.DataDir+"-proxy", "--keyset-file", sl.KeysetFile(), "--public-host", sl.Host, "--proxy-listen", sl.address(sl.ProxyPort), "--mysql-listen", sl.address(sl.MySQLPort),
		"--relay", sl.relays())
}

func (sl *Sluice) relays() string {
	if len(sl.Relays) == 0 {
		return sl.address(sl.RelayPort)
	}
	return strings.Join(sl.Relays, ",")
}

// KeysetFile is the keyset that every node of the installation shares.
func (sl *Sluice) KeysetFile() string { return sl.keys }

// startRole starts a role and waits until it is ready; one that is not is returned with the error. A role that makes the installation's
// first API token says so on its standard output.
func (sl *Sluice) startRole(ctx context.Context, role string, extra []string, args ...string) (*Process, error) {
	port, err := FreePort("127.0.0.1")
	if err != nil {
		return nil, err
	}
	metrics := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	args = append(append([]string{role}, args...), "--metrics-listen", metrics)
	if sl.store != "" {
		args = append(args, "--store", sl.store)
	}
	name := role
	if sl.name != "" {
		name = sl.name
	}
	stdout := sl.stage.Path(name + ".out")
	p, err := sl.stage.Start(Command{Name: name, Path: filepath.Join(sl.Bin, "sluice"), Args: append(args, extra...), Stdout: stdout, Namespace: sl.Namespace})
	if err != nil {
		return nil, err
	}
	sl.Metrics = "http://" + metrics + "/metrics"
	if err := p.WaitFor(ctx, "readiness", sl.Namespace.Ready("http://"+metrics)); err != nil {
		return p, err
	}
	return p, sl.readToken(stdout)
}

// Ready is a probe for WaitFor: the component whose health is served at the URL is ready.
func Ready(url string) func(context.Context) error { return ready(http.DefaultClient, url) }

// Ready is Ready for a component inside the namespace.
func (ns *Namespace) Ready(url string) func(context.Context) error { return ready(ns.HTTP(), url) }

// HTTP is a client inside the namespace, if there is one, that keeps no connections.
func (ns *Namespace) HTTP() *http.Client {
	if ns == nil {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	}
	return &http.Client{Transport: &http.Transport{DialContext: ns.Dial, DisableKeepAlives: true}}
}

func ready(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/ready", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s/ready: %s", url, resp.Status)
		}
		return nil
	}
}

// readToken takes the first API token from what a role printed, if there is one.
func (sl *Sluice) readToken(stdout string) error {
	b, err := os.ReadFile(stdout)
	if err != nil {
		return err
	}
	for field := range strings.FieldsSeq(string(b)) {
		if strings.HasPrefix(field, apiTokenPrefix) {
			sl.stage.Secret("API token", field)
			sl.env = append(sl.env, "SLUICE_API_TOKEN="+field)
		}
	}
	return nil
}

// StartConnector starts a connector of the tunnel whose token is in the file, inside the
// namespace if there is one, and waits until it has a session.
func (sl *Sluice) StartConnector(ctx context.Context, name, tokenFile string, ns *Namespace) (*Process, error) {
	p, url, err := sl.startConnector(name, tokenFile, ns)
	if err != nil {
		return nil, err
	}
	sl.Metrics = url + "/metrics"
	return p, p.WaitFor(ctx, "a session", ns.Ready(url))
}

func (sl *Sluice) startConnector(name, tokenFile string, ns *Namespace) (*Process, string, error) {
	port, err := FreePort("127.0.0.1")
	if err != nil {
		return nil, "", err
	}
	metrics := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p, err := sl.stage.Start(Command{Name: name, Path: filepath.Join(sl.Bin, "sluice-connector"), Namespace: ns,
		Args: []string{"run", "--token-file", tokenFile, "--metrics-listen", metrics, "--grace-period", "2s"}})
	return p, "http://" + metrics, err
}

// CLI runs the command line with secrets in its environment and returns what it prints.
func (sl *Sluice) CLI(ctx context.Context, secrets []string, args ...string) (string, error) {
	return sl.stage.Output(ctx, Command{Name: "sluice " + strings.Join(args[:min(3, len(args))], " "), Path: filepath.Join(sl.Bin, "sluice"), Args: args,
		Namespace: sl.Namespace, Env: append(append([]string{}, sl.env...), secrets...)}, "")
}

// Do runs the command line with --json and decodes what it prints into v.
func (sl *Sluice) Do(ctx context.Context, v any, secrets []string, args ...string) error {
	out, err := sl.CLI(ctx, secrets, append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("sluice %s --json: %w", args[0], err)
	}
	return nil
}

// Tunnel makes a tunnel, and a file with its token that it returns.
func (sl *Sluice) Tunnel(ctx context.Context, name string) (tokenFile string, err error) {
	if _, err := sl.CLI(ctx, nil, "tunnel", "create", name); err != nil {
		return "", err
	}
	token, err := sl.CLI(ctx, nil, "tunnel", "token", name)
	if err != nil {
		return "", err
	}
	sl.stage.Secret("tunnel token", strings.TrimSpace(token))
	tokenFile = sl.stage.Path(name + ".token")
	return tokenFile, os.WriteFile(tokenFile, []byte(token), 0o600)
}

// Token makes a service token.
func (sl *Sluice) Token(ctx context.Context, name string) (token v4.ServiceToken, err error) {
	err = sl.Do(ctx, &token, nil, "access", "token", "create", name)
	sl.stage.Secret("client secret of "+name, token.ClientSecret)
	return token, err
}

// Database makes a database from arguments of `sluice database create`, for an origin of the
// stage's PostgreSQL, and returns how a driver connects to it. clientSecret may be empty.
func (sl *Sluice) Database(ctx context.Context, pg *Postgres, clientSecret, name string, args ...string) (Target, error) {
	return sl.database(ctx, Target{Port: sl.ProxyPort, User: PostgresUser, Password: pg.Password, Database: PostgresDatabase}, clientSecret, name, args...)
}

// MySQLDatabase is Database for an origin of the stage's MySQL that no service token is made for beforehand.
func (sl *Sluice) MySQLDatabase(ctx context.Context, my *MySQL, name string, args ...string) (Target, error) {
	args = append([]string{"--origin-scheme", "mysql"}, args...)
	return sl.database(ctx, Target{Port: sl.MySQLPort, User: MySQLUser, Password: my.Password, Database: MySQLDatabase}, "", name, args...)
}

// database makes one of what drivers of the origin beside it would give, at the port where drivers of the proxy come.
func (sl *Sluice) database(ctx context.Context, origin Target, clientSecret, name string, args ...string) (Target, error) {
	secrets := []string{"SLUICE_ORIGIN_PASSWORD=" + origin.Password}
	if clientSecret != "" {
		secrets = append(secrets, "SLUICE_ACCESS_CLIENT_SECRET="+clientSecret)
	}
	var database v4.Database
	err := sl.Do(ctx, &database, secrets, append([]string{"database", "create", name, "--origin-user", origin.User, "--database", origin.Database}, args...)...)
	if err != nil {
		return Target{}, err
	}
	if database.Credential == nil {
		return Target{}, fmt.Errorf("database %s: no credential was shown", name)
	}
	sl.stage.Secret("client password of "+name, database.Credential.Password)
	return Target{Host: sl.Host, Port: origin.Port, User: database.Credential.Name, Password: database.Credential.Password, Database: name, CAFile: sl.CAFile}, nil
}
