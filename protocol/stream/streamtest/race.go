//go:build race

package streamtest

// oneByteTotal is how many bytes are sent one by one: 2^15 and a byte, because the race detector makes each of them five times as
// expensive.
const oneByteTotal = 1<<15 + 1
