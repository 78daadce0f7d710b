//go:build race

package mysql

// perQuery is how many allocations a query may cost on average: under the race
// detector sync.Pool forgets at random.
const perQuery = 6.0

// idleClient is how many bytes an idle client may take: stacks are larger here.
const idleClient = 14 << 10

// idleStack is how many bytes of stack an idle client may take: frames are larger here.
const idleStack = 5 << 10
