// Package mysql tests the MySQL proxy against real servers, MariaDB and MySQL,
// with go-sql-driver and packets of its own making.
package mysql
