//go:build race

package relay

// slowness divides a load: the race detector makes each open about five times as expensive.
const slowness = 5
