// Package tunneltest raises relays on the loopback interface for tests: a certificate, a TCP and a UDP socket on one port, and a
// tunnel.Server behind them, whose network can be made to fail.
package tunneltest
