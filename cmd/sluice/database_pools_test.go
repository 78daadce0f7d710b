package main

import (
	"bytes"
	"strings"
	"testing"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func TestPrintPools(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out}
	err := a.printPools([]v4.Pool{{
		Proxy: "edge-1/7", Clients: 12, Max: 20, Open: 5, Idle: 2, Waiting: 1, OldestWait: 0.0123, OldestLease: 75,
		Pinned: map[string]int{"lock": 1, "cursor": 0}, Queries: 100, Leases: 90, Waits: 7, Timeouts: 2,
		Dials: map[string]uint64{"warm": 5, "demand": 0}, DialErrors: 1, Closed: map[string]uint64{}, QueryP50: 0.000131, QueryP99: 1.25,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Proxy edge-1/7:", "12, 1 of them in line, the first for 12.3ms", "3 active, 2 idle, 0 being opened, at most 20", "oldest lease:  1m15s",
		"pinned:        1 lock", "opened:        5 warm (1 failed)", "closed:        none", "100 in 90 leases, of which 7 waited and 2 timed out",
		"half below 131µs, 99% below 1.3s",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
