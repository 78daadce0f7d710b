package control

import (
	"encoding/base64"
	"strings"
)

// The keys of the store. A key is a kind and an ID, joined by a dot; the names
// that must be unique are claims, which hold the ID of their owner.
const (
	kindAccount      = "account"
	kindAPIToken     = "apitoken"
	kindTunnel       = "tunnel"
	kindServiceToken = "servicetoken"
	kindApplication  = "application"
	kindPolicy       = "policy"
	kindDatabase     = "database"
	kindPending      = "pending"
	kindCertificate  = "certificate"
	kindSeen         = "seen"
	kindSystem       = "system"
	kindClaim        = "claim"

	claimHostname    = "hostname"    // one tunnel, over all accounts
	claimApplication = "application" // one application of a hostname in an account
	claimTunnelName  = "tunnelname"  // in an account
	claimDatabase    = "database"    // in an account

	keyBootstrap = kindSystem + ".bootstrap"
	keyAuthority = kindSystem + ".authority"
	keySigning   = kindSystem + ".signing"
	keyRotation  = kindSystem + ".rotation"
	keyRestore   = kindSystem + ".restore"
)

// nounKey is where a noun is stored.
func nounKey(kind, id string) string { return kind + "." + id }

// splitNoun is the reverse of nounKey.
func splitNoun(key string) (kind, id string) {
	kind, id, _ = strings.Cut(key, ".")
	return kind, id
}

// validID reports whether id can be part of a key: IDs come from requests.
func validID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return true
}

// claimKey is where the claim of a name is stored. Names hold characters that
// subjects do not, so they are encoded.
func claimKey(kind, name string) string {
	return kindClaim + "." + kind + "." + encodeName(name)
}

// encodeName makes one token of a subject out of any text; decodeName is its
// reverse.
func encodeName(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

func decodeName(token string) (string, bool) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	return string(text), err == nil
}

// splitClaim is the reverse of claimKey, after the leading kindClaim.
func splitClaim(rest string) (kind, name string, ok bool) {
	kind, encoded, ok := strings.Cut(rest, ".")
	name, decoded := decodeName(encoded)
	return kind, name, ok && decoded
}

// scoped is a name that is unique within an account only.
func scoped(accountID, name string) string { return accountID + "/" + name }

// kindText names a kind for people.
func kindText(kind string) string {
	switch kind {
	case kindAPIToken:
		return "API token"
	case kindServiceToken:
		return "service token"
	}
	return kind
}

// claimText names a claimed name for people.
func claimText(kind, name string) string {
	_, local, _ := strings.Cut(name, "/")
	switch kind {
	case claimHostname:
		return "hostname " + name
	case claimApplication:
		return "application for hostname " + local
	case claimTunnelName:
		return "tunnel " + local
	}
	return kind + " " + local
}
