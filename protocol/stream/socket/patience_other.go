//go:build !linux

package socket

import (
	"net"
	"time"
)

// NewPatient is New: only Linux has to be taught patience.
func NewPatient(c net.Conn, _ time.Duration) net.Conn { return New(c) }

type patience struct{}

func (*patience) written() {}
func (*patience) stop()    {}
