package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// pair makes a self-signed certificate and its key, in PEM.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(42), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// upload is the body that uploads a certificate; without a key it is a CA's.
func upload(t *testing.T, name, cert, key string) string {
	t.Helper()
	body, err := json.Marshal(v4.CertificateCreate{Name: name, CA: key == "", Certificates: cert, PrivateKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestCertificates(t *testing.T) {
	w := newWorld(t)
	cert, key := pair(t)
	const path = "/mtls_certificates"
	ca := must[v4.Certificate](w, "POST", path, upload(t, "ca", cert, ""))
	client := must[v4.Certificate](w, "POST", path, upload(t, "client", cert, key))
	if !ca.CA || client.CA || client.Issuer != "CN=client" || client.SerialNumber != "42" || client.Signature != "ECDSA-SHA256" ||
		client.Type != "custom" || client.Certificates != cert || client.ExpiresOn.IsZero() || client.UploadedOn.IsZero() {
		t.Errorf("made %+v", client)
	}
	for query, want := range map[string]string{"": "ca client", "?ca=false": "client", "?ca=true": "ca", "?name=client": "client", "?name=none": "", "?page=2&per_page=1": "client"} {
		var names []string
		for _, c := range must[[]v4.Certificate](w, "GET", path+query, "") {
			names = append(names, c.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	w.refused("GET", path+"?ca=perhaps", "", 400, codeQuery, "ca: must be true or false")
	for _, where := range []string{path, path + "/" + client.ID} {
		if got := w.request("GET", where, ""); got.status != 200 || strings.Contains(got.body, "PRIVATE KEY") {
			t.Errorf("GET %s: %d, or the key is shown", where, got.status)
		}
	}
	w.refused("POST", path, upload(t, "x", "nonsense", "hunter2"), 400, codeInvalid,
		"certificates: holds no certificate in PEM form", "private_key: holds no private key in PEM form")

	body := func(mtls string) string {
		return `{"name": "app", "origin": {"host": "db.example.com", "port": 5432, "database": "app", "user": "app", "password": "p"}, "mtls": ` + mtls + `}`
	}
	w.refused("POST", "/hyperdrive/configs", body(`{"ca_certificate_id": "`+client.ID+`", "mtls_certificate_id": "`+ca.ID+`"}`), 400, codeInvalid,
		"mtls.ca_certificate_id: must be the id of a CA's certificates, not of a client certificate",
		"mtls.mtls_certificate_id: must be the id of a client certificate, not of a CA's certificates")
	w.refused("POST", "/hyperdrive/configs", body(`{"sslmode": "verify-ca"}`), 400, codeInvalid, "mtls.ca_certificate_id: is required with sslmode verify-ca")
	pemText, err := json.Marshal(cert)
	if err != nil {
		t.Fatal(err)
	}
	w.refused("POST", "/hyperdrive/configs", body(`{"ca_certificate_id": "`+ca.ID+`", "ca_certificate": `+string(pemText)+`}`), 400, codeInvalid,
		"mtls.ca_certificate_id: excludes ca_certificate")
	made := must[v4.Database](w, "POST", "/hyperdrive/configs", body(`{"sslmode": "verify-full", "ca_certificate_id": "`+ca.ID+`", "mtls_certificate_id": "`+client.ID+`"}`))
	if made.MTLS != (v4.MTLS{SSLMode: "verify-full", CACertificateID: ca.ID, MTLSCertificateID: client.ID}) {
		t.Errorf("made %+v", made.MTLS)
	}
	w.refused("DELETE", path+"/"+ca.ID, "", 409, codeInUse, "certificate is in use by database app")
	// A CA in the request takes the place of the one under an id.
	got := must[v4.Database](w, "PATCH", "/hyperdrive/configs/"+made.ID, `{"mtls": {"ca_certificate": `+string(pemText)+`, "mtls_certificate_id": ""}}`)
	if got.MTLS != (v4.MTLS{SSLMode: "verify-full", CACertificate: cert}) || got.Generation != 2 {
		t.Errorf("changed %+v, generation %d", got.MTLS, got.Generation)
	}
	for _, id := range []string{ca.ID, client.ID} {
		if got := w.request("DELETE", path+"/"+id, ""); got.status != 200 {
			t.Errorf("delete: %d %s", got.status, got.body)
		}
		w.refused("GET", path+"/"+id, "", 404, codeNotFound, "no such certificate")
	}
}

// TestDatabaseVersions: of two changes of one version the second is refused.
func TestDatabaseVersions(t *testing.T) {
	w := newWorld(t)
	made := must[v4.Database](w, "POST", "/hyperdrive/configs", private("app"))
	path := "/hyperdrive/configs/" + made.ID
	if made.Version != 1 {
		t.Errorf("version %d, want 1", made.Version)
	}
	if got := must[v4.Database](w, "PATCH", path, `{"version": 1, "caching": {"max_age": 30}}`); got.Version != 2 {
		t.Errorf("version %d, want 2", got.Version)
	}
	w.refused("PATCH", path, `{"version": 1, "caching": {"stale_while_revalidate": 30}}`, 409, codeConflict,
		"the database has version 2, not 1; read it again and retry")
	if got := must[v4.Database](w, "GET", path, ""); got.Caching.MaxAge != 30 || got.Caching.StaleWhileRevalidate != 15 {
		t.Errorf("got %+v", got.Caching)
	}
	w.refused("PATCH", path, `{"caching": {"disabled": true, "max_age": 5}}`, 400, codeInvalid, "caching.disabled: excludes max_age and stale_while_revalidate")
}

// explains answers as a proxy that says of each statement for which database it was asked.
func (w *world) explains(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- w.control.ServeExplain(ctx, func(_ context.Context, id, sql string) *control.Explanation {
			return &control.Explanation{Status: "uncacheable", Reason: id}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for { // until it listens
		if _, err := w.control.Explain(ctx, "", ""); !errors.Is(err, control.ErrNoProxy) {
			return
		}
	}
}

// TestDatabaseIsTested: what the test finds is the answer, unless it is skipped, and nothing is made.
func TestDatabaseIsTested(t *testing.T) {
	w := newWorld(t)
	verdict := &control.TestFailure{Code: control.TestBadCredentials, Message: "check the password."}
	w.api.test = func(context.Context, *control.Candidate) error {
		if verdict == nil {
			return nil
		}
		return verdict
	}
	w.refused("POST", "/hyperdrive/configs", private("app"), 400, control.TestBadCredentials, "check the password.")
	if got := must[[]v4.Database](w, "GET", "/hyperdrive/configs", ""); len(got) != 0 {
		t.Errorf("%d databases after a refusal", len(got))
	}
	made := must[v4.Database](w, "POST", "/hyperdrive/configs", strings.Replace(private("app"), "{", `{"skip_test": true, `, 1))
	path := "/hyperdrive/configs/" + made.ID
	w.refused("PATCH", path, `{"origin": {"user": "other"}}`, 400, control.TestBadCredentials, "check the password.")
	w.refused("POST", path+"/test", "", 400, control.TestBadCredentials, "check the password.")
	must[v4.Database](w, "PATCH", path, `{"caching": {"max_age": 30}}`) // no change of the connection
	must[v4.Database](w, "PATCH", path, `{"origin": {"user": "other"}, "skip_test": true}`)
	verdict = nil
	must[v4.TestResult](w, "POST", path+"/test", "")
	if got := must[v4.PurgeResult](w, "POST", path+"/purge_cache", ""); got.CacheEpoch != 1 {
		t.Errorf("epoch %d, want 1", got.CacheEpoch)
	}
	if got := must[[]v4.Pool](w, "GET", path+"/pools", ""); len(got) != 0 {
		t.Errorf("pools %+v where no proxy runs", got)
	}
	if got := must[[]v4.Cache](w, "GET", path+"/cache", ""); len(got) != 0 {
		t.Errorf("caches %+v where no proxy runs", got)
	}
	w.refused("POST", path+"/explain", `{"sql": "select 1"}`, 400, control.TestNoProxy, "No proxy runs that could explain the statement: start one.")
	w.refused("POST", path+"/explain", `{}`, 400, codeInvalid, "sql: is missing")
	w.explains(t)
	if got := must[v4.QueryExplanation](w, "POST", path+"/explain", `{"sql": "select 'secret'"}`); got.Status != "uncacheable" || got.Reason != made.ID {
		t.Errorf("got %+v", got)
	}
	if got := must[[]v4.Connections](w, "GET", path+"/connections", ""); len(got) != 0 {
		t.Errorf("connections %+v where no proxy runs", got)
	}
}
