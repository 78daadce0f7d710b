//go:build race

package caching

// hitAllocations is how many allocations a hit may cost: under the race detector
// sync.Pool forgets at random.
const hitAllocations = 3
