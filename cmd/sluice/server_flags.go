package main

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicedb/sluice/proxy"
)

// serverFlags configure the roles. Each has an environment variable: SLUICE_ and the flag's name.
type serverFlags struct {
	dataDir, store, keysetFile string
	publicHosts                []string

	apiListen, relayListen, proxyListen, metricsListen string

	relayAdvertise []string
	relayPeer      string
	proxyAdvertise string

	maxDatabases int

	proxyPlaintext bool
	reusePort      bool
	directOrigins  string
	queryTimeout   time.Duration
	cacheMemory    int

	logLevel, logFormat string
}

// defaultQueryTimeout is Hyperdrive's limit of a statement.
const defaultQueryTimeout = time.Minute

// maxCacheMemory is the most of --cache-memory, in MiB: a slip of the finger beyond.
const maxCacheMemory = 1 << 20

// defaultMaxDatabases is Hyperdrive's limit of configured databases on a paid plan.
const defaultMaxDatabases = 25

// The flags of a command: what each role needs, and what all do.
type flagSet uint

const (
	stateFlags flagSet = 1 << iota // where the state is
	apiFlags
	relayFlags
	proxyFlags
)

func newServerFlags(cmd *cobra.Command, which flagSet, dataDir string) *serverFlags {
	s := &serverFlags{}
	flags := cmd.Flags()
	if which&stateFlags != 0 {
		flags.StringVar(&s.dataDir, "data-dir", dataDir, "directory of the embedded store, the keyset and the CA certificate; made when missing")
		flags.StringVar(&s.store, "store", "", "NATS cluster that keeps the state instead, nats://host:port[,host:port]")
		flags.StringVar(&s.keysetFile, "keyset-file", "", "keyset that seals secrets, a copy of the same on every node of a store; keyset.json in the data directory when absent")
		flags.StringSliceVar(&s.publicHosts, "public-host", nil, "name or address that clients reach this machine by, for its certificate, tokens and connection strings (repeatable)")
	}
	if which&(apiFlags|relayFlags) != 0 {
		flags.StringSliceVar(&s.relayAdvertise, "relay-advertise", nil, "host:port of a relay, for tunnel tokens and for peers of this relay; the first public host when absent (repeatable)")
	}
	if which&apiFlags != 0 {
		flags.StringVar(&s.apiListen, "api-listen", ":8443", "TCP address of the control API, HTTPS")
		flags.StringVar(&s.proxyAdvertise, "proxy-advertise", "", "host:port of the PostgreSQL proxy, for connection strings; the first public host when absent")
		flags.IntVar(&s.maxDatabases, "max-databases", defaultMaxDatabases, "databases that an account may have; 0 for no limit")
	}
	if which&relayFlags != 0 {
		flags.StringVar(&s.relayListen, "relay-listen", ":7844", "UDP and TCP address of the relay, QUIC and WebSocket")
		flags.StringVar(&s.relayPeer, "relay-peer-address", "", "host:port at which the other relays of the NATS cluster reach this one; its own address when absent")
	}
	if which&proxyFlags != 0 {
		flags.StringVar(&s.proxyListen, "proxy-listen", ":6432", "TCP address of the PostgreSQL proxy")
		flags.StringVar(&s.directOrigins, "direct-origins", string(proxy.DirectPublic), "origins that the proxy reaches without a tunnel: public (at public addresses), any or none")
		flags.BoolVar(&s.proxyPlaintext, "proxy-plaintext", false, "let drivers log in to the proxy without TLS: for a proxy that only this machine reaches")
		flags.IntVar(&s.cacheMemory, "cache-memory", 0, "MiB of memory for results of queries, from which repeated reads are answered; 0 for no query cache")
		flags.DurationVar(&s.queryTimeout, "query-timeout", defaultQueryTimeout, "how long a statement may run before it is cancelled; 0 for no limit")
	}
	flags.StringVar(&s.metricsListen, "metrics-listen", "127.0.0.1:9090", `TCP address of /metrics, /healthz and /ready; "" for none`)
	flags.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&s.logFormat, "log-format", "text", "text or json, on standard error")
	flags.VisitAll(func(flag *pflag.Flag) {
		withEnv(flags, flag.Name, "SLUICE_"+strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")))
	})
	return s
}

// logger makes the process's logger.
func (s *serverFlags) logger(a *app) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.logLevel)); err != nil {
		return nil, usagef("--log-level: %q is not debug, info, warn or error", s.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch s.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(a.err, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.err, options)), nil
	}
	return nil, usagef("--log-format: %q is not text or json", s.logFormat)
}

// publicHost is the name that tokens and connection strings carry where nothing else is said.
func (s *serverFlags) publicHost() string {
	if len(s.publicHosts) == 0 {
		return "localhost"
	}
	return strings.TrimPrefix(s.publicHosts[0], "*.")
}

// checkState refuses what leaves no place for the state.
func (s *serverFlags) checkState() error {
	if s.dataDir == "" {
		return usagef("--data-dir is empty")
	}
	switch proxy.DirectOrigins(s.directOrigins) {
	case "", proxy.DirectPublic, proxy.DirectAny, proxy.DirectNone: // "": not a proxy
	default:
		return usagef("--direct-origins: %q is not public, any or none", s.directOrigins)
	}
	if s.maxDatabases < 0 {
		return usagef("--max-databases: must not be negative")
	}
	if s.cacheMemory < 0 || s.cacheMemory > maxCacheMemory {
		return usagef("--cache-memory: must be 0 to %d MiB", maxCacheMemory)
	}
	if s.queryTimeout < 0 {
		return usagef("--query-timeout: must not be negative")
	}
	if s.store != "" && !strings.HasPrefix(s.store, "nats://") && !strings.HasPrefix(s.store, "tls://") {
		return usagef("--store: must begin with nats:// or tls://")
	}
	return nil
}

// requireStore is for a role that runs apart from the store's.
func (s *serverFlags) requireStore(role string) error {
	if s.store == "" {
		return usagef("--store is missing: a %s that runs apart follows a NATS cluster; 'sluice server' runs all roles in one process", role)
	}
	return s.checkState()
}

func listenError(flag, address string, err error) error {
	return fmt.Errorf("--%s %s: %w", flag, address, err)
}
