//go:build unix && (!linux || race)

package socket

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// These are the calls that package net makes: the race detector has to see them, and other systems than Linux want their C library.

// Read reads once from a non-blocking socket. Its errors are syscall.Errno, EAGAIN where there is nothing.
func Read(fd uintptr, p []byte) (int, error) {
	for {
		if n, err := syscall.Read(int(fd), p); err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

func write(fd uintptr, p []byte) (int, error) {
	for {
		if n, err := syscall.Write(int(fd), p); err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// Poll returns which of the events (POLLIN, ...) a socket has at the moment, without waiting.
func Poll(fd uintptr, events int16) (int16, error) {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		if _, err := unix.Poll(p[:], 0); err != unix.EINTR {
			return p[0].Revents, err
		}
	}
}

// SetInt sets an option of a socket.
func SetInt(fd uintptr, level, name, value int) error {
	return unix.SetsockoptInt(int(fd), level, name, value)
}

// Abort makes the close of a TCP socket an RST.
func Abort(fd uintptr) error {
	return unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
