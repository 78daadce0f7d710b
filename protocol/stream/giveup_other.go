//go:build !linux

package stream

import "syscall"

// GiveUp is a net.Dialer's Control. Only Linux has what it sets there: elsewhere a
// connection fails when the system says.
func GiveUp(_, _ string, _ syscall.RawConn) error { return nil }
