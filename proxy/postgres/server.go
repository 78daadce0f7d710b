package postgres

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
	"github.com/sluicedb/sluice/protocol/stream/socket"
	"github.com/sluicedb/sluice/proxy/dialect"
)

// maxCancels bounds the cancel requests under way; more are dropped, which the
// protocol allows: a cancel request promises nothing.
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
	Logger       *slog.Logger // required

	once       sync.Once
	mockSecret []byte        // salts of users that do not exist
	logins     chan struct{} // one a client that is not logged in
	cancels    chan struct{} // one a cancel request
	work       sync.WaitGroup
	stopping   atomic.Bool

	mu      sync.Mutex
	clients map[uint32]*client // by the pid told to it
	inner   map[*client]struct{}
	lastID  uint64
	lastPID uint32
}

func (s *Server) init() {
	s.mockSecret = make([]byte, 32)
	rand.Read(s.mockSecret)
	s.logins = make(chan struct{}, dialect.MaxLogins)
	s.cancels = make(chan struct{}, maxCancels)
	s.clients = make(map[uint32]*client)
	s.inner = make(map[*client]struct{})
	if s.MaxClients == 0 {
		s.MaxClients = 100_000
	}
	if s.Grace == 0 {
		s.Grace = 30 * time.Second
	}
	if s.LoginTimeout == 0 {
		s.LoginTimeout = dialect.LoginTimeout
	}
}

// Serve accepts drivers until ctx ends. Then it tells idle clients goodbye
// (57P01), gives those in a transaction the Grace period, and returns when every
// client is gone and every origin connection is back in its pool. Databases must
// run for longer than Serve.
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

// handle logs one connection from a driver in, whatever it turns out to want, and has it served.
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
	if c == nil { // a cancel request
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

// add gives c its key and makes it known to cancel requests and the watch.
func (s *Server) add(c *client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) >= s.MaxClients {
		return pgwire.Fatalf(pgwire.CodeTooManyConnections, "sorry, too many clients already")
	}
	s.lastID++
	c.welcomed = time.Now()
	c.id = s.lastID
	for {
		s.lastPID = (s.lastPID + 1) & 0x7fffffff // drivers read it as a signed number
		if _, taken := s.clients[s.lastPID]; s.lastPID != 0 && !taken {
			break
		}
	}
	c.pid = s.lastPID
	rand.Read(c.secret)
	s.clients[c.pid] = c
	return nil
}

func (s *Server) remove(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c.pid)
}

// addInner makes an inner client known to the watch.
func (s *Server) addInner(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inner[c] = struct{}{}
}

func (s *Server) removeInner(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inner, c)
}

// all copies the clients of the moment, inner ones included.
func (s *Server) all() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	cs := make([]*client, 0, len(s.clients))
	for _, c := range s.clients {
		cs = append(cs, c)
	}
	for c := range s.inner {
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
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		if c.db == d {
			n++
		}
	}
	return n
}

// key is what the client was told to cancel with.
func (c *client) key() []byte {
	return append(binary.BigEndian.AppendUint32(nil, c.pid), c.secret...)
}
