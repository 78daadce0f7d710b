// Package cache keeps results of queries as bytes that are ready to be written, and
// forgets them when what they were made from may have changed. It knows no protocol:
// keys and results are bytes that a dialect makes.
//
//	hit:  key ──> Get ──> entry, checked against clock and epochs ──> bytes
//	miss: key ──> Join ──> flight ──> every client that asked, and the store
//
// A key holds everything that can change a result's bytes. The store compares keys
// in full, so that no two that differ are ever taken for each other.
//
// A result remembers the epochs of the tables that it was made from, as they were
// before its query was sent. To invalidate is to increment an epoch: no entry is
// walked, and a query under way whose epochs are old is not stored.
package cache
