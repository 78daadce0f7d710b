// Bench measures Sluice beside other poolers and beside no proxy at all. Of PostgreSQL:
//
//	direct            PostgreSQL itself
//	pgbouncer         PgBouncer in transaction mode
//	sluice            the proxy straight to the origin
//	sluice+tunnel     proxy, relay and connector
//
// Of MySQL, with sysbench's workloads:
//
//	direct            MySQL itself
//	haproxy           HAProxy, which passes bytes on
//	router            MySQL Router, a server connection for each client
//	router-share      the same with connection sharing
//	sluice            the proxy straight to the origin
//	sluice-postgres   the PostgreSQL proxy, whose processor time is to compare with
//
// Hops are plaintext, except in the tunnel's way and where a workload is about TLS. The targets
// take turns, workload by workload, in several short rounds; what is printed is the median of the
// rounds. Other work on the machine moves the figures of one run alike, so compare the ratios
// within a run and not the figures of two. Every pooler has a pool of the same size.
//
// What is measured can be chosen with -only:
//
//	simple, extended, prepared  pgbench -S by each protocol, with 1, 16 and 64 clients
//	tpcb, connect               pgbench's TPC-B, and pgbench -S -C
//	tls-driver, tls-origin      prepared, with TLS on one hop of the pooler
//	logins                      connections a second with SCRAM-SHA-256
//	calls                       system calls for each transaction, by strace
//	bulk, idle                  one large result, and the memory of 10,000 idle clients
//	distance                    round trips where driver, proxy and origin are far apart; takes
//	                            root, for network namespaces
//	mysql-point, mysql-readonly, mysql-readwrite, and each with -prepared: oltp_point_select,
//	                            oltp_read_only and oltp_read_write of sysbench, with 1, 16 and 64 clients
//	mysql-calls, mysql-idle     what calls and idle are, for MySQL; "mysql" are all of these
//	control                     the control plane with 10,000 databases in one account: the pages
//	                            of their list, the memory of the process, and its start
//
// The processor time of a pooler is that of its process, in hundredths of a second; allocations
// are what a process in Go says itself. -profile writes where the proxy's time goes.
package main
