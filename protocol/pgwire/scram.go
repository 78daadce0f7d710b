package pgwire

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// SASL mechanisms that the proxy offers (RFC 7677), SCRAMPlusMechanism in TLS.
const (
	SCRAMMechanism     = "SCRAM-SHA-256"
	SCRAMPlusMechanism = "SCRAM-SHA-256-PLUS"
)

// endPoint begins the client-first-message of one who binds the channel by the
// server's certificate (RFC 5929 section 4, tls-server-end-point).
const endPoint = "p=tls-server-end-point"

// scramIterations is PostgreSQL's default (SCRAM_SHA_256_DEFAULT_ITERATIONS,
// src/include/common/scram-common.h).
const scramIterations = 4096

// maxSCRAMMessage bounds a client's SASL message in bytes (PG_MAX_SASL_MESSAGE_LENGTH,
// src/backend/libpq/auth-sasl.c, has 1024).
const maxSCRAMMessage = 1024

// ErrPassword says that the client does not know the password, or that there is
// no such user.
var ErrPassword = errors.New("password authentication failed")

// A Verifier lets a server check a SCRAM-SHA-256 password without knowing it.
type Verifier struct {
	Iterations int
	Salt       []byte
	StoredKey  [sha256.Size]byte
	ServerKey  [sha256.Size]byte
}

// NewVerifier makes a verifier for a password, with a random salt. The password
// is used as it is, so it should be ASCII (SASLprep changes nothing in it then).
func NewVerifier(password string) (*Verifier, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	key, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive SCRAM key: %w", err)
	}
	v := &Verifier{Iterations: scramIterations, Salt: salt}
	v.StoredKey = sha256.Sum256(hmacSum(key, "Client Key"))
	copy(v.ServerKey[:], hmacSum(key, "Server Key"))
	return v, nil
}

// String is the form in which PostgreSQL stores a verifier (pg_authid.rolpassword):
// SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>.
func (v *Verifier) String() string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", SCRAMMechanism, v.Iterations, b64(v.Salt), b64(v.StoredKey[:]), b64(v.ServerKey[:]))
}

// ParseVerifier reads String's form.
func ParseVerifier(s string) (*Verifier, error) {
	bad := errors.New("not a SCRAM-SHA-256 verifier")
	rest, ok := strings.CutPrefix(s, SCRAMMechanism+"$")
	if !ok {
		return nil, bad
	}
	params, keys, ok1 := strings.Cut(rest, "$")
	iterations, salt, ok2 := strings.Cut(params, ":")
	stored, server, ok3 := strings.Cut(keys, ":")
	if !ok1 || !ok2 || !ok3 {
		return nil, bad
	}
	n, err := strconv.Atoi(iterations)
	if err != nil || n < 1 || n > 1<<24 {
		return nil, bad
	}
	v := &Verifier{Iterations: n}
	if v.Salt, err = base64.StdEncoding.DecodeString(salt); err != nil || len(v.Salt) == 0 {
		return nil, bad
	}
	for _, f := range []struct {
		dst *[sha256.Size]byte
		src string
	}{{&v.StoredKey, stored}, {&v.ServerKey, server}} {
		k, err := base64.StdEncoding.DecodeString(f.src)
		if err != nil || len(k) != sha256.Size {
			return nil, bad
		}
		copy(f.dst[:], k)
	}
	return v, nil
}

// Is reports whether password is the password. It takes as long as making a
// verifier does.
func (v *Verifier) Is(password string) bool {
	key, err := pbkdf2.Key(sha256.New, password, v.Salt, v.Iterations, sha256.Size)
	if err != nil {
		return false
	}
	stored := sha256.Sum256(hmacSum(key, "Client Key"))
	return subtle.ConstantTimeCompare(stored[:], v.StoredKey[:]) == 1
}

// MockVerifier is what an unknown user is checked against, so that the exchange
// looks the same as a known one's and always fails. The salt is a function of
// secret and user: asking twice tells nothing.
func MockVerifier(secret []byte, user string) *Verifier {
	v := &Verifier{Iterations: scramIterations, Salt: hmacSum(secret, "salt:"+user)[:16]}
	rand.Read(v.StoredKey[:])
	rand.Read(v.ServerKey[:])
	return v
}

