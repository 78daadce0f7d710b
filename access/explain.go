package access

// Step is what came of one policy on the way to a decision.
type Step struct {
	PolicyID string
	Name     string
	Decision PolicyDecision
	Matched  bool
	Why      string // a sentence
}

// Explanation is a decision with the way to it.
type Explanation struct {
	Decision    Decision
	Application *Application // nil if the hostname has none
	Steps       []Step       // in the order of evaluation, up to the policy that decided
}

// Explain decides as Decide does, and says how it came to that. With assume the
// client secret is not looked at: whoever has the client ID counts as having the
// right secret.
func Explain(dir Directory, req Request, assume bool) Explanation {
	token, known := dir.ServiceToken(req.ClientID)
	if !known {
		token = nil
	}
	who := identity{token: token, presented: req.ClientID != "" || req.ClientSecret != ""}
	switch {
	case !assume:
		who.failure = token.check(HashSecret(req.ClientSecret), req.Time)
	case token == nil:
		who.failure = ReasonUnknownToken
	default:
		who.failure = token.ended(req.Time)
	}
	var e Explanation
	d, app := decide(dir, &req, who, func(p *Policy, v verdict) {
		e.Steps = append(e.Steps, Step{PolicyID: p.ID, Name: p.Name, Decision: p.Decision, Matched: v.matched(), Why: v.String()})
	})
	e.Decision = d
	if app.ID != "" {
		e.Application = app
	}
	return e
}

// String says the verdict as a sentence.
func (v verdict) String() string {
	switch v.cause {
	case causeInclude:
		return "include rule matches: " + v.rule.String()
	case causeRequire:
		return "require rule does not match: " + v.rule.String()
	case causeExclude:
		return "exclude rule matches: " + v.rule.String()
	case causePassed:
		return "not evaluated: the credentials are not valid, and only a bypass policy admits without"
	case causeMissing:
		return "the reusable policy is missing, and blocks"
	}
	return "no include rule matches"
}
