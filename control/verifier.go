package control

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
)

// scramIterations is PostgreSQL's own default (SCRAM_SHA_256_DEFAULT_ITERATIONS
// in src/include/common/scram-common.h; RFC 7677 section 4 asks for at least as
// many). The passwords are random and long, so more would buy nothing.
const scramIterations = 4096

// scramSaltLength is in bytes (SCRAM_DEFAULT_SALT_LEN in the same file).
const scramSaltLength = 16

// Verifier checks a password that it does not contain. One of SCRAM-SHA-256 is in
// PostgreSQL's own text form, SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>;
// one of MySQL's is MYSQL$<SHA1(SHA1(password))>$<SHA256(SHA256(password))>; both in
// base64. It is printed redacted; string(v) gives the text.
type Verifier string

// NewVerifier returns the verifier of password with a fresh salt. The password
// is used as it is: no SASLprep, which plain ASCII does not need.
func NewVerifier(password Secret) (Verifier, error) {
	salt := make([]byte, scramSaltLength)
	rand.Read(salt) // never fails: crypto/rand ends the program instead
	salted, err := pbkdf2.Key(sha256.New, string(password), salt, scramIterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("make SCRAM verifier: %w", err)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	enc := base64.StdEncoding.EncodeToString
	return Verifier(fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s",
		scramIterations, enc(salt), enc(stored[:]), enc(mac(salted, "Server Key")))), nil
}

// newMySQLVerifier returns the verifier of password for mysql_native_password and
// caching_sha2_password. MySQL salts neither form. That is no loss here: passwords
// are random and as long as the keys that a search would have to go through.
func newMySQLVerifier(password Secret) Verifier {
	native, sha2 := sha1.Sum([]byte(password)), sha256.Sum256([]byte(password))
	native, sha2 = sha1.Sum(native[:]), sha256.Sum256(sha2[:])
	enc := base64.StdEncoding.EncodeToString
	return Verifier("MYSQL$" + enc(native[:]) + "$" + enc(sha2[:]))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// String returns a constant.
func (v Verifier) String() string { return redacted }

// GoString returns a constant.
func (v Verifier) GoString() string { return redacted }

// Format writes a constant, whatever the verb.
func (v Verifier) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns a constant.
func (v Verifier) LogValue() slog.Value { return slog.StringValue(redacted) }
