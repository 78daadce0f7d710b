package dialect

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestCancels: a connection settles when its last request has come, and never where one may be still to come.
func TestCancels(t *testing.T) {
	for _, test := range []struct {
		name          string
		requests      []bool // what became of them is certain, in the order in which they come
		never         bool   // one more does not come at all
		made, settled bool
	}{
		{name: "none", settled: true},
		{name: "two that came", requests: []bool{true, true}, made: true, settled: true},
		{name: "one in doubt", requests: []bool{false, true}, made: true},
		{name: "one that does not come", requests: []bool{true}, never: true, made: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c Cancels
				for range test.requests {
					c.Start()
				}
				if test.never {
					c.Start()
				}
				go func() {
					for _, certain := range test.requests {
						time.Sleep(time.Second)
						c.Done(certain)
					}
				}()
				began := time.Now()
				made, settled := c.Settle(time.Minute)
				if made != test.made || settled != test.settled {
					t.Errorf("made %v, settled %v; want %v, %v", made, settled, test.made, test.settled)
				}
				want := time.Duration(len(test.requests)) * time.Second
				if test.never {
					want = time.Minute
				}
				if waited := time.Since(began); waited != want {
					t.Errorf("it waited %v, want %v", waited, want)
				}
				c.Forget()
				if c.Over() != nil {
					t.Error("a forgotten request is remembered")
				}
			})
		})
	}
}
