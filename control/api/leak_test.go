package api

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// clientPair is a client certificate and its key, as JSON texts.
func clientPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
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

// TestNoSecretLeaks makes everything that has a secret, lets requests with secrets fail in every way, reads every route, rotates keys
// and backs up. Then no secret of all these is in the store's files, the log at its most talkative, any answer but the one that
// shows it once, or the backup.
func TestNoSecretLeaks(t *testing.T) {
	log := &lockedBuffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w := newWorldLogging(t, logger)
	w.api.logger = logger
	secrets := map[string]string{"first API token": w.token, "origin password": "origin-Passw0rd-7261", "new origin password": "origin-Passw0rd-9958", "wrong API token": "slat_wrong-5521"}
	cert, key := clientPair(t)
	secrets["certificate's private key"] = key
	text := func(v string) string { b, _ := json.Marshal(v); return string(b) }

	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name":"vpc"}`)
	_, tunnelSecret, _ := strings.Cut(must[string](w, "GET", "/cfd_tunnel/"+tunnel.ID+"/token", ""), ":")
	secrets["tunnel secret"] = tunnelSecret
	token := must[v4.ServiceToken](w, "POST", "/access/service_tokens", `{"name":"app"}`)
	secrets["client secret"] = token.ClientSecret
	secrets["API token"] = must[v4.APIToken](w, "POST", "/tokens", `{"name":"ci","scope":"edit"}`).Value
	secrets["account's token"] = must[v4.AccountCreated](w, "POST", "/client/v4/installation/accounts", `{"name":"team"}`).Token
	must[v4.Certificate](w, "POST", "/mtls_certificates", `{"name":"c","ca":false,"certificates":`+text(cert)+`,"private_key":`+text(key)+`}`)
	origin := `{"tunnel_id":"vpc","service":"tcp://10.0.0.5:5432","user":"u","database":"d","password":"` + secrets["origin password"] + `"}`
	database := must[v4.Database](w, "POST", "/hyperdrive/configs", `{"name":"app","skip_test":true,"origin":`+origin+`}`)
	secrets["credential's password"] = database.Credential.Password
	configs := "/hyperdrive/configs/" + database.ID
	secrets["second password"] = must[v4.Credential](w, "POST", configs+"/credentials", `{"name":"second"}`).Password
	must[v4.Database](w, "PATCH", configs, `{"skip_test":true,"origin":{"password":"`+secrets["new origin password"]+`"}}`)

	var answers strings.Builder
	ask := func(method, path, body string, header ...string) {
		got := w.request(method, path, body, header...)
		answers.WriteString(got.body)
		for name, values := range got.header {
			answers.WriteString(name + ": " + strings.Join(values, ",") + "\n")
		}
	}
	for _, password := range []string{secrets["origin password"], secrets["new origin password"]} {
		for _, body := range []string{
			`{"name":"app","skip_test":true,"origin":` + origin + `}`, `{"name":"x y","origin":{"password":"` + password + `"}}`,
			`{"origin":{"password":["` + password + `"]}}`, `{"origin":{"password":"` + password, `"` + password + `"`, password,
			`{"origin":{"port":"` + password + `"}}`, `{"name":"` + strings.Repeat("x", 100) + `","origin":{"access_client_secret":"` + password + `"}}`,
		} {
			ask("POST", "/hyperdrive/configs", body)
			ask("PUT", configs, body)
			ask("PATCH", configs, body)
		}
	}
	ask("POST", "/mtls_certificates", `{"ca":false,"certificates":`+text(cert+key)+`,"private_key":`+text(key[:len(key)/2])+`}`)
	ask("GET", "/cfd_tunnel", "", "Authorization", "Bearer "+secrets["wrong API token"])
	ask("POST", "/access/test", `{"hostname":"app.vpc.internal","client_id":"`+token.ClientID+`","client_secret":"`+secrets["client secret"]+`"}`)
	must[v4.KeyRotation](w, "POST", "/client/v4/installation/keys/rotate", "")
	ids := strings.NewReplacer("{account}", control.DefaultAccountID, "/{id}/credentials", "/"+database.ID+"/credentials",
		"cfd_tunnel/{id}", "cfd_tunnel/"+tunnel.ID, "configs/{id}", "configs/"+database.ID, "service_tokens/{id}", "service_tokens/"+token.ID)
	for _, op := range w.api.operations {
		// A tunnel's token is there to be asked for.
		if op.method == "GET" && op.open == nil && !strings.HasSuffix(op.path, "/token") {
			ask("GET", ids.Replace(op.path), "")
		}
	}
	if answers.Len() < 10_000 {
		t.Errorf("only %d bytes of answers", answers.Len())
	}
	w.stop()
	searched := map[string][]byte{"log": log.b.Bytes(), "answers": []byte(answers.String())}
	err := filepath.WalkDir(w.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			searched[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil || len(searched) < 7 {
		t.Fatalf("%d places to search (%v)", len(searched), err)
	}
	for name, secret := range secrets {
		if len(secret) < 10 {
			t.Fatalf("the %s is %d bytes long: no secret to search for", name, len(secret))
		}
		for _, form := range []string{secret, strings.Trim(text(secret), `"`), base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret))} {
			for where, content := range searched {
				if bytes.Contains(content, []byte(form)) {
					t.Errorf("the %s is in %s", name, where)
				}
			}
		}
	}
}
