package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SecretPrefix begins every service token's secret, so that scanners of source
// code and logs find one that leaked.
const SecretPrefix = "slst_"

// The form of a secret after its prefix: 40 alphanumerics (238 bits) and the
// CRC-32 of prefix and alphanumerics in 8 hexadecimal digits, which lets a
// scanner tell a secret from chance and a client a typing error from a wrong
// secret. Cloudflare's secrets have the same form.
const (
	secretRandom   = 40
	secretChecksum = 8
	alphanumerics  = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// RandomText returns n random letters and digits, 5.95 bits each.
func RandomText(n int) string {
	out := make([]byte, 0, n)
	var buf [64]byte
	// Bytes of 248 and more are thrown away: 248 is the largest multiple of
	// 62 in a byte, so every character is equally likely.
	const unbiased = 256 - 256%len(alphanumerics)
	for len(out) < n {
		rand.Read(buf[:]) // never fails: crypto/rand ends the program instead
		for _, b := range buf {
			if int(b) < unbiased && len(out) < n {
				out = append(out, alphanumerics[int(b)%len(alphanumerics)])
			}
		}
	}
	return string(out)
}

// NewSecret returns prefix, 40 random letters and digits, and an 8 digit
// checksum.
func NewSecret(prefix string) string {
	body := prefix + RandomText(secretRandom)
	return body + checksum(body)
}

// WellFormedSecret reports whether s has the form that NewSecret gives with
// this prefix, checksum included. It says nothing of whether s is valid.
func WellFormedSecret(prefix, s string) bool {
	if len(s) != len(prefix)+secretRandom+secretChecksum || !strings.HasPrefix(s, prefix) {
		return false
	}
	body, sum := s[:len(s)-secretChecksum], s[len(s)-secretChecksum:]
	for _, c := range body[len(prefix):] {
		if !strings.ContainsRune(alphanumerics, c) {
			return false
		}
	}
	return checksum(body) == sum
}

func checksum(body string) string {
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body)))
}

// Hash is the SHA-256 of a secret. Secrets that are only checked are stored in
// this form alone: they are random and long, so a slow hash would add nothing.
// Its JSON is lower-case hexadecimal.
type Hash [sha256.Size]byte

// HashSecret returns the SHA-256 of secret.
func HashSecret(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// Equal compares in constant time.
func (h Hash) Equal(other Hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// MarshalText returns lower-case hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(h)) {
		return errors.New("a hash is 64 hexadecimal digits")
	}
	if _, err := hex.Decode(h[:], b); err != nil {
		return errors.New("a hash is 64 hexadecimal digits")
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
