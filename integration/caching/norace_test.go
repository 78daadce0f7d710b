//go:build !race

package caching

// hitAllocations is how many allocations a hit may cost.
const hitAllocations = 0
