package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// The server's bounds. A request is 1 MiB at most and is answered from memory or by a few synced writes of under a millisecond
// each, and after a test connection (control.TestWait, 15 s) where it makes one, so these are far above what a healthy client needs, and low enough that slow ones hold nothing for long.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 40 * time.Second // which also ends the context of a request that is answered for as long
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	headerMax         = 32 << 10 // bytes
	// connectionsMax bounds connections, which cost some 50 KiB each before anything is known of who made them; a client has one
	// or two. More are closed at once.
	connectionsMax = 1024
	// storeTimeout bounds the store's part of a request.
	storeTimeout = 15 * time.Second
	// drainTimeout is how long requests in flight may go on after the server was asked to stop.
	drainTimeout = 10 * time.Second
)

// Config says what the API serves. Control and TunnelToken are required.
type Config struct {
	Control *control.Control
	// TunnelToken makes the text that a connector is started with, from a tunnel and its secret.
	TunnelToken func(tunnel *control.Tunnel, secret control.Secret) (string, error)
	// Test makes the test connection before a database is made or its connection changed; nil: none is made.
	Test control.Test
	// ProxyAddr is the host:port of the PostgreSQL proxy that connection strings name; localhost:6432 when empty.
	ProxyAddr string
	// MySQLAddr is that of the MySQL proxy; localhost:6033 when empty.
	MySQLAddr string
	// Logger receives the errors that clients are not told; nil for slog.Default().
	Logger *slog.Logger
}

// API is an http.Handler for the control API, safe for concurrent use.
type API struct {
	control     *control.Control
	tunnelToken func(*control.Tunnel, control.Secret) (string, error)
	test        control.Test
	proxyAddr   string
	mysqlAddr   string
	logger      *slog.Logger
	mux         *http.ServeMux
	failures    *failureLimiter
	crossOrigin *http.CrossOriginProtection
	operations  []*operation
	document    func() []byte // /openapi.json, made when it is first asked for
	// departs hears of a handler that read or answered another type than its route declares; tests fail on it.
	departs func(*operation, error)
	// answered hears of every answer that had its declared type; nil but in tests.
	answered func(*operation)
}

// New makes the API of a control.
func New(config Config) *API {
	a := &API{
		control:     config.Control,
		tunnelToken: config.TunnelToken,
		test:        config.Test,
		proxyAddr:   cmp.Or(config.ProxyAddr, "localhost:6432"),
		mysqlAddr:   cmp.Or(config.MySQLAddr, "localhost:6033"),
		logger:      config.Logger,
		mux:         http.NewServeMux(),
		failures:    newFailureLimiter(),
		crossOrigin: http.NewCrossOriginProtection(),
	}
	if a.logger == nil {
		a.logger = slog.Default()
	}
	a.departs = func(op *operation, err error) {
		a.logger.Error("an answer is not as the API's document has it", "method", op.method, "path", op.path, "err", err)
	}
	a.document = sync.OnceValue(func() []byte { return openAPI(a.operations) })
	a.routes()
	return a
}

// Serve answers HTTPS requests on ln, TLS 1.2 or newer with control's certificate, until ctx ends. Then it lets the requests in
// flight finish for ten seconds and closes ln. It returns nil after ctx ended.
func (a *API) Serve(ctx context.Context, ln net.Listener) error {
	tlsConfig := a.control.ServerTLS().Clone()
	tlsConfig.MinVersion = max(tlsConfig.MinVersion, tls.VersionTLS12)
	tlsConfig.NextProtos = []string{"h2", "http/1.1"}
	server := &http.Server{
		Handler:           a,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerMax,
		ConnState:         (&connections{limit: connectionsMax}).observe,
		// Failed handshakes and the like: nothing that an operator acts on.
		ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		// A fresh context: ctx has ended, and requests in flight have their time all the same.
		grace, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		err := server.Shutdown(grace)
		if err != nil {
			err = errors.Join(err, server.Close())
		}
		drained <- err
	})
	err := server.ServeTLS(ln, "", "")
	if stop() {
		return fmt.Errorf("serve API: %w", errors.Join(err, server.Close()))
	}
	if err := <-drained; err != nil {
		return fmt.Errorf("drain API: %w", err)
	}
	return nil
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	// Browsers come with an Origin or Sec-Fetch-Site, and change nothing here from other sites' pages. No cookie admits anybody, so
	// this is a second lock.
	if a.crossOrigin.Check(r) != nil {
		a.writeFailure(w, fail(http.StatusForbidden, codeCrossOrigin, "a page of another origin may not send this request"))
		return
	}
	unmatched, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	// The mux's own answers, 404 and 405, in our shape; below /client/v4 only for those who may know what is there.
	if strings.HasPrefix(r.URL.Path, "/client/v4/") {
		if _, ok := a.authenticate(w, r); !ok {
			return
		}
	}
	answer := &statusOnly{header: header}
	unmatched.ServeHTTP(answer, r)
	if answer.status == http.StatusMethodNotAllowed {
		a.writeFailure(w, fail(answer.status, codeMethod, fmt.Sprintf("this path has no %s; it has %s", r.Method, header.Get("Allow"))))
		return
	}
	a.writeFailure(w, fail(http.StatusNotFound, codeNoRoute, "no such path; the routes are in the API's documentation"))
}

// statusOnly keeps the status and headers of an answer and drops its body.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }

// textMax bounds, in bytes, what a record or an error repeats of a request: names have at most 255, and the store takes no record
// as long as a body may be.
const textMax = 512

// bounded cuts text to textMax bytes.
func bounded(text string) string {
	if len(text) <= textMax {
		return text
	}
	return strings.ToValidUTF8(text[:textMax], "") + "..."
}

func remoteAddr(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr()
}

func (a *API) writeResult(w http.ResponseWriter, result any) {
	envelope := v4.Envelope[any]{Result: result, Success: true}
	if list, ok := result.(listing); ok {
		envelope.Result, envelope.ResultInfo = list.items, &list.info
	}
	a.write(w, http.StatusOK, envelope)
}

func (a *API) writeFailure(w http.ResponseWriter, f *failure) {
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(f.retryAfter))
	}
	a.write(w, f.status, v4.Envelope[any]{Errors: f.errors})
}
