package postgres

import "testing"

func TestShort(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[string]bool{
		"1ms": true, "999": true, " 0.5 s": true, "900000us": true, "0": false, "1000": false, "1s": false, "1min": false, "0.01min": true, "2h": false, "1d": false,
		"": false, "x": false, "-1": false, "1 parsec": false,
	} {
		if got := short(timeout); got != want {
			t.Errorf("%q: %t", timeout, got)
		}
	}
}
