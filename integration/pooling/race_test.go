//go:build race

package pooling

// poolAllocations is how many allocations a query may cost: under the race detector
// sync.Pool forgets at random.
const poolAllocations = 2
