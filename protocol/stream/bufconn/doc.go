// Package bufconn reads a connection through a buffer that exists only while bytes
// are in flight, so that an idle connection costs no more than its socket. The
// database wires are read with it.
package bufconn
