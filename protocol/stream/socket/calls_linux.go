//go:build linux && !race

package socket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads once from a non-blocking socket. Its errors are syscall.Errno, EAGAIN where there is nothing.
func Read(fd uintptr, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR: // the runtime's own signals come at any time
		default:
			return 0, errno
		}
	}
}

func write(fd uintptr, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// Poll returns which of the events (POLLIN, ...) a socket has at the moment, without waiting.
func Poll(fd uintptr, events int16) (int16, error) {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	var now unix.Timespec
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		switch errno {
		case 0:
			return p.Revents, nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// SetInt sets an option of a socket.
func SetInt(fd uintptr, level, name, value int) error {
	v := int32(value)
	return set(fd, level, name, unsafe.Pointer(&v), unsafe.Sizeof(v))
}

// Abort makes the close of a TCP socket an RST.
func Abort(fd uintptr) error {
	at := unix.Linger{Onoff: 1}
	return set(fd, unix.SOL_SOCKET, unix.SO_LINGER, unsafe.Pointer(&at), unsafe.Sizeof(at))
}

func set(fd uintptr, level, name int, value unsafe.Pointer, size uintptr) error {
	if _, _, errno := syscall.RawSyscall6(unix.SYS_SETSOCKOPT, fd, uintptr(level), uintptr(name), uintptr(value), size, 0); errno != 0 {
		return errno
	}
	return nil
}
