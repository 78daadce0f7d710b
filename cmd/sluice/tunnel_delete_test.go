package main

import (
	"strings"
	"testing"
)

func TestConfirmDelete(t *testing.T) {
	for _, tt := range []struct {
		name      string
		databases []string
		terminal  bool
		typed     string
		want      string // the error
		asked     bool
	}{
		{name: "no database"},
		{name: "no terminal", databases: []string{"app", "orders"}, typed: "vpc-1\n",
			want: "tunnel vpc-1 is how these databases are reached: app, orders; no driver reaches them without it, and --force deletes it all the same"},
		{name: "its name", databases: []string{"app"}, terminal: true, typed: "vpc-1\n", asked: true},
		{name: "something else", databases: []string{"app"}, terminal: true, typed: "y\n", want: "tunnel vpc-1 is not deleted", asked: true},
		{name: "nothing", databases: []string{"app"}, terminal: true, want: "tunnel vpc-1 is not deleted", asked: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var errs strings.Builder
			a := &app{in: strings.NewReader(tt.typed), err: &errs}
			if tt.terminal {
				a.readPassword = func() ([]byte, error) { return nil, nil }
			}
			got := ""
			if err := a.confirmDelete("vpc-1", tt.databases); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("error %q, want %q", got, tt.want)
			}
			if asked := strings.HasPrefix(errs.String(), "Tunnel vpc-1 is how these databases are reached: app.\n"); asked != tt.asked {
				t.Errorf("asked %q", errs.String())
			}
		})
	}
}

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		rule, host string
		want       bool
	}{
		{"db.example.com", "db.example.com", true},
		{"db.example.com", "a.db.example.com", false},
		{"*.example.com", "db.example.com", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", "dbexample.com", false},
	} {
		if got := covers(tt.rule, tt.host); got != tt.want {
			t.Errorf("covers(%q, %q) = %t", tt.rule, tt.host, got)
		}
	}
}
