// Package caching proves the query cache of the PostgreSQL proxy against a real
// server: the proxy runs in the test's process, straight to the origin. The tests
// carry the numbers of docs/behaviours.md.
package caching