// A SCRAMServer is one exchange, from the server's side (RFC 5802).
type SCRAMServer struct {
	v           *Verifier
	binding     []byte // nil where none was offered
	plus        bool   // and chosen
	gs2         string
	clientFirst string // bare
	serverFirst string
	nonce       string
}

// NewSCRAMServer starts an exchange against v.
func NewSCRAMServer(v *Verifier) *SCRAMServer { return &SCRAMServer{v: v} }

// Bind says that the client was offered to bind the channel by what EndPoint gave,
// and whether it has chosen to.
func (s *SCRAMServer) Bind(endPoint []byte, chosen bool) { s.binding, s.plus = endPoint, chosen }

// EndPoint is what binds a channel by a server's certificate: its hash by the
// function of its signature, or by SHA-256 where that is older. It is nil where the
// signature has none (RFC 5929 section 4.1).
func EndPoint(cert *x509.Certificate) []byte {
	switch cert.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		sum := sha256.Sum256(cert.Raw)
		return sum[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(cert.Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(cert.Raw)
		return sum[:]
	}
	return nil
}

// First answers the client-first-message with the server-first-message.
// Errors wrap ErrProtocol.
func (s *SCRAMServer) First(msg []byte) ([]byte, error) {
	bad := fmt.Errorf("%w: malformed SCRAM message", ErrProtocol)
	if len(msg) > maxSCRAMMessage {
		return nil, bad
	}
	m := string(msg)
	// gs2-header: channel binding, none, or a client that could but believes that
	// the server cannot: if that is not so, somebody has changed what it was offered.
	flag, rest, ok := strings.Cut(m, ",")
	if !ok || s.plus != (flag == endPoint) || !s.plus && flag != "n" && (flag != "y" || s.binding != nil) {
		return nil, bad
	}
	authzid, bare, ok := strings.Cut(rest, ",")
	if !ok || authzid != "" {
		return nil, bad
	}
	s.gs2 = flag + ",,"
	s.clientFirst = bare
	var nonce string
	for i, attr := range strings.Split(bare, ",") {
		switch {
		case i == 0 && !strings.HasPrefix(attr, "n="): // "m=" is a mandatory extension: there is none
			return nil, bad
		case i == 1:
			if nonce, ok = strings.CutPrefix(attr, "r="); !ok || nonce == "" {
				return nil, bad
			}
		}
	}
	if nonce == "" {
		return nil, bad
	}
	// 18 random bytes, as PostgreSQL has it (SCRAM_RAW_NONCE_LEN).
	var raw [18]byte
	rand.Read(raw[:])
	s.nonce = nonce + base64.StdEncoding.EncodeToString(raw[:])
	s.serverFirst = fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, base64.StdEncoding.EncodeToString(s.v.Salt), s.v.Iterations)
	return []byte(s.serverFirst), nil
}

// Final checks the client-final-message and answers it with the
// server-final-message. The error is ErrPassword where the proof is wrong, and
// wraps ErrProtocol where the message is.
func (s *SCRAMServer) Final(msg []byte) ([]byte, error) {
	bad := fmt.Errorf("%w: malformed SCRAM message", ErrProtocol)
	if len(msg) > maxSCRAMMessage {
		return nil, bad
	}
	i := bytes.LastIndex(msg, []byte(",p="))
	if i < 0 {
		return nil, bad
	}
	withoutProof := string(msg[:i])
	proof, err := base64.StdEncoding.DecodeString(string(msg[i+3:]))
	if err != nil || len(proof) != sha256.Size {
		return nil, bad
	}
	attrs := strings.Split(withoutProof, ",")
	bound := []byte(s.gs2)
	if s.plus {
		bound = append(bound, s.binding...)
	}
	if len(attrs) < 2 || attrs[0] != "c="+base64.StdEncoding.EncodeToString(bound) || attrs[1] != "r="+s.nonce {
		return nil, bad
	}
	auth := s.clientFirst + "," + s.serverFirst + "," + withoutProof
	signature := hmacSum(s.v.StoredKey[:], auth)
	var clientKey [sha256.Size]byte
	subtle.XORBytes(clientKey[:], proof, signature)
	stored := sha256.Sum256(clientKey[:])
	if subtle.ConstantTimeCompare(stored[:], s.v.StoredKey[:]) != 1 {
		return nil, ErrPassword
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(hmacSum(s.v.ServerKey[:], auth))), nil
}

func hmacSum(key []byte, msg string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(msg))
	return m.Sum(nil)
}
