package control

import (
	"strings"

	"github.com/google/uuid"
)

// DefaultAccountID is the account that the first start makes. Every node and
// every store has the same, so that a client can be configured before.
const DefaultAccountID = "00000000000000000000000000000001"

// newID returns a random UUID, which tunnels and access nouns have for an ID.
func newID() string { return uuid.NewString() }

// newHexID returns the same without hyphens, which databases have.
func newHexID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

// maxNounName is the longest name of a tunnel, database or credential in bytes:
// PostgreSQL's NAMEDATALEN less one (src/include/pg_config_manual.h), because
// drivers send the latter two as database and user.
const maxNounName = 63

// nameFault says what is wrong with a name that goes into URLs, file names and
// hostnames, or returns "".
func nameFault(name string) string {
	switch {
	case name == "":
		return "is required"
	case len(name) > maxNounName:
		return "is longer than 63 bytes"
	}
	for i := range len(name) {
		c := name[i]
		letter := (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
		if !letter && (i == 0 || !strings.ContainsRune("_.-", rune(c))) {
			return "must begin with a letter or digit and consist of letters, digits, '_', '.' and '-'"
		}
	}
	return ""
}
