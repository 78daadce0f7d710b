package postgres

import (
	"testing"
	"time"

	"github.com/sluicedb/sluice/proxy/dialect"
)

func TestFailover(t *testing.T) {
	type said struct {
		after   time.Duration
		code    string
		standby bool
		renew   bool
	}
	for _, tt := range []struct {
		name string
		said []said
	}{
		{"an administrator ends two connections", []said{{0, "57P01", false, false}, {0, "57P01", false, false}}},
		{"the server ends them all", []said{{0, "57P01", false, false}, {0, "57P02", false, false}, {0, "57P01", false, true}, {0, "57P01", false, false}}},
		{"one now and then", []said{{0, "57P01", false, false}, {2 * time.Second, "57P01", false, false}, {2 * time.Second, "57P01", false, false}}},
		{"a standby is written to", []said{{0, "25006", true, true}, {time.Second, "25006", true, false}, {dialect.RenewEvery, "25006", true, true}}},
		{"a read-only transaction on the primary", []said{{0, "25006", false, false}}},
		{"something else", []said{{0, "23505", true, false}, {0, "23505", true, false}, {0, "23505", true, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f dialect.Failover
			now := time.Now()
			for i, s := range tt.said {
				now = now.Add(s.after)
				if got := isFailover(&f, s.code, s.standby, now); got != s.renew {
					t.Errorf("%d: %s: %v, want %v", i, s.code, got, s.renew)
				}
			}
		})
	}
}
