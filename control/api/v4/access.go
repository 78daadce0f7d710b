package v4

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/sluicedb/sluice/access"
)

// ServiceToken is what a machine proves itself with: /access/service_tokens.
type ServiceToken struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	ClientID string `json:"client_id"`
	// ClientSecret is set once: in the answer to the request that made the token or rotated its secret.
	ClientSecret string `json:"client_secret,omitempty"`
	// ClientSecretVersion grows by one with each rotation, from 1.
	ClientSecretVersion int `json:"client_secret_version"`
	// PreviousClientSecretExpiresAt is until when the secret before the last rotation is accepted too; absent when it is not.
	PreviousClientSecretExpiresAt *time.Time `json:"previous_client_secret_expires_at,omitempty"`
	// Duration is a Go duration such as 8760h, or "forever".
	Duration string `json:"duration"`
	// Enabled is ours: a disabled token is refused everywhere until it is enabled.
	Enabled   bool      `json:"enabled"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// ExpiresAt is null for a token that never expires.
	ExpiresAt *time.Time `json:"expires_at"`
	// LastSeenAt is null for a token that was never used.
	LastSeenAt *time.Time `json:"last_seen_at"`
}

// ServiceTokenCreate is the body of POST /access/service_tokens.
type ServiceTokenCreate struct {
	Name string `json:"name"`
	// Duration is a Go duration such as 720h, or "forever"; empty for 8760h, a year, which is Cloudflare's default.
	Duration string `json:"duration,omitempty"`
}

// ServiceTokenUpdate is the body of PUT /access/service_tokens/{id}; what is null stays as it is.
type ServiceTokenUpdate struct {
	Name *string `json:"name,omitempty"`
	// Duration is as in ServiceTokenCreate; another one counts from now.
	Duration *string `json:"duration,omitempty"`
	// Enabled is ours.
	Enabled *bool `json:"enabled,omitempty"`
	// ClientSecretVersion rotates the secret when it is the present version and one more.
	ClientSecretVersion *int `json:"client_secret_version,omitempty"`
	// PreviousClientSecretExpiresAt is as in ServiceTokenRotate.
	PreviousClientSecretExpiresAt *time.Time `json:"previous_client_secret_expires_at,omitempty"`
}

// ServiceTokenRotate is the body of POST /access/service_tokens/{id}/rotate; it may be left out.
type ServiceTokenRotate struct {
	// PreviousClientSecretExpiresAt is until when the old secret is accepted too; null ends it now.
	PreviousClientSecretExpiresAt *time.Time `json:"previous_client_secret_expires_at,omitempty"`
}

// Application is a hostname that policies guard: /access/apps.
type Application struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Domain is the hostname.
	Domain string `json:"domain"`
	// Type is always "self_hosted".
	Type string `json:"type"`
	// AUD is the audience of the application's assertions: its id.
	AUD string `json:"aud"`
	// Policies in their order, reusable ones among them.
	Policies  []Policy  `json:"policies"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ApplicationWrite is the body of POST /access/apps and PUT /access/apps/{id}.
type ApplicationWrite struct {
	Name   string `json:"name"`
	Domain string `json:"domain"`
	// Type may be empty or "self_hosted".
	Type string `json:"type,omitempty"`
	// Destinations and SelfHostedDomains may be absent; what they name must be the domain.
	Destinations      []Destination `json:"destinations,omitempty"`
	SelfHostedDomains []string      `json:"self_hosted_domains,omitempty"`
	// Policies in their order, or by their precedence when each has one. Null in a PUT keeps the policies that the application
	// has. An item that has an id and no decision, or that is just a string, means the policy with this id: one that the
	// application has, or a reusable one. An item with the id of one that it has and a decision replaces that one.
	Policies *[]PolicyWrite `json:"policies,omitempty"`
}

// Destination is one of the places that an application guards.
type Destination struct {
	// Type may be empty or "public".
	Type string `json:"type,omitempty"`
	URI  string `json:"uri"`
}

