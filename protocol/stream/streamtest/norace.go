//go:build !race

package streamtest

// oneByteTotal is how many bytes are sent one by one: 1 MiB and a byte.
const oneByteTotal = 1<<20 + 1
