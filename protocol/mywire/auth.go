package mywire

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// The plugins of authentication that there are here.
const (
	PluginNative = "mysql_native_password"
	PluginSHA2   = "caching_sha2_password"
)

// First bytes of what is said between greeting and OK, and the words of
// caching_sha2_password (sql/auth/sha2_password_common.h).
const (
	headerMoreData = 0x01
	sha2Key        = 0x02 // a client asks for the public key
	sha2Fast       = 0x03 // the answer was right
	sha2Full       = 0x04 // the password itself is needed
)

// maxPassword bounds a packet with a password in bytes: that of an RSA key of
// 8192 bits, which is also more than MySQL's longest password of 256
// (MAX_PLAINTEXT_LENGTH, sql/auth/sha2_password_common.h).
const maxPassword = 1024

// ErrPassword is of a password, or a proof of one, that is wrong.
var ErrPassword = errors.New("wrong password")

// A Verifier checks passwords that it does not contain. It may be used
// concurrently.
type Verifier struct {
	// Native is SHA1(SHA1(password)), which mysql_native_password needs.
	Native [sha1.Size]byte
	// SHA2 is SHA256(SHA256(password)), with which caching_sha2_password needs no
	// more than a proof of the password.
	SHA2 [sha256.Size]byte
	// Check, where it is not nil, stands for both, which are not known then: the
	// password itself is asked for, as MySQL does where its cache has no answer.
	Check func(password []byte) bool
}

// verifierPrefix begins the text form of a Verifier.
const verifierPrefix = "MYSQL$"

// NewVerifier makes the verifier of a password.
func NewVerifier(password string) *Verifier {
	once1, once2 := sha1.Sum([]byte(password)), sha256.Sum256([]byte(password))
	return &Verifier{Native: sha1.Sum(once1[:]), SHA2: sha256.Sum256(once2[:])}
}

// ParseVerifier reads MYSQL$<Native>$<SHA2>, both in base64.
func ParseVerifier(s string) (*Verifier, error) {
	native, sha2, ok := strings.Cut(strings.TrimPrefix(s, verifierPrefix), "$")
	if !ok || !strings.HasPrefix(s, verifierPrefix) {
		return nil, errVerifier
	}
	one, err1 := base64.StdEncoding.Strict().DecodeString(native)
	two, err2 := base64.StdEncoding.Strict().DecodeString(sha2)
	v := new(Verifier)
	if err1 != nil || err2 != nil || copy(v.Native[:], one) != len(one) || copy(v.SHA2[:], two) != len(two) ||
		len(one) != sha1.Size || len(two) != sha256.Size || v.String() != s { // base64 passes over ends of lines
		return nil, errVerifier
	}
	return v, nil
}

var errVerifier = errors.New("not a verifier of MySQL passwords")

// MockVerifier is one of no password, for a user that does not exist: asking
// takes as long, and as many packets, as for one that does.
func MockVerifier() *Verifier {
	v := new(Verifier)
	rand.Read(v.Native[:])
	rand.Read(v.SHA2[:])
	return v
}

// String is the text form of a verifier that has no Check.
func (v *Verifier) String() string {
	enc := base64.StdEncoding.EncodeToString
	return verifierPrefix + enc(v.Native[:]) + "$" + enc(v.SHA2[:])
}

// proves reports whether answer is a client's right answer to salt.
func (v *Verifier) proves(plugin string, salt Salt, answer []byte) bool {
	if v.Check != nil {
		return false
	}
	switch plugin {
	case PluginNative:
		if len(answer) != sha1.Size {
			return false
		}
		h := sha1.New()
		h.Write(salt[:])
		h.Write(v.Native[:])
		var once [sha1.Size]byte
		subtle.XORBytes(once[:], answer, h.Sum(nil))
		twice := sha1.Sum(once[:])
		return subtle.ConstantTimeCompare(twice[:], v.Native[:]) == 1
	case PluginSHA2:
		if len(answer) != sha256.Size {
			return false
		}
		h := sha256.New()
		h.Write(v.SHA2[:])
		h.Write(salt[:])
		var once [sha256.Size]byte
		subtle.XORBytes(once[:], answer, h.Sum(nil))
		twice := sha256.Sum256(once[:])
		return subtle.ConstantTimeCompare(twice[:], v.SHA2[:]) == 1
	}
	return false
}

// is reports whether password is the password.
func (v *Verifier) is(password []byte) bool {
	if v.Check != nil {
		return v.Check(password)
	}
	once := sha256.Sum256(password)
	twice := sha256.Sum256(once[:])
	return subtle.ConstantTimeCompare(twice[:], v.SHA2[:]) == 1
}

// passwordAnswer is a client's answer to salt; an empty password has an empty one.
func passwordAnswer(plugin string, salt Salt, password string) []byte {
	if password == "" {
		return nil
	}
	v := NewVerifier(password)
	if plugin == PluginNative {
		once := sha1.Sum([]byte(password))
		h := sha1.New()
		h.Write(salt[:])
		h.Write(v.Native[:])
		out := make([]byte, sha1.Size)
		subtle.XORBytes(out, once[:], h.Sum(nil))
		return out
	}
	once := sha256.Sum256([]byte(password))
	h := sha256.New()
	h.Write(v.SHA2[:])
	h.Write(salt[:])
	out := make([]byte, sha256.Size)
	subtle.XORBytes(out, once[:], h.Sum(nil))
	return out
}

// obscured is password with its NUL, combined with the salt as it goes into RSA.
func obscured(password []byte, salt Salt) []byte {
	out := make([]byte, len(password))
	for i, c := range password {
		out[i] = c ^ salt[i%SaltSize]
	}
	return out
}

// encryptPassword is what a client answers to a server's public key in PEM form.
func encryptPassword(password string, salt Salt, pemKey []byte) ([]byte, error) {
	block, _ := pem.Decode(pemKey)
	if block == nil {
		return nil, fmt.Errorf("%w: public key is not in PEM form", ErrProtocol)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: public key: %w", ErrProtocol, err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok || key.Size() > maxPassword {
		return nil, fmt.Errorf("%w: public key is not one of RSA", ErrProtocol)
	}
	plain := obscured(append([]byte(password), 0), salt)
	return rsa.EncryptOAEP(sha1.New(), rand.Reader, key, plain, nil)
}

// decryptPassword is the password, without its NUL, that a client encrypted.
func decryptPassword(key *rsa.PrivateKey, salt Salt, cipher []byte) ([]byte, error) {
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, key, cipher, nil)
	if err != nil {
		return nil, ErrPassword
	}
	return withoutNUL(obscured(plain, salt))
}

func withoutNUL(password []byte) ([]byte, error) {
	n := len(password) - 1
	if n < 0 || password[n] != 0 {
		return nil, fmt.Errorf("%w: password without terminator", ErrProtocol)
	}
	return password[:n], nil
}
