package control

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
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

// Verifier is a SCRAM-SHA-256 verifier in PostgreSQL's own text form,
// SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey> (base64). It is
// printed redacted; string(v) gives the text.
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
