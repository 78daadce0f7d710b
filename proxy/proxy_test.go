package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"

	"github.com/sluicedb/sluice/control"
)

// What is not encrypted is not dialled where its hostname does not lead to the
// connector's own machine any more.
func TestPlaintextStaysOnAMachine(t *testing.T) {
	ctx := t.Context()
	state, err := control.Open(ctx, control.Config{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	tunnel, err := state.CreateTunnel(ctx, control.DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	made, err := state.CreateManagedDatabase(ctx, tunnel.ID, "unix:/run/postgresql/.s.PGSQL.5432", &control.Database{
		AccountID: control.DefaultAccountID, Name: "app", MTLS: control.MTLS{SSLMode: control.SSLDisable},
		Origin: control.Origin{Scheme: "postgres", User: "app", Database: "app", Insecure: true},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	errDialled := errors.New("dialled")
	p := New(Config{Source: state, Dial: func(context.Context, Target) (net.Conn, error) { return nil, errDialled }})
	dial, err := p.dialer(made.Database)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(ctx); !errors.Is(err, errDialled) {
		t.Errorf("beside the connector: %v", err)
	}
	_, err = state.UpdateTunnel(ctx, control.DefaultAccountID, tunnel.ID, func(next *control.Tunnel) error {
		next.Ingress = nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(ctx); !errors.Is(err, errPlaintext) {
		t.Errorf("without a route: %v", err)
	}
}

// A hostname that another account has claimed since is not dialled.
func TestForeignHostname(t *testing.T) {
	ctx := t.Context()
	state, err := control.Open(ctx, control.Config{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	account, _, err := state.CreateAccount(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	errDialled := errors.New("dialled")
	p := New(Config{Source: state, Dial: func(context.Context, Target) (net.Conn, error) { return nil, errDialled }})
	of := &control.Database{AccountID: control.DefaultAccountID, Name: "app", Origin: control.Origin{
		Host: "db.internal.example", AccessClientID: "0.access", AccessClientSecret: control.Plaintext("secret"),
	}}
	dial, err := p.dialer(of)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		account string
		want    error
	}{{control.DefaultAccountID, errDialled}, {account.ID, errForeign}} {
		tunnel, err := state.CreateTunnel(ctx, test.account, "vpc")
		if err != nil {
			t.Fatal(err)
		}
		route := func(rules ...control.Ingress) {
			t.Helper()
			if _, err := state.UpdateTunnel(ctx, test.account, tunnel.ID, func(next *control.Tunnel) error {
				next.Ingress = rules
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		route(control.Ingress{Hostname: of.Origin.Host, Service: "tcp://10.0.0.5:5432"})
		if _, err := dial(ctx); !errors.Is(err, test.want) {
			t.Errorf("routed by account %s: got %v, want %v", test.account, err, test.want)
		}
		route()
	}
}
