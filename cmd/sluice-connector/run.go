package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
)

// tokenVariable holds the tunnel token itself. There is no flag for it: argument lists are public on a machine.
const tokenVariable = "SLUICE_TUNNEL_TOKEN"

// defaultAdmin is where health and metrics are served unless the operator says otherwise; cloudflared uses the same port.
const defaultAdmin = "127.0.0.1:20241"

// maxTokenFile bounds what is read of a token file: four times what tunnel.ParseToken takes.
const maxTokenFile = 64 << 10

// adminTimeout bounds a request for health or metrics.
const adminTimeout = 5 * time.Second

// runFlags are the flags of run. Each has an environment variable, which counts where the flag is not given.
type runFlags struct {
	tokenFile string
	config    string
	relays    []string
	protocol  string
	grace     time.Duration
	metrics   string
	logLevel  string
	logFormat string
}

// variables names the environment variable of each flag.
var variables = [...][2]string{
	{"token-file", "SLUICE_TUNNEL_TOKEN_FILE"},
	{"config", "SLUICE_CONFIG"},
	{"relay", "SLUICE_RELAY"},
	{"protocol", "SLUICE_PROTOCOL"},
	{"grace-period", "SLUICE_GRACE_PERIOD"},
	{"metrics-listen", "SLUICE_METRICS_LISTEN"},
	{"log-level", "SLUICE_LOG_LEVEL"},
	{"log-format", "SLUICE_LOG_FORMAT"},
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve the tunnel that the token names, until a signal",
		Long: `run serves the tunnel that the token names. The token comes from --token-file, or from the environment variable
` + tokenVariable + `; never from the command line, which everybody on the machine can read.

The token file and the file of rules are read again when they change, on SIGHUP and by reload; what is not valid is logged and leaves the
previous one in force.

SIGTERM or SIGINT stops it: it takes no more streams, waits for those that are open at most for the grace period, and exits at once
when there are none. A second signal ends it at once. It never exits because a relay is away or refuses it.`,
		Example: `  sluice-connector run --token-file vpc-1.token
  ` + tokenVariable + `="$(cat vpc-1.token)" sluice-connector run
  sluice-connector run --token-file vpc-1.token --protocol websocket    # where UDP does not pass
  sluice-connector run --token-file vpc-1.token --relay relay.example.com:7844
  sluice-connector run --token-file vpc-1.token --config rules.yaml     # rules that are kept here
  sluice-connector run --token-file vpc-1.token --metrics-listen off`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.setFromEnvironment(cmd); err != nil {
				return err
			}
			return a.serve(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.tokenFile, "token-file", "", "file with the tunnel token, as sluice tunnel token prints it")
	flags.StringVar(&f.config, "config", "", "file with ingress rules, instead of those that control has; see sluice-connector validate --help")
	flags.StringSliceVar(&f.relays, "relay", nil, "host:port of a relay, instead of those in the token (repeatable)")
	flags.StringVar(&f.protocol, "protocol", string(client.Auto), "how to reach relays: auto, quic or websocket")
	flags.DurationVar(&f.grace, "grace-period", 30*time.Second, "how long streams may go on after the first signal")
	flags.StringVar(&f.metrics, "metrics-listen", defaultAdmin, "address for /healthz, /ready and /metrics, port 0 for any; off for none")
	flags.StringVar(&f.logLevel, "log-level", "info", "least level to log: debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	for _, v := range variables {
		flags.Lookup(v[0]).Usage += " (" + v[1] + ")"
	}
	return cmd
}

