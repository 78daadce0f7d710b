//go:build race

package pooling

// poolAllocations is how many allocations a query may cost: under the race detector
// sync.Pool forgets at random.
const poolAllocations = 2

// idleClient is how many bytes an idle client may take: stacks are larger here.
const idleClient = 14 << 10

// idleStack is how many bytes of stack an idle client may take: frames are larger here.
const idleStack = 5 << 10

// tortureClients are as many as get through with the race detector, which makes
// everything some ten times as slow, before they give up waiting in line.
const tortureClients = 60
