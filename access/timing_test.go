package access

import "testing"

// guesses are requests of somebody who has no valid credentials, by what is wrong with them.
func guesses() (Directory, map[string]Request) {
	dir := newDirectory(Policy{ID: "p", Name: "p", Decision: NonIdentity, Include: []Rule{{Selector: SelectServiceToken, Value: "tok-a"}}})
	request := func(id, secret string) Request {
		return Request{Hostname: host, ClientID: id, ClientSecret: secret, Time: now}
	}
	return dir, map[string]Request{
		"unknown":              request("ffffffffffffffffffffffffffffffff.access", "secret-x"),
		"wrong":                request(idA, "secret-x"),
		"wrong in last letter": request(idA, "secret-b"),
	}
}

// Whoever guesses is answered the same, after the same work, whether the client ID exists or not; BenchmarkGuess shows how long it
// takes.
func TestTunnel28UnknownCostsAsMuchAsWrong(t *testing.T) {
	dir, requests := guesses()
	want := Decide(dir, requests["unknown"])
	work := testing.AllocsPerRun(100, func() { Decide(dir, requests["unknown"]) })
	for name, req := range requests {
		if got := Decide(dir, req); got.Outcome != Unauthenticated || got.Outcome != want.Outcome {
			t.Errorf("%s: got %v, want %v", name, got.Outcome, want.Outcome)
		}
		if got := testing.AllocsPerRun(100, func() { Decide(dir, req) }); got != work {
			t.Errorf("%s: %v allocations, unknown has %v", name, got, work)
		}
	}
}

func BenchmarkGuess(b *testing.B) {
	dir, requests := guesses()
	for name, req := range requests {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Decide(dir, req)
			}
		})
	}
}
