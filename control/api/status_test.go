package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// servePools answers for one proxy until the test ends.
func (w *world) servePools(pools func() map[string]control.PoolState) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- w.control.ServeProxy(ctx, "proxy-1", "v1", func(string, int) map[string]control.PoolState { return pools() })
	}()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
}

// problems are a status's, as "kind name: problem".
func problems(s v4.Status) string {
	var lines []string
	for _, p := range s.Problems {
		if p.Mend == "" {
			lines = append(lines, "NO MEND")
		}
		lines = append(lines, p.Kind+" "+p.Name+": "+p.Problem)
	}
	return strings.Join(lines, "\n")
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	if s := must[v4.Status](w, "GET", "/status", ""); len(s.Problems) != 0 || s.Relays == nil || s.Tunnels == nil || s.Databases == nil || s.Expiring == nil {
		t.Errorf("of an empty installation: %+v", s)
	}
	must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name":"spare"}`)
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name":"vpc"}`)
	managed, err := w.control.CreateManagedDatabase(t.Context(), tunnel.ID, "tcp://10.0.0.5:5432",
		&control.Database{AccountID: control.DefaultAccountID, Name: "private", Origin: control.Origin{User: "u", Database: "d", Password: control.Plaintext("p")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := w.control.CreateDatabase(t.Context(), &control.Database{AccountID: control.DefaultAccountID, Name: "public",
		Origin: control.Origin{Host: "db.example", Port: 5432, User: "u", Database: "d", Password: control.Plaintext("p")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"relay : no relay is up: no tunnel can be reached",
		"proxy : no proxy is up: drivers cannot connect",
		"tunnel vpc: no connector is connected: 1 hostnames cannot be reached",
		"database private: its tunnel vpc has no connector",
	}, "\n")
	s := must[v4.Status](w, "GET", "/status", "")
	if got := problems(s); got != want {
		t.Errorf("with nothing up, got:\n%s\nwant:\n%s", got, want)
	}
	if s.TunnelsTotal != 2 || s.Tunnels[0].Name != "vpc" || s.Tunnels[0].State != "down" || s.Tunnels[1].State != "unused" {
		t.Errorf("tunnels: %+v", s.Tunnels)
	}

	state := map[string]control.PoolState{
		managed.Database.ID: {Open: 20, Max: 20, Waiting: 3},
		public.Database.ID:  {Max: 20, Code: control.TestRefused, Failure: "db.example:5432 refuses connections."},
	}
	w.servePools(func() map[string]control.PoolState { return state })
	connection := control.Connection{ID: "s1", Connector: "c1", Version: "v1", Protocol: "quic", Since: time.Now(), ConfigVersion: 1, Streams: 7}
	w.control.Present(control.Relay{ID: "relay-1", Version: "v1", Since: time.Now()}, map[string][]control.Connection{tunnel.ID: {connection}})
	want = strings.Join([]string{
		"connector c1: it has version 1 of the hostnames of tunnel vpc, which are at 2",
		"database private: 3 clients wait: all of 20 origin connections are in use",
		"database public: db.example:5432 refuses connections.",
	}, "\n")
	for deadline := time.Now().Add(time.Minute); ; {
		s = must[v4.Status](w, "GET", "/status", "")
		if problems(s) == want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got:\n%s\nwant:\n%s", problems(s), want)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if len(s.Relays) != 1 || s.Relays[0].ID != "relay-1" || len(s.Proxies) != 1 || s.Proxies[0].ID != "proxy-1" {
		t.Errorf("relays %+v, proxies %+v", s.Relays, s.Proxies)
	}
	if c := s.Tunnels[0].Connectors; len(c) != 1 || c[0].Conns[0].Streams != 7 || c[0].Conns[0].Protocol != "quic" || c[0].Conns[0].ColoName != "relay-1" {
		t.Errorf("connectors: %+v", c)
	}
	if d := s.Databases[0]; d.State != "waiting" || d.Open != 20 || d.Waiting != 3 || s.Databases[1].State != "failing" || s.Databases[1].Origin != "db.example:5432" {
		t.Errorf("databases: %+v", s.Databases)
	}
}

func TestStatusOfWhatExpires(t *testing.T) {
	w := newWorld(t)
	for _, d := range []time.Duration{time.Hour, 20 * 24 * time.Hour, 40 * 24 * time.Hour} {
		if _, _, err := w.control.CreateAPIToken(t.Context(), control.DefaultAccountID, d.String(), control.ScopeRead, time.Now().Add(d)); err != nil {
			t.Fatal(err)
		}
	}
	s := must[v4.Status](w, "GET", "/status", "")
	if len(s.Problems) != 0 || len(s.Expiring) != 2 || s.Expiring[0].Name != "1h0m0s" || s.Expiring[1].Kind != "api_token" {
		t.Errorf("expiring %+v, problems %+v: an API token that ends as it was meant to is no problem", s.Expiring, s.Problems)
	}
	call := &call{account: control.DefaultAccountID, snapshot: w.control.Snapshot()}
	late := &survey{call: call, presence: w.control.Presence(), now: time.Now().Add(2 * time.Hour)}
	late.expiring(time.Now().Add(24 * time.Hour))
	got := problems(late.out())
	if !strings.Contains(got, "api_token 1h0m0s: it has ended on ") || !strings.Contains(got, "ca Sluice's own CA: it ends on ") {
		t.Errorf("later: %s", got)
	}
}
