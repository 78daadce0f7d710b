package v4

import "time"

// Account is the owner of everything else.
type Account struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// AccountCreate is the body of POST /installation/accounts.
type AccountCreate struct {
	Name string `json:"name"`
}

// AccountCreated answers POST /installation/accounts.
type AccountCreated struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Token is an API token of the new account with the scope admin, shown this once.
	Token string `json:"token"`
}

// TokenStatus answers GET /user/tokens/verify.
type TokenStatus struct {
	ID string `json:"id"`
	// Status is always "active": a token that is not gets no answer but 401.
	Status string `json:"status"`
	// Scope is ours: read, edit or admin.
	Scope string `json:"scope"`
	// ExpiresOn is absent for a token that never expires.
	ExpiresOn *time.Time `json:"expires_on,omitempty"`
}

// APIToken admits to this API: /tokens.
type APIToken struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Scope is ours: read, edit or admin, each with what the one before has.
	Scope string `json:"scope"`
	// Status is active or expired.
	Status   string    `json:"status"`
	IssuedOn time.Time `json:"issued_on"`
	// ExpiresOn is null for a token that never expires.
	ExpiresOn *time.Time `json:"expires_on"`
	// LastUsedOn is null for a token that was never used, and exact to about a minute.
	LastUsedOn *time.Time `json:"last_used_on"`
	// Value is the token itself, set once: in the answer to the POST that made it.
	Value string `json:"value,omitempty"`
}

// APITokenCreate is the body of POST /tokens.
type APITokenCreate struct {
	Name string `json:"name"`
	// Scope is read, edit or admin.
	Scope string `json:"scope"`
	// ExpiresOn is null or absent for a token that never expires.
	ExpiresOn *time.Time `json:"expires_on,omitempty"`
}
