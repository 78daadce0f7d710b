package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
	"github.com/sluicedb/sluice/protocol/stream/socket"
	"github.com/sluicedb/sluice/proxy/dialect"
)

// maxCancels bounds the KILLs under way; more end nothing.
const maxCancels = 256

// A Server serves drivers on any number of listeners.
type Server struct {
	// Lookup finds a database by the name that drivers give. Required.
	Lookup func(name string) (*Database, bool)
	// TLS is offered to drivers. Required unless AllowPlaintext.
	TLS *tls.Config
	// AllowPlaintext lets drivers log in without TLS.
	AllowPlaintext bool
	// MaxClients bounds the connected clients; 0 means 100,000.
	MaxClients int
	// Grace is how long clients in a transaction may go on after Serve's
	// context has ended; 0 means 30 s.
	Grace time.Duration
	// LoginTimeout bounds everything before a client is logged in, TLS included;
	// 0 means 15 s.
	LoginTimeout time.Duration
	// Plugin is the authentication that drivers without a wish of their own are
	// asked for: mywire.PluginSHA2, which it is by default, or mywire.PluginNative.
	Plugin string
	Logger *slog.Logger // required

	once     sync.Once
	acceptor atomic.Pointer[mywire.Acceptor]
	logins   chan struct{} // one a client that is not logged in
	cancels  chan struct{} // one a KILL
	work     sync.WaitGroup
	stopping atomic.Bool

	mu      sync.Mutex
	clients map[uint32]*client // by the id told to it
	lastID  uint32
}

func (s *Server) init() {
	s.logins = make(chan struct{}, dialect.MaxLogins)
	s.cancels = make(chan struct{}, maxCancels)
	s.clients = make(map[uint32]*client)
	if s.MaxClients == 0 {
		s.MaxClients = 100_000
	}
	if s.Grace == 0 {
		s.Grace = 30 * time.Second
	}
	if s.LoginTimeout == 0 {
		s.LoginTimeout = dialect.LoginTimeout
	}
	s.lastID = firstID
	s.learn(firstVersion)
}

// serverTLS is the server's side of a TLS handshake.
func serverTLS(ctx context.Context, nc net.Conn, cfg *tls.Config) (net.Conn, error) {
	t := tls.Server(nc, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// Serve accepts drivers until ctx ends. Then it tells idle clients goodbye
// (error 1053), gives those in a transaction the Grace period, and returns when
// every client is gone and every origin connection is back in its pool. Databases
// must run for longer than Serve.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	s.once.Do(s.init)
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() { defer close(watched); s.watch(done) }()
	err := dialect.Accept(ctx, ln, s.logins, s.Logger, func(nc net.Conn) { s.work.Go(func() { s.handle(socket.New(nc)) }) })
	s.drain()
	close(done)
	<-watched
	return err
}

// handle logs one connection from a driver in, and has it served.
func (s *Server) handle(nc net.Conn) {
	defer func() { <-s.logins }()
	if err := nc.SetDeadline(time.Now().Add(s.LoginTimeout)); err != nil {
		nc.Close()
		return
	}
	c, err := s.login(nc)
	if err != nil {
		s.Logger.Debug("login", "remote", nc.RemoteAddr(), "err", err)
		nc.Close()
		return
	}
	c.socket = nc
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		s.leave(c, err)
		return
	}
	s.serve(c)
}

// serve serves c in a new goroutine, and in another whenever nothing has come for a while: see bufconn.Conn.Rouse.
func (s *Server) serve(c *client) {
	s.work.Add(1)
	go s.run(c)
}

func (s *Server) run(c *client) {
	defer s.work.Done()
	if err := c.serve(); errors.Is(err, bufconn.ErrRest) {
		s.serve(c)
	} else {
		s.leave(c, err)
	}
}

// leave parts with a client that is served no longer.
func (s *Server) leave(c *client, err error) {
	if c.unwelcome() {
		dialect.Linger(c.socket)
	}
	s.Logger.Debug("client ended", "remote", c.socket.RemoteAddr(), "database", c.db.name, "user", c.user, "err", err)
	s.remove(c)
	c.socket.Close()
}

// firstID is where the numbers of connections begin: no origin has had so many, so
// that a number of an origin's names nobody here.
const firstID = 1 << 30

// nextID is a number for a connection that no other has.
func (s *Server) nextID() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.lastID++
		if _, taken := s.clients[s.lastID]; s.lastID != 0 && !taken {
			return s.lastID
		}
	}
}

// add makes c known to KILL and the watch.
func (s *Server) add(c *client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) >= s.MaxClients {
		return mywire.Errorf(mywire.CodeConCount, "Too many connections")
	}
	c.welcomed = time.Now()
	s.clients[c.id] = c
	return nil
}

func (s *Server) remove(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c.id)
}

// byID is the client that was told a number; nil if there is none.
func (s *Server) byID(id uint64) *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id > 1<<32-1 {
		return nil
	}
	return s.clients[uint32(id)]
}

// mayCancel reports whether one more KILL may be under way; canceled ends it.
func (s *Server) mayCancel() bool {
	select {
	case s.cancels <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *Server) canceled() { <-s.cancels }

// all copies the clients of the moment.
func (s *Server) all() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	cs := make([]*client, 0, len(s.clients))
	for _, c := range s.clients {
		cs = append(cs, c)
	}
	return cs
}

// Clients is how many clients are logged in.
func (s *Server) Clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clients)
}

// ClientsOf is how many clients of a database are logged in.
func (s *Server) ClientsOf(d *Database) (n int) {
	for _, c := range s.all() {
		if db, _ := c.account(); db == d {
			n++
		}
	}
	return n
}
