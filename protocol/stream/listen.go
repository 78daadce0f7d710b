package stream

import "net"

// Listening returns what TCP listeners are made with. What they accept is probed when it has been idle for 15 seconds, as with package
// net; on Linux it costs no system call for each connection.
func Listening() net.ListenConfig { return listening() }
