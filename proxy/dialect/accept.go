package dialect

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/sluicedb/sluice/protocol/stream/socket"
)

// LoginTimeout bounds everything before a client is logged in where nothing else is
// said: Hyperdrive's connect limit (MySQL's connect_timeout is 10 s, PostgreSQL's
// authentication_timeout 60 s).
const LoginTimeout = 15 * time.Second

// MaxLogins bounds the clients of a server that are not logged in yet; more wait to be
// accepted.
const MaxLogins = 1024

// Accept gives what connects to ln to handle, which must not block, until ctx ends, and
// closes ln then. Each connection takes a place in logins, for which it waits.
func Accept(ctx context.Context, ln net.Listener, logins chan<- struct{}, log *slog.Logger, handle func(net.Conn)) error {
	defer context.AfterFunc(ctx, func() { stopAccepting(ln) })()
	for {
		nc, err := ln.Accept()
		if err != nil && ctx.Err() != nil {
			ln.Close()
			return nil
		}
		if err != nil {
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) {
				log.Warn("accept", "err", err)
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
				continue
			}
			return err
		}
		select {
		case logins <- struct{}{}: // back pressure: the kernel's backlog waits
		case <-ctx.Done():
			nc.Close()
			continue
		}
		handle(nc)
	}
}

// lastCall is how long connections are still accepted at the end: those that the
// system has taken for this process before another one, which listens on the
// same port, gets the next.
const lastCall = 20 * time.Millisecond

// stopAccepting lets Accept fail when nothing more waits to be accepted.
func stopAccepting(ln net.Listener) {
	if d, ok := ln.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Now().Add(lastCall)) != nil {
		ln.Close()
	}
}

// lingerFor is how long a client that was told goodbye may take to hear it.
const lingerFor = time.Second

// Linger lets a driver that was just saying something read the goodbye: closing
// with something unread would reset the connection, goodbye included.
func Linger(nc net.Conn) {
	if c, ok := nc.(*socket.Conn); ok && c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerFor)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20)) // the driver's patience is no better than ours
	}
}
