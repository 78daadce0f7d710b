//go:build !race

package pooling

// poolAllocations is how many allocations a query may cost.
const poolAllocations = 0
