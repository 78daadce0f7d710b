package access

import (
	"testing"
	"time"
)

// Whoever guesses learns from the time of the answer as little as from its text: not whether the client ID exists, nor how much of
// the secret is right. The quickest of many batches is compared, which is what a patient observer would do, and it may differ by
// half: a map's hit costs some 20 ns more than its miss, and the jitter of one packet hides a thousand times that.
func TestTunnel28UnknownTakesAsLongAsWrong(t *testing.T) {
	dir := newDirectory(Policy{ID: "p", Name: "p", Decision: NonIdentity, Include: []Rule{{Selector: SelectServiceToken, Value: "tok-a"}}})
	request := func(id, secret string) Request {
		return Request{Hostname: host, ClientID: id, ClientSecret: secret, Time: now}
	}
	quickest := func(req Request) time.Duration {
		const batch = 500
		best := time.Hour
		for range 200 {
			start := time.Now()
			for range batch {
				if Decide(dir, req).Outcome != Unauthenticated {
					t.Fatal("not unauthenticated")
				}
			}
			best = min(best, time.Since(start)/batch)
		}
		return best
	}
	unknown := quickest(request("ffffffffffffffffffffffffffffffff.access", "secret-x"))
	for name, req := range map[string]Request{
		"wrong secret": request(idA, "secret-x"), "wrong in its last letter": request(idA, "secret-b"),
	} {
		got := quickest(req)
		t.Logf("unknown %v, %s %v", unknown, name, got)
		if got > unknown*3/2 || unknown > got*3/2 {
			t.Errorf("unknown takes %v, %s %v: they can be told apart", unknown, name, got)
		}
	}
}
