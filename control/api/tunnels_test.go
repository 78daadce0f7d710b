package api

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func TestTunnelTokenRotates(t *testing.T) {
	w := newWorld(t)
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-1"}`)
	path := "/cfd_tunnel/" + tunnel.ID
	first := must[string](w, "GET", path+"/token", "")
	second := must[string](w, "POST", path+"/token", "")
	if first == second || must[string](w, "GET", path+"/token", "") != second {
		t.Error("the token is the old one")
	}
	chosen := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))
	patched := must[v4.Tunnel](w, "PATCH", path, `{"name": "vpc-2", "tunnel_secret": "`+chosen+`"}`)
	if patched.Name != "vpc-2" || patched.TokenVersion != 3 {
		t.Errorf("patched %+v", patched)
	}
	if got := must[string](w, "GET", path+"/token", ""); got != tunnel.ID+":"+chosen {
		t.Error("the token does not have the secret that was chosen")
	}
	if got := must[v4.Tunnel](w, "PATCH", path, `{"name": "vpc-3"}`); got.Name != "vpc-3" || got.TokenVersion != 3 {
		t.Errorf("renamed %+v", got)
	}
	const fault = "tunnel_secret: must be the base64 of at least 32 random bytes, in at most 256 characters; leave it out for one that is made here"
	short := base64.StdEncoding.EncodeToString([]byte("short"))
	long := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 200)))
	for _, secret := range []string{short, long, "not base64 at all, and long enough to be one"} {
		w.refused("POST", "/cfd_tunnel", `{"name": "other", "tunnel_secret": "`+secret+`"}`, 400, codeInvalid, fault)
		w.refused("PATCH", path, `{"name": "changed", "tunnel_secret": "`+secret+`"}`, 400, codeInvalid, fault)
	}
	if got := must[v4.Tunnel](w, "GET", path, ""); got.Name != "vpc-3" || got.TokenVersion != 3 {
		t.Errorf("after refused changes: %+v", got)
	}
	w.refused("POST", "/cfd_tunnel/none/token", "", 404, codeNotFound, "no such tunnel")
	w.refused("PATCH", "/cfd_tunnel/none", `{"name": "a"}`, 404, codeNotFound, "no such tunnel")
	made := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "other", "tunnel_secret": "`+chosen+`"}`)
	if got := must[string](w, "GET", "/cfd_tunnel/"+made.ID+"/token", ""); got != made.ID+":"+chosen {
		t.Error("the new tunnel does not have the secret that was chosen")
	}
}

func TestConnections(t *testing.T) {
	w := newWorld(t)
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-1"}`)
	path := "/cfd_tunnel/" + tunnel.ID
	if tunnel.Status != "inactive" || tunnel.ConnsActiveAt != nil || len(tunnel.Connections) != 0 {
		t.Errorf("a new tunnel: %+v", tunnel)
	}
	if got := must[[]v4.Connector](w, "GET", path+"/connections", ""); len(got) != 0 {
		t.Errorf("connections of a new tunnel: %+v", got)
	}
	since := time.Now().UTC().Truncate(time.Second).Add(-time.Hour)
	session := func(connector string, slot uint32, version int64) control.Connection {
		return control.Connection{
			ID: fmt.Sprintf("%s-%d", connector, slot), Connector: connector, Slot: slot, Version: "1.2.3", Protocol: "quic",
			Remote: "192.0.2.1:4433", Since: since.Add(time.Duration(slot) * time.Minute), ConfigVersion: version, Streams: 3,
			Labels: map[string]string{"arch": "linux_amd64"},
		}
	}
	w.control.Present(control.Relay{ID: "relay-1"}, map[string][]control.Connection{
		tunnel.ID:                              {session("a", 0, 7), session("a", 1, 6), session("b", 0, 7)},
		"00000000-0000-0000-0000-000000000000": {session("other", 0, 1)},
	})
	connected := eventually(t, func() ([]v4.Connector, bool) {
		connected := must[[]v4.Connector](w, "GET", path+"/connections", "")
		return connected, len(connected) > 0
	})
	if len(connected) != 2 || connected[0].ID != "a" || len(connected[0].Conns) != 2 || len(connected[1].Conns) != 1 {
		t.Fatalf("connected %+v", connected)
	}
	one := connected[0]
	if one.Version != "1.2.3" || one.Arch != "linux_amd64" || one.ConfigVersion != 6 || !one.RunAt.Equal(since) || one.Features == nil {
		t.Errorf("connector %+v", one)
	}
	if again := must[v4.Connector](w, "GET", path+"/connectors/a", ""); !reflect.DeepEqual(again, one) {
		t.Errorf("by its id: got %+v, want %+v", again, one)
	}
	w.refused("GET", path+"/connectors/other", "", 404, codeNotFound, "no such connector")
	want := v4.TunnelConnection{
		ID: "a-1", UUID: "a-1", ClientID: "a", ClientVersion: "1.2.3", ColoName: "relay-1", OpenedAt: since.Add(time.Minute),
		OriginIP: "192.0.2.1", Slot: 1, Protocol: "quic", Streams: 3, ConfigVersion: 6,
	}
	if !reflect.DeepEqual(one.Conns[1], want) {
		t.Errorf("got %+v, want %+v", one.Conns[1], want)
	}
	got := must[v4.Tunnel](w, "GET", path, "")
	if got.Status != "healthy" || len(got.Connections) != 3 || got.ConnsActiveAt == nil || !got.ConnsActiveAt.Equal(since) || got.ConnsInactiveAt != nil {
		t.Errorf("got %+v", got)
	}
	for query, want := range map[string]int{"?status=healthy": 1, "?status=down": 0, "?uuid=" + tunnel.ID: 1, "?uuid=none": 0} {
		if got := must[[]v4.Tunnel](w, "GET", "/cfd_tunnel"+query, ""); len(got) != want {
			t.Errorf("%s: got %d, want %d", query, len(got), want)
		}
	}

	ended := make(chan string, 1)
	stop, err := w.control.OnDisconnect(func(id, connector string) { ended <- id + " " + connector })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for query, want := range map[string]string{"": tunnel.ID + " ", "?client_id=a": tunnel.ID + " a"} {
		if got := w.request("DELETE", path+"/connections"+query, ""); got.status != 200 || string(got.Result) != "null" {
			t.Errorf("clean up: %d %s", got.status, got.body)
		}
		if got := <-ended; got != want {
			t.Errorf("relays heard %q, want %q", got, want)
		}
	}
	w.refused("GET", "/cfd_tunnel/none/connections", "", 404, codeNotFound, "no such tunnel")
	w.refused("DELETE", "/cfd_tunnel/none/connections", "", 404, codeNotFound, "no such tunnel")
	w.refused("DELETE", path+"/connections?client_id="+strings.Repeat("a", textMax+1), "", 400, codeInvalid, "client_id: is no connector's")
}

