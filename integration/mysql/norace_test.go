//go:build !race

package mysql

// perQuery is how many allocations a query may cost on average: none of its own.
const perQuery = 0.5

// idleClient is how many bytes an idle client may take.
const idleClient = 8 << 10
