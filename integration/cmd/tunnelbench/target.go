package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// What a connection to the target asks for, in its first byte.
const (
	askEcho = 'e' // what follows, back
	askDown = 'd' // as many bytes as the eight that follow say, big-endian
	askUp   = 'u' // the count of the bytes that follow until EOF, in eight, big-endian
)

// chunk is how much is read and written at once by load and target, in bytes: enough to cost little beside what is measured.
const chunk = 128 << 10

// serve accepts with config until ctx ends, and handles each connection, whose owner handle is.
func serve(ctx context.Context, s setup, config net.ListenConfig, handle func(*net.TCPConn)) error {
	ln, err := config.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	if err := s.ready(); err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err == nil {
			go handle(c.(*net.TCPConn))
		}
	}
}

func runTarget(ctx context.Context, s setup) error { return serve(ctx, s, net.ListenConfig{}, answer) }

// answer does what a connection asks for. An error is the end of the connection, which is what the load sees.
func answer(c *net.TCPConn) {
	defer c.Close()
	var ask [1]byte
	if _, err := io.ReadFull(c, ask[:]); err != nil {
		return
	}
	switch ask[0] {
	case askEcho:
		buf := make([]byte, 512)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	case askDown:
		var left uint64
		if binary.Read(c, binary.BigEndian, &left) != nil {
			return
		}
		buf := make([]byte, chunk)
		for left > 0 {
			n, err := c.Write(buf[:min(left, chunk)])
			if err != nil {
				return
			}
			left -= uint64(n)
		}
	case askUp:
		n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{c}, make([]byte, chunk))
		if err == nil {
			_ = binary.Write(c, binary.BigEndian, n)
		}
	}
}

// runPlain is one hop of a plain relay.
func runPlain(ctx context.Context, s setup) error {
	return serve(ctx, s, net.ListenConfig{}, func(c *net.TCPConn) {
		defer c.Close()
		up, err := net.Dial("tcp", s.To)
		if err != nil {
			return
		}
		defer up.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			forward(up.(*net.TCPConn), c)
		}()
		forward(c, up.(*net.TCPConn))
		<-done
	})
}

// forward copies one way, by splice(2) where the system has it.
func forward(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		to.SetLinger(0)
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite()
}
