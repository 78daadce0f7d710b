package access

import (
	"net/netip"
	"time"
)

// Directory is where [Decide] finds tokens and applications. It must answer
// from memory, and be safe for concurrent use if Decide is called concurrently.
type Directory interface {
	// ServiceToken returns the token with this client ID.
	ServiceToken(clientID string) (*ServiceToken, bool)
	// Application returns the application that protects this hostname.
	Application(hostname string) (*Application, bool)
}

// Request is one wish to reach a hostname.
type Request struct {
	Hostname     string
	ClientID     string     // empty when no token was presented
	ClientSecret string     // never kept, never printed
	Remote       netip.Addr // the client's address; invalid when not known
	Certificate  bool       // the client showed a certificate that was verified
	CommonName   string     // that certificate's common name
	Time         time.Time  // now
}

// Outcome is the answer to a request.
type Outcome int

// The outcomes. The zero value admits nobody.
const (
	Denied          Outcome = iota // known, and not authorised (403)
	Unauthenticated                // cannot be authenticated (401)
	Allowed
)

// Reason says why, for audit records and for people who test a policy. It is
// never shown to the peer: that would tell unknown from wrong.
type Reason string

// The reasons of a decision.
const (
	ReasonPolicy        Reason = "policy matched"               // Allowed or Denied, by PolicyID
	ReasonNoCredentials Reason = "no credentials"               // Unauthenticated
	ReasonUnknownToken  Reason = "unknown client id"            // Unauthenticated
	ReasonWrongSecret   Reason = "wrong client secret"          // Unauthenticated
	ReasonDisabled      Reason = "service token disabled"       // Unauthenticated
	ReasonExpired       Reason = "service token expired"        // Unauthenticated
	ReasonSecretExpired Reason = "client secret past its grace" // Unauthenticated
	ReasonNoApplication Reason = "no application for hostname"  // Denied
	ReasonNoPolicy      Reason = "no policy matched"            // Denied
)

// Decision says who, which policy, and why. TokenID and ClientID are filled as
// soon as the client ID is known, also when the secret was wrong: an operator
// looks for exactly that.
type Decision struct {
	Outcome       Outcome
	TokenID       string
	ClientID      string
	ApplicationID string
	PolicyID      string
	Rule          string // the Include rule that matched, as text
	Reason        Reason
}
