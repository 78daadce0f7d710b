// Package results keeps, for one database, what is known of results of queries: its
// part of the cache, what its statements and its catalog are known to be, what its
// clients are writing, and how all of that fares. The dialects look results up, ask
// for them and pass them on; when they may, and when no longer, is decided here.
//
// Everything may be called concurrently, but for a Writes, which is one client's.
package results
