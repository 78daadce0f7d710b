//go:build !race

package relay

// slowness divides a load.
const slowness = 1
