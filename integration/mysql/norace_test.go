//go:build !race

package mysql

// perQuery is how many allocations a query may cost on average: none of its own.
const perQuery = 0.5

// idleClient is how many bytes an idle client may take.
const idleClient = 8 << 10

// idleStack is how many bytes of stack an idle client may take: a goroutine begins with
// 2 KiB, and what others leave of a span is counted.
const idleStack = 3 << 10
