package tunnel

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxToken bounds an encoded token: four relay names and a CA certificate take under 4 KiB.
const maxToken = 16 << 10

// A Token is all that a connector needs to know: who it is, where the relays are and how to trust them. It holds a secret.
type Token struct {
	Account string   `json:"a"`            // account ID
	Tunnel  string   `json:"t"`            // tunnel ID
	Secret  string   `json:"s"`            // the tunnel's secret
	Relays  []string `json:"r"`            // host:port of each relay
	CA      string   `json:"ca,omitempty"` // PEM of the relays' authority; empty: the system's roots
}

var errToken = errors.New("the text is not a tunnel token")

// Encode returns the token as one line of base64url.
func (t Token) Encode() string {
	// A struct of strings always marshals.
	b, _ := json.Marshal(t)
	return base64.RawURLEncoding.EncodeToString(b)
}

// String hides the secret: a token that is logged by mistake says only whose it is.
func (t Token) String() string { return "token of tunnel " + t.Tunnel }

// GoString hides the secret as String does.
func (t Token) GoString() string { return t.String() }

// ParseToken reads what Encode wrote, with or without surrounding space. Its errors never quote the text.
func ParseToken(s string) (Token, error) {
	s = strings.TrimRight(strings.TrimSpace(s), "=")
	if len(s) > maxToken {
		return Token{}, fmt.Errorf("%w: longer than %d bytes", errToken, maxToken)
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return Token{}, fmt.Errorf("%w: not base64url", errToken)
	}
	var t Token
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&t); err != nil {
		return Token{}, fmt.Errorf("%w: not JSON", errToken)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Token{}, fmt.Errorf("%w: text follows it", errToken)
	}
	switch {
	case t.Tunnel == "":
		return Token{}, fmt.Errorf("%w: no tunnel ID", errToken)
	case t.Secret == "":
		return Token{}, fmt.Errorf("%w: no secret", errToken)
	case len(t.Relays) == 0:
		return Token{}, fmt.Errorf("%w: no relay", errToken)
	}
	return t, nil
}
