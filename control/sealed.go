package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// redacted is what every secret prints as.
const redacted = "[redacted]"

// Secret is a secret in the clear. It prints, logs and marshals redacted;
// Reveal gives the text.
type Secret string

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// String returns a constant.
func (s Secret) String() string { return redacted }

// GoString returns a constant.
func (s Secret) GoString() string { return redacted }

// Format writes a constant, whatever the verb: without it %x and %q of a
// string kind would print the text.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns a constant.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a constant: whoever shows a secret says so with Reveal.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Sealed is a secret at rest, as Tink ciphertext bound to its noun, ID and
// field, or one on its way there: Plaintext makes a Sealed that the next
// create or update seals. The zero value holds nothing. Its JSON is the
// ciphertext in base64; a plaintext does not marshal.
type Sealed struct {
	ciphertext []byte
	plain      *Secret
}

// errNotSealed is a fault of this program: a plaintext came near the store.
var errNotSealed = errors.New("a secret that is not sealed does not marshal")

// errSealed says no more, so that it tells nothing of the content.
var errSealed = errors.New("sealed secret does not open: the keyset, the noun, the ID or the field is another")

// Plaintext returns a Sealed that is yet to be sealed. An empty secret gives
// one that holds nothing.
func Plaintext(s Secret) Sealed {
	if s == "" {
		return Sealed{}
	}
	return Sealed{plain: &s}
}

// IsZero reports whether s holds nothing.
func (s Sealed) IsZero() bool { return len(s.ciphertext) == 0 && s.plain == nil }

// String returns a constant.
func (s Sealed) String() string { return redacted }

// GoString returns a constant.
func (s Sealed) GoString() string { return redacted }

// Format writes a constant, whatever the verb.
func (s Sealed) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns a constant.
func (s Sealed) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns the ciphertext as a base64 string, "" when there is none.
func (s Sealed) MarshalJSON() ([]byte, error) {
	if s.plain != nil {
		return nil, errNotSealed
	}
	return json.Marshal(append([]byte{}, s.ciphertext...))
}

// UnmarshalJSON reads a ciphertext in base64.
func (s *Sealed) UnmarshalJSON(b []byte) error {
	s.plain = nil
	return json.Unmarshal(b, &s.ciphertext)
}

// sealer seals and opens with the node's keyset. It is safe for concurrent use,
// and copies of it have the same keyset, also when that is replaced.
type sealer struct {
	ring *atomic.Pointer[keyring]
	lost *atomic.Bool // the keyset is older than a rotation that has ended: nothing may be sealed with it
}

// newSealer returns a sealer that has k.
func newSealer(k *keyring) sealer {
	s := sealer{ring: new(atomic.Pointer[keyring]), lost: new(atomic.Bool)}
	s.ring.Store(k)
	return s
}

func (k sealer) aead() tink.AEAD { return k.ring.Load().aead }

// seal replaces a plaintext in s by its ciphertext, bound to where it belongs.
func (k sealer) seal(s *Sealed, noun, id, field string) error {
	if s.plain == nil {
		return nil
	}
	if k.lost.Load() {
		return errKeysetLost
	}
	ciphertext, err := k.aead().Encrypt([]byte(*s.plain), associated(noun, id, field))
	if err != nil {
		return fmt.Errorf("seal %s of %s %s: %w", field, noun, id, err)
	}
	*s = Sealed{ciphertext: ciphertext}
	return nil
}

// open returns the plaintext of s, "" if it holds nothing.
func (k sealer) open(s Sealed, noun, id, field string) (Secret, error) {
	if s.plain != nil {
		return *s.plain, nil
	}
	if len(s.ciphertext) == 0 {
		return "", nil
	}
	plain, err := k.aead().Decrypt(s.ciphertext, associated(noun, id, field))
	if err != nil {
		return "", fmt.Errorf("%s of %s %s: %w", field, noun, id, errSealed)
	}
	return Secret(plain), nil
}

// associated is the associated data of a ciphertext. None of the three parts
// contains a slash.
func associated(noun, id, field string) []byte { return []byte(noun + "/" + id + "/" + field) }
