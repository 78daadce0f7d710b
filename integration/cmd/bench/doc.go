// Bench measures Sluice beside PgBouncer and beside no proxy at all: pgbench -S with the simple,
// the extended and the prepared protocol, 1, 16 and 64 clients, against
//
//	direct            PostgreSQL itself
//	pgbouncer         PgBouncer in transaction mode
//	sluice            the proxy straight to the origin
//	sluice+tunnel     proxy, relay and connector
//
// The targets take turns, workload by workload, in several short rounds; what is printed is the
// median of the rounds. Other work on the machine moves the figures of one run alike, so compare
// the ratios within a run and not the figures of two. Drivers speak plaintext on loopback; every
// pooler has a pool of the same size and TLS to PostgreSQL.
//
// Then it measures the control plane with 10,000 databases in one account: the pages of their list,
// the memory of the process, and its start.
package main
