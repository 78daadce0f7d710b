package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/proxy"
)

// serverFlags configure the roles. Each has an environment variable: SLUICE_ and the flag's name.
type serverFlags struct {
	dataDir, store, keysetFile string
	publicHosts                []string

	apiListen, relayListen, proxyListen, mysqlListen, metricsListen string

	relayAdvertise []string
	relayPeer      string
	proxyAdvertise string
	mysqlAdvertise string

	maxDatabases int
	signingLife  time.Duration

	proxyPlaintext bool
	reusePort      bool
	directOrigins  string
	queryTimeout   time.Duration
	cacheMemory    int

	logLevel, logFormat string
}

// defaultQueryTimeout is Hyperdrive's limit of a statement.
const defaultQueryTimeout = time.Minute

// defaultCacheMemory is --cache-memory, in MiB: a quarter of the memory of the smallest machines that are let.
const defaultCacheMemory = 256

// maxCacheMemory is the most of --cache-memory, in MiB: a slip of the finger beyond.
const maxCacheMemory = 1 << 20

// defaultMaxDatabases is Hyperdrive's limit of configured databases on a paid plan.
const defaultMaxDatabases = 25

// leastSigningLife is well above the minute in which a key's time is noticed, and the minute of an assertion.
const leastSigningLife = time.Hour

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
		flags.StringVar(&s.mysqlAdvertise, "mysql-advertise", "", "host:port of the MySQL proxy, for connection strings; the first public host when absent")
		flags.IntVar(&s.maxDatabases, "max-databases", defaultMaxDatabases, "databases that an account may have; 0 for no limit")
		flags.DurationVar(&s.signingLife, "signing-key-life", control.DefaultSigningLife, "how long a key signs assertions before the next one does, 1h at least; 0 for ever")
	}
	if which&relayFlags != 0 {
		flags.StringVar(&s.relayListen, "relay-listen", ":7844", "UDP and TCP address of the relay, QUIC and WebSocket")
		flags.StringVar(&s.relayPeer, "relay-peer-address", "", "host:port at which the other relays of the NATS cluster reach this one; its own address when absent")
	}
	if which&proxyFlags != 0 {
		flags.StringVar(&s.proxyListen, "proxy-listen", ":6432", "TCP address of the PostgreSQL proxy")
		flags.StringVar(&s.mysqlListen, "mysql-listen", ":6033", "TCP address of the MySQL proxy; off for none")
		flags.StringVar(&s.directOrigins, "direct-origins", string(proxy.DirectPublic), "origins that the proxy reaches without a tunnel: public (at public addresses), any or none")
		flags.BoolVar(&s.proxyPlaintext, "proxy-plaintext", false, "let drivers log in to the proxy without TLS: for a proxy that only this machine reaches")
		flags.IntVar(&s.cacheMemory, "cache-memory", defaultCacheMemory, "MiB of memory for results of queries, from which repeated reads are answered; 0 for no query cache")
		flags.DurationVar(&s.queryTimeout, "query-timeout", defaultQueryTimeout, "how long a statement may run before it is cancelled; 0 for no limit")
	}
	flags.StringVar(&s.metricsListen, "metrics-listen", "127.0.0.1:9090", `TCP address of /metrics, /healthz and /ready; off for none`)
	flags.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&s.logFormat, "log-format", "text", "text or json, on standard error")
	flags.VisitAll(func(flag *pflag.Flag) {
		withEnv(flags, flag.Name, "SLUICE_"+strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")))
	})
	return s
}

// logHandler makes the handler of the process's logger.
func (s *serverFlags) logHandler(w io.Writer) (slog.Handler, error) {
	var level slog.Level
	var levelErr, formatErr error
	if level.UnmarshalText([]byte(s.logLevel)) != nil {
		levelErr = fmt.Errorf("--log-level: %q is not debug, info, warn or error", s.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	switch s.logFormat {
	case "text":
	case "json":
		handler = slog.NewJSONHandler(w, options)
	default:
		formatErr = fmt.Errorf("--log-format: %q is not text or json", s.logFormat)
	}
	return handler, errors.Join(levelErr, formatErr)
}

// publicHost is the name that tokens and connection strings carry where nothing else is said.
func (s *serverFlags) publicHost() string {
	if len(s.publicHosts) == 0 {
		return "localhost"
	}
	return strings.TrimPrefix(s.publicHosts[0], "*.")
}

// check refuses what cannot work, every fault at once, before anything is made or opened.
func (s *serverFlags) check() error {
	var faults []error
	fault := func(format string, v ...any) { faults = append(faults, fmt.Errorf(format, v...)) }
	if s.dataDir == "" {
		fault("--data-dir is empty")
	}
	if s.store != "" && !strings.HasPrefix(s.store, "nats://") && !strings.HasPrefix(s.store, "tls://") {
		fault("--store: must begin with nats:// or tls://")
	}
	for _, host := range s.publicHosts {
		if wrong := control.PublicHostFault(host); wrong != "" {
			fault("--public-host: %q %s", host, wrong)
		}
	}
	for _, address := range s.relayAdvertise {
		checkAddress(fault, "relay-advertise", address)
	}
	checkAddress(fault, "proxy-advertise", s.proxyAdvertise)
	checkAddress(fault, "mysql-advertise", s.mysqlAdvertise)
	checkAddress(fault, "relay-peer-address", s.relayPeer)
	switch proxy.DirectOrigins(s.directOrigins) {
	case "", proxy.DirectPublic, proxy.DirectAny, proxy.DirectNone: // "": not a proxy
	default:
		fault("--direct-origins: %q is not public, any or none", s.directOrigins)
	}
	if s.maxDatabases < 0 {
		fault("--max-databases: must not be negative")
	}
	if s.signingLife != 0 && s.signingLife < leastSigningLife {
		fault("--signing-key-life: must be 0, or at least %v", leastSigningLife)
	}
	if s.cacheMemory < 0 || s.cacheMemory > maxCacheMemory {
		fault("--cache-memory: must be 0 to %d MiB", maxCacheMemory)
	}
	if s.queryTimeout < 0 {
		fault("--query-timeout: must not be negative")
	}
	if _, err := s.logHandler(io.Discard); err != nil {
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return &usageError{err: err}
	}
	return nil
}

// checkAddress refuses what is no host:port that others could dial; an empty one is absent.
func checkAddress(fault func(string, ...any), flag, address string) {
	if address == "" {
		return
	}
	host, port, err := net.SplitHostPort(address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || number == 0 || control.PublicHostFault(strings.ToLower(host)) != "" {
		fault("--%s: %q is not host:port, with a port of 1 to 65535", flag, address)
	}
}

// checkApart is check for a role that runs apart from the store's.
func (s *serverFlags) checkApart(role string) error {
	if s.store == "" {
		return usagef("--store is missing: a %s that runs apart follows a NATS cluster; 'sluice server' runs all roles in one process", role)
	}
	return s.check()
}

func listenError(flag, address string, err error) error {
	return fmt.Errorf("--%s %s: %w", flag, address, err)
}
