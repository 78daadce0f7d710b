// Package integration has the tests of the whole path: real drivers, the components as separate
// processes, a real PostgreSQL. Package harness raises them; a missing program fails the tests.
package integration
