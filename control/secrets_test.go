package control

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTunnel32NoSecretAtRest uses every kind of secret and looks for each in
// every file of the data directory, in the log and in what prints.
func TestTunnel32NoSecretAtRest(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := Open(t.Context(), Config{DataDir: dir, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	secrets := map[string]string{}
	keep := func(what string, s Secret, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		secrets[what] = s.Reveal()
	}
	first, _ := c.FirstToken()
	keep("first token", first, nil)
	_, s, err := c.CreateAPIToken(ctx, DefaultAccountID, "api", ScopeAdmin, time.Time{})
	keep("API token", s, err)
	tunnel, err := c.CreateTunnel(ctx, DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	s, err = c.TunnelSecret(tunnel)
	keep("tunnel secret", s, err)
	token, s, err := c.CreateServiceToken(ctx, DefaultAccountID, "svc", time.Hour)
	keep("client secret", s, err)
	_, s, err = c.RotateServiceToken(ctx, DefaultAccountID, token.ID, 0, time.Now().Add(time.Hour))
	keep("rotated client secret", s, err)
	made, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.1:5432", managed("db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	keep("origin password", "origin-password-db", nil)
	keep("client password", made.Password, nil)
	s, err = c.AccessClientSecret(made.Database)
	keep("managed client secret", s, err)
	_, s, err = c.CreateCredential(ctx, DefaultAccountID, made.Database.ID, "second")
	keep("second client password", s, err)
	d, err := c.UpdateDatabase(ctx, DefaultAccountID, made.Database.ID, func(d *Database) error {
		d.Origin.Password = Plaintext("another-origin-password")
		return nil
	}, nil)
	keep("new origin password", "another-origin-password", err)
	c.Audit(AuditRecord{Action: "x"})

	logger.Info("everything", "made", made, "database", d, "tunnel", tunnel, "password", made.Password, "sealed", d.Origin.Password,
		"verifier", made.Credential.Verifier, "credential", made.Credential, "plain", Plaintext("another-origin-password"))
	prints := fmt.Sprintf("%v %+v %#v %s %q %x %d", made, *made, made, made.Password, made.Password, made.Password, made.Password)
	prints += fmt.Sprintf("%v %+v %#v %x", Plaintext("another-origin-password"), *d, d, Plaintext("another-origin-password"))
	text, err := json.Marshal(map[string]any{"made": made, "d": d, "tunnel": tunnel, "token": token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(Database{Origin: Origin{Password: Plaintext("another-origin-password")}}); err == nil {
		t.Error("a plaintext marshals")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	grep(t, "prints", []byte(prints), secrets)
	grep(t, "JSON", text, secrets)
	grep(t, "log", log.Bytes(), secrets)
	for _, v := range []Verifier{made.Credential.Verifier, made.Credential.MySQLVerifier} {
		if strings.Contains(prints, string(v)) || strings.Contains(log.String(), string(v)) {
			t.Error("a verifier is printed")
		}
	}
	ca, err := c.sealer.open(authorityOf(t, dir), kindSystem, "authority", "key")
	if err != nil {
		t.Fatal(err)
	}
	secrets["CA key"] = ca.Reveal()
	files := 0
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		grep(t, path, content, secrets)
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("%d files read (%v)", files, err)
	}
}

// authorityOf reads the sealed CA key from a data directory.
func authorityOf(t *testing.T, dir string) Sealed {
	t.Helper()
	c, err := Open(t.Context(), Config{DataDir: dir, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	var record authorityRecord
	if err := c.system(t.Context(), keyAuthority, &record); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return record.Key
}

func grep(t *testing.T, where string, content []byte, secrets map[string]string) {
	t.Helper()
	for what, secret := range secrets {
		for form, text := range map[string]string{
			"clear": secret, "hex": hex.EncodeToString([]byte(secret)), "base64": base64.StdEncoding.EncodeToString([]byte(secret)),
		} {
			if bytes.Contains(content, []byte(text)) {
				t.Errorf("%s holds the %s (%s)", where, what, form)
			}
		}
	}
}

func TestSealedIsBound(t *testing.T) {
	c := open(t, t.TempDir())
	s := Plaintext("secret")
	if err := c.sealer.seal(&s, "database", "1", "origin.password"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.sealer.open(s, "database", "1", "origin.password"); err != nil || got != "secret" {
		t.Errorf("got %d bytes (%v)", len(got), err)
	}
	for _, at := range [][3]string{{"tunnel", "1", "origin.password"}, {"database", "2", "origin.password"}, {"database", "1", "secret"}} {
		if _, err := c.sealer.open(s, at[0], at[1], at[2]); err == nil {
			t.Errorf("opens as %v", at)
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Sealed
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if got, err := c.sealer.open(back, "database", "1", "origin.password"); err != nil || got != "secret" {
		t.Errorf("read back: got %d bytes (%v)", len(got), err)
	}
	var none Sealed
	if err := json.Unmarshal([]byte(`""`), &none); err != nil || !none.IsZero() || !Plaintext("").IsZero() {
		t.Errorf("an empty one is not empty (%v)", err)
	}
}
