//go:build !race

package pooling

// poolAllocations is how many allocations a query may cost.
const poolAllocations = 0

// idleClient is how many bytes an idle client may take.
const idleClient = 8 << 10

// tortureClients are the clients of TestTorture.
const tortureClients = 200
