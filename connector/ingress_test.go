package connector

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

func TestIngressLookup(t *testing.T) {
	in, err := parseIngress(&tunnelpb.Configure{Version: 3, Ingress: []*tunnelpb.IngressRule{
		{Hostname: "DB.example.com.", Service: "tcp://10.0.0.5:5432"},
		{Hostname: "*.example.com", Service: "unix:/run/any.sock"},
		{Hostname: "*.eu.example.com", Service: "tcp://[fd00::5]:3306"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ hostname, want string }{
		{"db.example.com", "10.0.0.5:5432"},
		{"db.Example.Com.", "10.0.0.5:5432"},
		{"other.example.com", "/run/any.sock"},
		{"a.b.example.com", "/run/any.sock"},
		{"x.eu.example.com", "[fd00::5]:3306"},
		{"example.com", ""},
		{"notexample.com", ""},
		{"", ""},
		{"com", ""},
	}
	for _, tt := range tests {
		if got, _ := in.lookup(tt.hostname); got.address != tt.want {
			t.Errorf("lookup(%q) leads to %q, want %q", tt.hostname, got.address, tt.want)
		}
	}
}

func TestIngressReportsEveryFault(t *testing.T) {
	_, err := parseIngress(&tunnelpb.Configure{Ingress: []*tunnelpb.IngressRule{
		{Hostname: "a.example", Service: "http://x"},
		{Hostname: "a.*.example", Service: "tcp://h:1"},
		{Hostname: "ok.example", Service: "tcp://h:1"},
		{Hostname: "OK.example", Service: "tcp://h:2"},
		{Hostname: "b.example", Service: "tcp://h:0"},
		{Hostname: "c.example", Service: "unix:relative"},
		{Hostname: "", Service: "tcp://h:1"},
		{Hostname: "d.example:5432", Service: "tcp://h:1"},
		{Hostname: "e.example", Service: "tcp://h:1/path"},
		{Hostname: "f.example", Service: "unix:/a/../b"},
	}})
	if err == nil {
		t.Fatal("the rules are taken")
	}
	for _, want := range []string{"rule 1:", "rule 2:", "rule 4:", "rule 5:", "rule 6:", "rule 7:", "rule 8:", "rule 9:", "rule 10:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "rule 3:") {
		t.Errorf("rule 3 is good:\n%v", err)
	}
}

func TestIngressIsBounded(t *testing.T) {
	if _, err := parseIngress(&tunnelpb.Configure{Ingress: make([]*tunnelpb.IngressRule, maxRules+1)}); err == nil {
		t.Error("too many rules are taken")
	}
}

func FuzzParseIngress(f *testing.F) {
	for _, c := range []*tunnelpb.Configure{
		{Version: 1, Ingress: rule("db.example", "tcp://10.0.0.5:5432")},
		{Version: 2, Ingress: rule("*.example", "unix:/run/s")},
		{Version: 1 << 63, Ingress: rule("*", "tcp://:")},
	} {
		b, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "db.example")
	}
	f.Fuzz(func(t *testing.T, b []byte, hostname string) {
		var c tunnelpb.Configure
		if proto.Unmarshal(b, &c) != nil {
			return
		}
		in, err := parseIngress(&c)
		if err != nil {
			return
		}
		s, ok := in.lookup(hostname)
		if ok && (s.network != "tcp" && s.network != "unix" || s.address == "") {
			t.Errorf("%q leads to %+v", hostname, s)
		}
		if ok && len(c.GetIngress()) == 0 {
			t.Errorf("%q leads somewhere without a rule", hostname)
		}
	})
}
