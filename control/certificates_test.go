package control

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// testPair makes a self-signed certificate that ends at a time, and its key in PKCS 8.
func testPair(t testing.TB, name string, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(42), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("CERTIFICATE", der), inPEM("PRIVATE KEY", pkcs8)
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func uploaded(ca bool, cert, key string) *Certificate {
	return &Certificate{AccountID: DefaultAccountID, Name: "c", CA: ca, PEM: cert, PrivateKey: Plaintext(Secret(key))}
}

func TestCertificateFaults(t *testing.T) {
	c := open(t, t.TempDir())
	soon := time.Now().Add(time.Hour)
	cert, key := testPair(t, "one", soon)
	other, otherKey := testPair(t, "two", soon)
	old, oldKey := testPair(t, "old", time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC))
	encrypted := inPEM("ENCRYPTED PRIVATE KEY", []byte("x"))
	legacy := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x")}))
	for name, tt := range map[string]struct {
		given *Certificate
		want  []string
	}{
		"nothing":              {&Certificate{AccountID: DefaultAccountID}, []string{"certificates holds no certificate in PEM form", "private_key is required with a client certificate; a CA's certificates are uploaded with ca true"}},
		"a long name":          {&Certificate{AccountID: DefaultAccountID, Name: strings.Repeat("n", 300), CA: true, PEM: cert}, []string{"name is longer than 255 bytes"}},
		"a damaged one":        {uploaded(true, cert+inPEM("CERTIFICATE", []byte("x")), ""), []string{"certificates does not parse: certificate 2 is damaged"}},
		"an expired one":       {uploaded(false, old, oldKey), []string{"certificates certificate 1 (CN=old) expired on 2020-01-02"}},
		"a CA with a key":      {uploaded(true, cert, key), []string{"private_key must be left out: the key of a CA is nobody's to upload"}},
		"another key":          {uploaded(false, cert, otherKey), []string{"private_key does not match the certificate"}},
		"the wrong order":      {uploaded(false, other+cert, key), []string{"private_key belongs to certificate 2: the client's own certificate must be the first"}},
		"a certificate as key": {uploaded(false, cert, cert), []string{`private_key must be a private key, not "CERTIFICATE"`}},
		"no key":               {uploaded(false, cert, "hunter2"), []string{"private_key holds no private key in PEM form"}},
		"a damaged key":        {uploaded(false, cert, inPEM("PRIVATE KEY", []byte("x"))), []string{"private_key does not parse"}},
		"an encrypted key":     {uploaded(false, cert, encrypted), []string{"private_key is encrypted: decrypt it first, with openssl pkey"}},
		"an older encryption":  {uploaded(false, cert, legacy), []string{"private_key is encrypted: decrypt it first, with openssl pkey"}},
		"a huge key":           {uploaded(false, cert, strings.Repeat("x", maxPrivateKey+1)), []string{"private_key has more than 32 KiB"}},
	} {
		_, err := c.CreateCertificate(t.Context(), tt.given)
		if got := faults(err); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if n := len(c.Snapshot().Certificates(DefaultAccountID)); n != 0 {
		t.Errorf("%d certificates after refusals", n)
	}
}

func TestCertificateKeys(t *testing.T) {
	c := open(t, t.TempDir())
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "rsa"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateCertificate(t.Context(), uploaded(false, inPEM("CERTIFICATE", der), inPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private))))
	if err != nil {
		t.Fatal(err)
	}
	if made.Issuer != "CN=rsa" || made.Serial != "7" || made.Signature != "SHA256-RSA" || made.ExpiresOn.IsZero() {
		t.Errorf("made %+v", made)
	}
	if key, err := c.CertificateKey(made); err != nil || !strings.Contains(key.Reveal(), "RSA PRIVATE KEY") {
		t.Errorf("its key (err %v)", err)
	}
	// What openssl writes: parameters before the key.
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, curve.Public(), curve)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	key := inPEM("EC PARAMETERS", []byte{5, 0}) + inPEM("EC PRIVATE KEY", sec1)
	if _, err := c.CreateCertificate(t.Context(), uploaded(false, inPEM("CERTIFICATE", der), key)); err != nil {
		t.Error(err)
	}
}

func TestCertificateInUse(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	cert, key := testPair(t, "one", time.Now().Add(time.Hour))
	ca, err := c.CreateCertificate(ctx, uploaded(true, cert, ""))
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.CreateCertificate(ctx, uploaded(false, cert, key))
	if err != nil {
		t.Fatal(err)
	}
	d := managed("db")
	d.Origin.Host = "10.0.0.9"
	d.MTLS = MTLS{SSLMode: SSLVerifyCA, CACertificateID: client.ID, ClientCertificateID: "none"}
	_, err = c.CreateDatabase(ctx, d, nil)
	if got, want := faults(err), []string{
		"mtls.ca_certificate_id must be the id of a CA's certificates, not of a client certificate", "mtls.mtls_certificate_id no certificate has this id",
	}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	d.MTLS = MTLS{SSLMode: SSLVerifyCA, CACertificateID: ca.ID, ClientCertificateID: client.ID}
	made, err := c.CreateDatabase(ctx, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{ca.ID, client.ID} {
		if err := c.DeleteCertificate(ctx, DefaultAccountID, id); !errors.Is(err, ErrInUse) || err.Error() != "certificate is in use by database db" {
			t.Errorf("in use: got %v", err)
		}
	}
	if _, err := c.UpdateDatabase(ctx, DefaultAccountID, made.Database.ID, func(d *Database) error {
		d.MTLS.ClientCertificateID = ""
		return nil
	}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteCertificate(ctx, DefaultAccountID, client.ID); err != nil {
		t.Error(err)
	}
	if err := c.DeleteCertificate(ctx, "00000000000000000000000000000002", ca.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another account: got %v, want ErrNotFound", err)
	}
}

// TestCertificateDeletedWhileTaken: of a deletion and a database that takes the certificate at the same moment one fails, always.
func TestCertificateDeletedWhileTaken(t *testing.T) {
	c := open(t, t.TempDir())
	run(t, c)
	cert, _ := testPair(t, "one", time.Now().Add(time.Hour))
	for i := range 20 {
		ca, err := c.CreateCertificate(t.Context(), uploaded(true, cert, ""))
		if err != nil {
			t.Fatal(err)
		}
		d := managed("db" + string(rune('a'+i)))
		d.Origin.Host = "10.0.0.9"
		d.MTLS = MTLS{SSLMode: SSLVerifyCA, CACertificateID: ca.ID}
		var taken, deleted error
		var both sync.WaitGroup
		both.Go(func() { _, taken = c.CreateDatabase(t.Context(), d, nil) })
		both.Go(func() { deleted = c.DeleteCertificate(t.Context(), DefaultAccountID, ca.ID) })
		both.Wait()
		if (taken == nil) == (deleted == nil) {
			t.Fatalf("taken: %v, deleted: %v", taken, deleted)
		}
	}
}
