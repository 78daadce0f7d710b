package connector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// connectTimeout is how long an origin has to accept a connection (docs/behaviours.md, Tunnel24).
	connectTimeout = 10 * time.Second
	// keepAlive is when an idle origin connection is probed: idle pooled connections must outlive middleboxes (cloudflared has 30 s).
	keepAlive = stream.MaxIdle
)

func (s service) dialer() *net.Dialer {
	d := stream.Dialer(s.keepAlive)
	d.Timeout = s.connectTimeout
	return d
}

// dialOrigin connects to s. Its error is for the log; refusalOf says what the opener may know.
func dialOrigin(ctx context.Context, s service) (stream.Conn, error) {
	c, err := s.dialer().DialContext(ctx, s.network, s.address)
	if err != nil {
		return nil, err // net.OpError says what and where
	}
	switch c := c.(type) {
	case *net.TCPConn:
		return stream.Origin(c), nil
	case *net.UnixConn:
		return stream.Unix(c), nil
	}
	c.Close()
	return nil, fmt.Errorf("dial %s %s: unexpected connection type %T", s.network, s.address, c)
}

// refusalOf maps a dial's error to the answer for the opener. It names no address of the private network.
func refusalOf(err error) *tunnel.Refusal {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &tunnel.Refusal{Code: tunnelpb.Code_ORIGIN_REFUSED, Message: "the origin refused the connection"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return &tunnel.Refusal{Code: tunnelpb.Code_ORIGIN_TIMEOUT, Message: "the origin did not answer in time"}
	case isNameError(err):
		return &tunnel.Refusal{Code: tunnelpb.Code_ORIGIN_UNREACHABLE, Message: "the origin's name does not resolve at the connector"}
	case errors.As(err, &timeout) && timeout.Timeout():
		return &tunnel.Refusal{Code: tunnelpb.Code_ORIGIN_TIMEOUT, Message: "the origin did not answer in time"}
	}
	return &tunnel.Refusal{Code: tunnelpb.Code_ORIGIN_UNREACHABLE, Message: "the connector cannot reach the origin"}
}

func isNameError(err error) bool {
	var name *net.DNSError
	return errors.As(err, &name)
}