// setFromEnvironment gives those flags of a command that the command line left alone the value of their variable.
func (a *app) setFromEnvironment(cmd *cobra.Command) error {
	var faults []error
	for _, v := range variables {
		flag, value := cmd.Flags().Lookup(v[0]), a.getenv(v[1])
		if flag == nil || flag.Changed || value == "" {
			continue
		}
		if err := cmd.Flags().Set(v[0], value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", v[1], err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return &usageError{err: err}
	}
	return nil
}

// serve wires the connector and its listener, and runs both until ctx ends.
func (a *app) serve(ctx context.Context, f runFlags) error {
	log, err := a.logger(f)
	if err != nil {
		return err
	}
	protocol, err := client.ParseProtocol(f.protocol)
	if err != nil {
		return &usageError{err: err}
	}
	token, err := a.token(f.tokenFile, log)
	if err != nil {
		return err
	}
	c, err := connector.New(connector.Config{
		Token: token, Relays: f.relays, Protocol: protocol, Grace: f.grace, Version: buildVersion().Version, Logger: log,
	})
	if err != nil {
		return &usageError{err: err}
	}
	watch := newWatcher(log)
	if f.config != "" {
		rules, err := rulesOf(c, f.config)
		if err != nil {
			return err
		}
		watch.files = append(watch.files, rules)
	}
	if f.tokenFile != "" {
		watch.files = append(watch.files, tokenOf(c, f.tokenFile))
	}
	watched, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() { watch.run(watched) })
	if f.metrics == "off" {
		return c.Run(ctx)
	}
	ln, err := listenAdmin(f.metrics)
	if err != nil {
		return err
	}
	log.Info("health and metrics", "url", "http://"+ln.Addr().String()+"/metrics")
	srv := &http.Server{
		Handler: adminHandler(c, watch), ReadHeaderTimeout: adminTimeout, ReadTimeout: adminTimeout, WriteTimeout: 2 * adminTimeout,
		MaxHeaderBytes: 16 << 10, // no client of ours sends a tenth of it
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	err = c.Run(ctx) // health is answered until the last stream has ended
	srv.Close()
	<-served // http.ErrServerClosed, or what ended it before: health is not worth ending the connector for
	return err
}

// logger writes to standard error.
func (a *app) logger(f runFlags) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, usagef("--log-level %q: want debug, info, warn or error", f.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch f.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(a.err, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.err, options)), nil
	}
	return nil, usagef("--log-format %q: want text or json", f.logFormat)
}

// token reads the tunnel token from the file or the environment. Its errors never quote it.
func (a *app) token(file string, log *slog.Logger) (tunnel.Token, error) {
	text := a.getenv(tokenVariable)
	switch {
	case file != "" && text != "":
		return tunnel.Token{}, usagef("both --token-file and %s are set: which tunnel is meant?", tokenVariable)
	case file == "" && strings.TrimSpace(text) == "":
		return tunnel.Token{}, usagef("no tunnel token: give --token-file, or set %s", tokenVariable)
	case file != "":
		b, err := readToken(file, log)
		if err != nil {
			return tunnel.Token{}, fmt.Errorf("read the tunnel token: %w", err)
		}
		text = string(b)
	}
	token, err := tunnel.ParseToken(text)
	if err != nil {
		return tunnel.Token{}, fmt.Errorf("read the tunnel token: %w", err)
	}
	return token, nil
}

// readToken reads a token file, and warns when others may read it too.
func readToken(file string, log *slog.Logger) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		log.Warn("other users of this machine may read the tunnel token", "file", file, "mend", "chmod 600 "+file)
	}
	return io.ReadAll(io.LimitReader(f, maxTokenFile))
}

// listenAdmin listens on address, and on the loopback interface when it names no host. When another connector of this machine
// has the default address, any free port is taken.
func listenAdmin(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usagef("--metrics-listen %q: want host:port or off", address)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if errors.Is(err, syscall.EADDRINUSE) && address == defaultAdmin {
		ln, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, fmt.Errorf("listen for health and metrics (another address: --metrics-listen): %w", err)
	}
	return ln, nil
}

// adminHandler adds /metrics, /goroutines and /reload to the connector's own pages.
func adminHandler(c *connector.Connector, watch *watcher) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(c.Collectors()...)
	registry.MustRegister(watch.reloads)
	mux := http.NewServeMux()
	mux.Handle("/", c.Handler())
	mux.HandleFunc("GET /goroutines", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		pprof.Lookup("goroutine").WriteTo(w, 1) // stacks by count, without arguments
	})
	mux.HandleFunc("POST /reload", watch.serveReload)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}
