// Package harness raises what the end-to-end tests, the demo and the benchmark run against: a
// PostgreSQL with TLS, a NATS server, the two binaries of this module as separate processes, and
// network namespaces for a database that nobody else reaches.
//
// Everything hangs on a Stage. Closing it ends the processes it started, by pid and no others,
// and removes its directory; a process that dies before it could close its stage takes the
// started ones with it.
//
//	driver --> sluice proxy --> sluice relay --> sluice-connector --> postgres
//	                 \______ sluice control ______/                   (its own namespace)
//	                             nats-server
//
// Nothing here knows package testing: errors are returned, and a missing program is an error.
package harness
