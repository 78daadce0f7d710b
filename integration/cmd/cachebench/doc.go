// Cachebench measures answers from the query cache beside what bounds them and what else gives them:
//
//	echo        a server in Go that answers as many bytes with as many, and does nothing else
//	redis       Redis, GET of as many bytes, one connection for each client
//	pgpool      pgpool-II with its query cache in shared memory
//	pgbouncer   PgBouncer in transaction mode, no cache
//	origin      PostgreSQL itself
//	sluice      the proxy, every answer a hit
//
// One query by primary key, of 200 bytes and of 10 KB, by the simple protocol (Query) and by the extended one (Parse, Bind, Describe,
// Execute and Sync in one packet), with 1, 8 and 64 connections. Every server is a process of its own; the clients are this
// one's, the same code for all, over plaintext TCP. The parts are
//
//	hits      rate and latency of all the ways
//	misses    what asking the origin costs with caching on, beside the same with caching disabled
//	mysql     hits of the MySQL proxy, text and prepared, beside the echo server and MySQL itself
//	memory    what an entry costs the proxy beyond its answer, of 100,000
//
// The ways take turns in several short rounds, and what is printed is the median of the rounds. Other work on the machine moves the
// figures of one run alike: compare the ratios within a run, not the figures of two.
package main
