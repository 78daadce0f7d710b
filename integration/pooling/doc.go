// Package pooling proves the PostgreSQL proxy's behaviour against a real server,
// message by message: the proxy runs in the test's process, straight to the
// origin, and the tests speak the protocol by hand or through drivers.
package pooling
