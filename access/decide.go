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
	// Policy returns the reusable policy with this ID.
	Policy(id string) (*ReusablePolicy, bool)
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
	Denied          Outcome = iota // not authorised (403)
	Unauthenticated                // cannot be authenticated (401)
	Allowed
)

// String returns the outcome in lower case, as audit records hold it.
func (o Outcome) String() string {
	switch o {
	case Allowed:
		return "allowed"
	case Unauthenticated:
		return "unauthenticated"
	}
	return "denied"
}

// Reason says why, for audit records and for people who test a policy. It is
// never shown to the peer: that would tell unknown from wrong.
type Reason string

// The reasons of a decision, each with the outcomes it comes with.
const (
	ReasonPolicy        Reason = "policy matched"                   // Allowed or Denied, by PolicyID
	ReasonNoCredentials Reason = "no credentials"                   // Unauthenticated
	ReasonUnknownToken  Reason = "unknown client id"                // Unauthenticated
	ReasonWrongSecret   Reason = "wrong client secret"              // Unauthenticated
	ReasonDisabled      Reason = "service token disabled"           // Unauthenticated
	ReasonExpired       Reason = "service token expired"            // Unauthenticated
	ReasonSecretExpired Reason = "client secret past its grace"     // Unauthenticated
	ReasonOtherAccount  Reason = "service token of another account" // Denied
	ReasonNoApplication Reason = "no application for hostname"      // Denied
	ReasonNoPolicy      Reason = "no policy matched"                // Denied
	ReasonPolicyMissing Reason = "a reusable policy is missing"     // Denied
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

// Decide answers req. A request that presents credentials which cannot be
// authenticated is admitted by a bypass policy alone; one that presents none is
// admitted by whatever policy matches without a token.
func Decide(dir Directory, req Request) Decision {
	token, known := dir.ServiceToken(req.ClientID)
	if !known {
		token = nil
	}
	failure := token.check(HashSecret(req.ClientSecret), req.Time)
	presented := req.ClientID != "" || req.ClientSecret != ""
	d, _ := decide(dir, &req, identity{token: token, presented: presented, failure: failure}, nil)
	return d
}

// identity is who asks.
type identity struct {
	token     *ServiceToken // that has the client ID; nil if none has
	presented bool          // credentials were
	failure   Reason        // why they do not authenticate; empty if they do
}

// decide is what Decide and Explain share. trace, if not nil, is told of each
// policy that was looked at.
func decide(dir Directory, req *Request, who identity, trace func(*Policy, verdict)) (Decision, *Application) {
	var d Decision
	token, failure := who.token, who.failure
	if token != nil {
		d.TokenID, d.ClientID = token.ID, token.ClientID
	}
	switch {
	case !who.presented:
		failure, token = ReasonNoCredentials, nil
	case failure != "":
		token = nil
	}
	refused := who.presented && failure != ""

	app, ok := dir.Application(req.Hostname)
	if !ok {
		app = &Application{}
	}
	d.ApplicationID = app.ID
	// A token is good within its account alone, whatever another account's policies say: a hostname that has changed hands must
	// not draw the streams of those who knew it before, be it by a policy that admits everyone.
	if who.token != nil && ok && who.token.AccountID != app.AccountID {
		d.Outcome, d.Reason = Denied, ReasonOtherAccount
		if failure != "" {
			d.Outcome, d.Reason = Unauthenticated, failure
		}
		return d, app
	}
	s := search{dir: dir, app: app, req: req, token: token, bypassOnly: refused, trace: trace}
	if p, v := s.firstMatch(); p != nil {
		d.PolicyID, d.Rule, d.Reason = p.ID, v.rule.String(), ReasonPolicy
		switch {
		case v.cause == causeMissing:
			d.Rule, d.Reason = "", ReasonPolicyMissing
		case !p.Decision.blocks():
			d.Outcome = Allowed
		}
		return d, app
	}
	switch {
	case failure != "":
		d.Outcome, d.Reason = Unauthenticated, failure
	case !ok:
		d.Reason = ReasonNoApplication
	default:
		d.Reason = ReasonNoPolicy
	}
	return d, app
}

// search goes through an application's policies.
type search struct {
	dir        Directory
	app        *Application
	req        *Request
	token      *ServiceToken // nil unless one was authenticated
	bypassOnly bool          // the credentials are bad
	trace      func(*Policy, verdict)
}

// firstMatch evaluates bypass and non_identity policies from the top down, then
// allow and block policies, and returns the first that matches, nil if none does.
func (s *search) firstMatch() (*Policy, verdict) {
	for _, early := range []bool{true, false} {
		for i := range s.app.Policies {
			p, there := s.policy(&s.app.Policies[i])
			switch {
			case !there && early:
				continue // it might have admitted: now it does not
			case !there:
				// It might have blocked: now it blocks everybody.
				v := verdict{cause: causeMissing}
				s.tell(p, v)
				return p, v
			}
			switch p.Decision {
			case Bypass, NonIdentity:
				if !early {
					continue
				}
			case Allow, Block, Deny:
				if early {
					continue
				}
			default:
				continue // not a decision that this version knows
			}
			if s.bypassOnly && p.Decision != Bypass {
				s.tell(p, verdict{cause: causePassed})
				continue
			}
			v := p.evaluate(s.req, s.token)
			s.tell(p, v)
			if v.matched() {
				return p, v
			}
		}
	}
	return nil, verdict{}
}

// policy returns p or, when p is a reusable one, what it stands for.
func (s *search) policy(p *Policy) (*Policy, bool) {
	if !p.Reusable {
		return p, true
	}
	shared, ok := s.dir.Policy(p.ID)
	if !ok || shared.AccountID != s.app.AccountID {
		return p, false
	}
	return &shared.Policy, true
}

func (s *search) tell(p *Policy, v verdict) {
	if s.trace != nil {
		s.trace(p, v)
	}
}
