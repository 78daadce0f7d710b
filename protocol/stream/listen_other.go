//go:build !linux

package stream

import "net"

func listening() net.ListenConfig { return net.ListenConfig{} }
