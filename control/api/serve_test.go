package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// serve serves a world's API over TLS and returns its URL and a stop that waits.
func (w *world) serve() (url string, stop func()) {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.api.Serve(ctx, ln) }()
	return "https://" + ln.Addr().String(), func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Serve: %v", err)
		}
	}
}

func (w *world) client(url string) *apiclient.Client {
	w.t.Helper()
	client, err := apiclient.New(apiclient.Config{URL: url, Token: w.token, CA: w.control.CA(), UserAgent: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.Close)
	return client
}

func TestClient(t *testing.T) {
	w := newWorld(t)
	url, stop := w.serve()
	defer stop()
	client := w.client(url)

	// More than a page.
	const tunnels = 103
	for i := range tunnels {
		if _, err := client.CreateTunnel(t.Context(), v4.TunnelCreate{Name: fmt.Sprintf("vpc-%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := client.Tunnels(t.Context(), "")
	if err != nil || len(all) != tunnels {
		t.Fatalf("%d tunnels, %v; want %d", len(all), err, tunnels)
	}
	for i, tunnel := range all {
		if tunnel.Name != fmt.Sprintf("vpc-%d", i) {
			t.Fatalf("tunnel %d is %s", i, tunnel.Name)
		}
	}
	_, err = client.CreateTunnel(t.Context(), v4.TunnelCreate{Name: "vpc-1"})
	var refused *apiclient.Error
	if !errors.As(err, &refused) || !refused.HasCode(codeExists) || refused.Status != http.StatusConflict || !strings.Contains(err.Error(), "(code 1003)") {
		t.Errorf("got %v, want code %d", err, codeExists)
	}
	// An id is one segment of the path, whatever is in it.
	if _, err := client.Tunnel(t.Context(), "../../../../ca?x#y"); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("got %v, want 404", err)
	}
	if pem, err := client.CA(t.Context()); err != nil || string(pem) != string(w.control.CA()) {
		t.Errorf("CA: %v", err)
	}
}

func TestClientRefusesStrangers(t *testing.T) {
	w := newWorld(t)
	url, stop := w.serve()
	defer stop()
	stranger, err := apiclient.New(apiclient.Config{URL: url, Token: w.token})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	var authority x509.UnknownAuthorityError
	if _, err := stranger.Tunnels(t.Context(), ""); !errors.As(err, &authority) || strings.Contains(err.Error(), w.token) {
		t.Errorf("without the CA: %v", err)
	}

	// A redirect would take the token elsewhere, and what is not the API's answer is said to be so.
	followed := false
	other := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		followed = followed || r.URL.Path == "/elsewhere"
		http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer other.Close()
	lost, err := apiclient.New(apiclient.Config{URL: other.URL, Token: w.token, Account: "a", CA: pemOf(other.Certificate())})
	if err != nil {
		t.Fatal(err)
	}
	defer lost.Close()
	if _, err := lost.Tunnels(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "is not the API's") {
		t.Errorf("from another server: %v", err)
	}
	if followed {
		t.Error("the redirect was followed")
	}
	for _, url := range []string{"http://localhost:8443", "localhost:8443", "https://", "https://user:hunter2@localhost"} {
		if _, err := apiclient.New(apiclient.Config{URL: url}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("URL %q: %v", url, err)
		}
	}
}

func pemOf(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

func TestServeTLSVersions(t *testing.T) {
	w := newWorld(t)
	url, stop := w.serve()
	defer stop()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.control.CA())
	for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: version})
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// Strangers that connect and say nothing cannot take more than their places, and give them back.
func TestServeBoundsConnections(t *testing.T) {
	w := newWorld(t)
	url, stop := w.serve()
	defer stop()
	held := make([]net.Conn, 0, connectionsMax)
	defer func() {
		for _, conn := range held {
			conn.Close()
		}
	}()
	for range connectionsMax {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	one, err := net.Dial("tcp", strings.TrimPrefix(url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	_ = one.SetReadDeadline(time.Now().Add(readHeaderTimeout - time.Second))
	if _, err := one.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one connection more than there may be: %v, want it closed", err)
	}
	for _, conn := range held {
		conn.Close()
	}
	held = nil
	client := w.client(url)
	for deadline := time.Now().Add(readHeaderTimeout); ; {
		_, err := client.Tunnels(t.Context(), "")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the strangers have left: %v", err)
		}
	}
}
