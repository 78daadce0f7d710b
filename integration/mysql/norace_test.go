//go:build !race

package mysql

// perQuery is how many allocations a query may cost on average: none of its own.
const perQuery = 0.5