func TestIngressIsValidated(t *testing.T) {
	w := newWorld(t)
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-1"}`)
	path := "/cfd_tunnel/" + tunnel.ID + "/configurations"
	before := must[v4.TunnelConfiguration](w, "PUT", path, `{"config": {"ingress": [{"hostname": "db.example", "service": "tcp://10.0.0.5:5432"}]}}`)
	const catchAllFault = "must be http_status:404 in the catch-all, the last rule, which has no hostname: what no rule names is not reached"
	tests := []struct {
		name, ingress string
		messages      []string
	}{
		{"a catch-all before the last", `{"service": "http_status:404"}, {"hostname": "a.example", "service": "tcp://h:1"}`,
			[]string{"ingress[0].hostname: is missing: only the last rule, the catch-all, has none"}},
		{"two catch-alls", `{"service": "http_status:404"}, {"service": "http_status:404"}`,
			[]string{"ingress[0].hostname: is missing: only the last rule, the catch-all, has none"}},
		{"a catch-all that leads somewhere", `{"service": "tcp://10.0.0.5:5432"}`, []string{"ingress[0].service: " + catchAllFault}},
		{"a catch-all with no status", `{"service": "http_status:"}`, []string{"ingress[0].service: " + catchAllFault}},
		{"a catch-all with a status that is none", `{"service": "http_status:4040"}`, []string{"ingress[0].service: " + catchAllFault}},
		{"a wildcard in the middle", `{"hostname": "db.*.example", "service": "tcp://h:1"}`, []string{"ingress[0].hostname: may have a wildcard only as its whole first label"}},
		{"a wildcard in a label", `{"hostname": "db*.internal.example", "service": "tcp://h:1"}`, []string{"ingress[0].hostname: may have a wildcard only as its whole first label"}},
		{"a wildcard alone", `{"hostname": "*", "service": "tcp://h:1"}`, []string{"ingress[0].hostname: may have a wildcard only as its whole first label"}},
		{"a wildcard over a top level", `{"hostname": "*.example", "service": "tcp://h:1"}`, []string{"ingress[0].hostname: must name at least two labels after the wildcard"}},
		{"a port in the hostname", `{"hostname": "a.example:5432", "service": "tcp://h:1"}`, []string{"ingress[0].hostname: must be a name alone, without scheme, port or path"}},
		{"a path in the hostname", `{"hostname": "a.example/x", "service": "tcp://h:1"}`, []string{"ingress[0].hostname: must be a name alone, without scheme, port or path"}},
		{"upper case", `{"hostname": "A.example", "service": "tcp://h:1"}`, []string{"ingress[0].hostname: must be lower case"}},
		{"a path", `{"hostname": "a.example", "service": "tcp://h:1", "path": "/x"}`, []string{"ingress[0].path: must be empty: a database has no paths"}},
		{"a duplicate", `{"hostname": "a.example", "service": "tcp://h:1"}, {"hostname": "a.example", "service": "tcp://h:2"}`,
			[]string{"ingress[1].hostname: is that of ingress[0] again: a.example"}},
		{"no service", `{"hostname": "a.example", "service": ""}`, []string{"ingress[0].service: is required: tcp://host:port or unix:/path"}},
		{"another scheme", `{"hostname": "a.example", "service": "https://h:1"}`, []string{"ingress[0].service: must be tcp://host:port or unix:/path"}},
		{"no port", `{"hostname": "a.example", "service": "tcp://h"}`, []string{"ingress[0].service: must have a port between 1 and 65535"}},
		{"a port too high", `{"hostname": "a.example", "service": "tcp://h:65536"}`, []string{"ingress[0].service: must have a port between 1 and 65535"}},
		{"a service with a path", `{"hostname": "a.example", "service": "tcp://h:1/db"}`, []string{"ingress[0].service: must be tcp://host:port alone, without user, path or query"}},
		{"a relative socket", `{"hostname": "a.example", "service": "unix:run/pg"}`,
			[]string{"ingress[0].service: must name an absolute path after unix:, without '.', '..' or a trailing slash"}},
		{"one good and two bad rules", `{"hostname": "ok.example", "service": "tcp://h:1"}, {"hostname": "", "service": "x"}, {"hostname": "b.example", "service": "tcp://h:1", "path": "p"}`,
			[]string{"ingress[1].hostname: is missing: only the last rule, the catch-all, has none", "ingress[2].path: must be empty: a database has no paths"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inner := *w
			inner.t = t
			inner.refused("PUT", path, `{"config": {"ingress": [`+tt.ingress+`]}}`, 400, codeInvalid, tt.messages...)
		})
	}
	if now := must[v4.TunnelConfiguration](w, "GET", path, ""); !reflect.DeepEqual(now, before) {
		t.Errorf("refused changes made %+v of %+v", now, before)
	}
}
