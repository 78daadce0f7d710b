package control

// Secret is a secret in the clear. It prints, logs and marshals redacted;
// Reveal gives the text.
type Secret string

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// Sealed is a secret at rest, or one on its way there: Plaintext makes a Sealed
// that the next create or update seals. The zero value holds nothing.
type Sealed struct {
	Ciphertext []byte
	plain      *Secret
}

// Plaintext returns a Sealed that is yet to be sealed.
func Plaintext(s Secret) Sealed { return Sealed{plain: &s} }

// IsZero reports whether s holds nothing.
func (s Sealed) IsZero() bool { return len(s.Ciphertext) == 0 && s.plain == nil }
