// Demo shows the whole path on one machine: a PostgreSQL in a private network that the proxy
// never dials, a server, a connector inside that network, and psql through all of it. Then it
// measures what the way costs, shows that without the policy nobody gets through, and shows the same
// with a MySQL or MariaDB where the machine has one.
//
// The private network is a network namespace, or, where the machine allows none, a unix socket.
// Everything is thrown away at the end, unless -keep leaves it running to be looked at.
package main
