package v4

import (
	"time"

	"github.com/sluicedb/sluice/access"
)

// ServiceToken is what a machine proves itself with: /access/service_tokens.
type ServiceToken struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	ClientID string `json:"client_id"`
	// ClientSecret is set once: in the answer to the POST that made the token.
	ClientSecret string `json:"client_secret,omitempty"`
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
	// Enabled is ours.
	Enabled *bool `json:"enabled,omitempty"`
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
	AUD       string    `json:"aud"`
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
	// Policies in their order. Null in a PUT keeps the policies that the application has; a policy with the id of one that it
	// has replaces that one.
	Policies *[]PolicyWrite `json:"policies,omitempty"`
}

// Policy admits or refuses: /access/apps/{id}/policies.
type Policy struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Decision string `json:"decision"`
	// Precedence counts from 1 within the application.
	Precedence int           `json:"precedence"`
	Include    []access.Rule `json:"include"`
	Require    []access.Rule `json:"require"`
	Exclude    []access.Rule `json:"exclude"`
}

// PolicyWrite is the body that makes or replaces a policy.
type PolicyWrite struct {
	// ID is for a policy inside ApplicationWrite.
	ID       string        `json:"id,omitempty"`
	Name     string        `json:"name"`
	Decision string        `json:"decision"`
	Include  []access.Rule `json:"include,omitempty"`
	Require  []access.Rule `json:"require,omitempty"`
	Exclude  []access.Rule `json:"exclude,omitempty"`
	// Precedence, from 1, is the place among the application's policies; 0 for the last, or in a PUT for the present one.
	Precedence int `json:"precedence,omitempty"`
}
