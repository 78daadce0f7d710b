//go:build !race

package pooling

// poolAllocations is how many allocations a query may cost.
const poolAllocations = 0

// idleClient is how many bytes an idle client may take.
const idleClient = 8 << 10

// idleStack is how many bytes of stack an idle client may take: a goroutine begins with
// 2 KiB, and what others leave of a span is counted.
const idleStack = 3 << 10

// tortureClients are the clients of TestTorture.
const tortureClients = 200