// Policy admits or refuses: /access/policies, and /access/apps/{id}/policies.
type Policy struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Decision string `json:"decision"`
	// Precedence counts from 1 within an application.
	Precedence int           `json:"precedence,omitempty"`
	Include    []access.Rule `json:"include"`
	Require    []access.Rule `json:"require"`
	Exclude    []access.Rule `json:"exclude"`
	// Reusable policies may be part of several applications, and are changed under /access/policies.
	Reusable bool `json:"reusable"`
	// AppCount is how many applications a reusable policy is part of.
	AppCount  *int       `json:"app_count,omitempty"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	UpdatedAt *time.Time `json:"updated_at,omitempty"`
}

// PolicyWrite is the body that makes or replaces a policy.
type PolicyWrite struct {
	// ID is for a policy inside ApplicationWrite, and for a reusable one that becomes part of an application.
	ID       string        `json:"id,omitempty"`
	Name     string        `json:"name"`
	Decision string        `json:"decision"`
	Include  []access.Rule `json:"include,omitempty"`
	Require  []access.Rule `json:"require,omitempty"`
	Exclude  []access.Rule `json:"exclude,omitempty"`
	// Precedence, from 1, is the place among the application's policies; 0 for the last, or in a PUT for the present one.
	Precedence int `json:"precedence,omitempty"`
	// The next three ask for what a machine cannot give, and must be false.
	ApprovalRequired             bool `json:"approval_required,omitempty"`
	IsolationRequired            bool `json:"isolation_required,omitempty"`
	PurposeJustificationRequired bool `json:"purpose_justification_required,omitempty"`
}

// UnmarshalJSON also takes a string, the id of a policy.
func (p *PolicyWrite) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(`"`)) {
		*p = PolicyWrite{}
		return json.Unmarshal(data, &p.ID)
	}
	type plain PolicyWrite // without this method
	return json.Unmarshal(data, (*plain)(p))
}

// AccessTest is the body of POST /access/test: a wish to reach a hostname.
type AccessTest struct {
	Hostname string `json:"hostname"`
	// ClientID is that of a service token; empty for a client that presents none.
	ClientID string `json:"client_id,omitempty"`
	// ClientSecret is checked when it is given; without it the right one is assumed.
	ClientSecret string `json:"client_secret,omitempty"`
	// IP is the client's address; without it rules that look at one do not match.
	IP string `json:"ip,omitempty"`
	// CommonName is that of a valid client certificate.
	CommonName string `json:"common_name,omitempty"`
	// Certificate says that the client shows a valid certificate; CommonName says so too.
	Certificate bool `json:"certificate,omitempty"`
}

// AccessTestResult explains what became of it, and changes nothing.
type AccessTestResult struct {
	// Outcome is allowed, denied or unauthenticated.
	Outcome string `json:"outcome"`
	// Reason says why, as audit records do.
	Reason string `json:"reason"`
	// ServiceTokenID and ServiceTokenName are those of the client id.
	ServiceTokenID   string `json:"service_token_id,omitempty"`
	ServiceTokenName string `json:"service_token_name,omitempty"`
	// SecretAssumed is true when no client secret was given, and the right one was assumed.
	SecretAssumed bool `json:"secret_assumed"`
	// ApplicationID, ApplicationName and ApplicationDomain are those of the application that guards the hostname.
	ApplicationID     string `json:"application_id,omitempty"`
	ApplicationName   string `json:"application_name,omitempty"`
	ApplicationDomain string `json:"application_domain,omitempty"`
	// PolicyID is the policy that decided, and Rule the include rule of it that matched.
	PolicyID string `json:"policy_id,omitempty"`
	Rule     string `json:"rule,omitempty"`
	// Steps are the policies in the order in which they were looked at, up to the one that decided.
	Steps []AccessTestStep `json:"steps"`
	// TunnelID, TunnelName and Service are where the hostname leads.
	TunnelID   string `json:"tunnel_id,omitempty"`
	TunnelName string `json:"tunnel_name,omitempty"`
	Service    string `json:"service,omitempty"`
	// Connectors is how many connectors of the tunnel are connected now.
	Connectors int `json:"connectors"`
}

// AccessTestStep is what came of one policy.
type AccessTestStep struct {
	PolicyID string `json:"policy_id"`
	Name     string `json:"name"`
	Decision string `json:"decision"`
	Matched  bool   `json:"matched"`
	// Why is a sentence that names the rule.
	Why string `json:"why"`
}
