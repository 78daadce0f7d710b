package apiclient

import (
	"context"
	"net/http"
	"net/url"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// Tunnels lists every tunnel, oldest first; with a name, the one of that name or none.
func (c *Client) Tunnels(ctx context.Context, name string) ([]v4.Tunnel, error) {
	return all[v4.Tunnel](ctx, c, nameQuery(name), "cfd_tunnel")
}

// Tunnel returns the tunnel with this id.
func (c *Client) Tunnel(ctx context.Context, id string) (v4.Tunnel, error) {
	return do[v4.Tunnel](ctx, c, http.MethodGet, nil, "cfd_tunnel", id)
}

// CreateTunnel makes a tunnel.
func (c *Client) CreateTunnel(ctx context.Context, body v4.TunnelCreate) (v4.Tunnel, error) {
	return do[v4.Tunnel](ctx, c, http.MethodPost, body, "cfd_tunnel")
}

// DeleteTunnel deletes a tunnel with its hostnames.
func (c *Client) DeleteTunnel(ctx context.Context, id string) error {
	_, err := do[v4.Tunnel](ctx, c, http.MethodDelete, nil, "cfd_tunnel", id)
	return err
}

// UpdateTunnel renames a tunnel.
func (c *Client) UpdateTunnel(ctx context.Context, id string, body v4.TunnelUpdate) (v4.Tunnel, error) {
	return do[v4.Tunnel](ctx, c, http.MethodPatch, body, "cfd_tunnel", id)
}

// RotateTunnelToken gives a tunnel another token, a secret, and returns it; connectors with the old one are disconnected.
func (c *Client) RotateTunnelToken(ctx context.Context, id string) (string, error) {
	return do[string](ctx, c, http.MethodPost, nil, "cfd_tunnel", id, "token")
}

// Connectors lists the connectors that are connected to a tunnel's relays.
func (c *Client) Connectors(ctx context.Context, id string) ([]v4.Connector, error) {
	return all[v4.Connector](ctx, c, nil, "cfd_tunnel", id, "connections")
}

// Disconnect ends the sessions of a tunnel's connectors, or of the one that is named; those that run come back.
func (c *Client) Disconnect(ctx context.Context, id, connector string) error {
	path, err := c.path(ctx, "cfd_tunnel", id, "connections")
	if err != nil {
		return err
	}
	if connector != "" {
		path += "?" + url.Values{"client_id": {connector}}.Encode()
	}
	_, err = c.Do(ctx, http.MethodDelete, path, nil, nil)
	return err
}

// TunnelToken returns the token, a secret, that connectors of a tunnel are started with.
func (c *Client) TunnelToken(ctx context.Context, id string) (string, error) {
	return do[string](ctx, c, http.MethodGet, nil, "cfd_tunnel", id, "token")
}

// TunnelConfiguration returns a tunnel's ingress rules.
func (c *Client) TunnelConfiguration(ctx context.Context, id string) (v4.TunnelConfiguration, error) {
	return do[v4.TunnelConfiguration](ctx, c, http.MethodGet, nil, "cfd_tunnel", id, "configurations")
}

// UpdateTunnelConfiguration replaces a tunnel's ingress rules.
func (c *Client) UpdateTunnelConfiguration(ctx context.Context, id string, body v4.TunnelConfigurationUpdate) (v4.TunnelConfiguration, error) {
	return do[v4.TunnelConfiguration](ctx, c, http.MethodPut, body, "cfd_tunnel", id, "configurations")
}

// ServiceTokens lists every service token, oldest first; with a name, those of that name.
func (c *Client) ServiceTokens(ctx context.Context, name string) ([]v4.ServiceToken, error) {
	return all[v4.ServiceToken](ctx, c, nameQuery(name), "access", "service_tokens")
}

// ServiceToken returns the service token with this id.
func (c *Client) ServiceToken(ctx context.Context, id string) (v4.ServiceToken, error) {
	return do[v4.ServiceToken](ctx, c, http.MethodGet, nil, "access", "service_tokens", id)
}

// CreateServiceToken makes a service token; the answer has its client secret, this once.
func (c *Client) CreateServiceToken(ctx context.Context, body v4.ServiceTokenCreate) (v4.ServiceToken, error) {
	return do[v4.ServiceToken](ctx, c, http.MethodPost, body, "access", "service_tokens")
}

// UpdateServiceToken renames, enables or disables a service token.
func (c *Client) UpdateServiceToken(ctx context.Context, id string, body v4.ServiceTokenUpdate) (v4.ServiceToken, error) {
	return do[v4.ServiceToken](ctx, c, http.MethodPut, body, "access", "service_tokens", id)
}

// RotateServiceToken gives a service token another secret; the answer has it, this once.
func (c *Client) RotateServiceToken(ctx context.Context, id string, body v4.ServiceTokenRotate) (v4.ServiceToken, error) {
	return do[v4.ServiceToken](ctx, c, http.MethodPost, body, "access", "service_tokens", id, "rotate")
}

// RefreshServiceToken lets a service token live for its duration from now on.
func (c *Client) RefreshServiceToken(ctx context.Context, id string) (v4.ServiceToken, error) {
	return do[v4.ServiceToken](ctx, c, http.MethodPost, nil, "access", "service_tokens", id, "refresh")
}

// DeleteServiceToken revokes a service token.
func (c *Client) DeleteServiceToken(ctx context.Context, id string) error {
	_, err := do[v4.ServiceToken](ctx, c, http.MethodDelete, nil, "access", "service_tokens", id)
	return err
}

// Applications lists every application, oldest first. query may have name and domain.
func (c *Client) Applications(ctx context.Context, query url.Values) ([]v4.Application, error) {
	return all[v4.Application](ctx, c, query, "access", "apps")
}

// Application returns the application with this id.
func (c *Client) Application(ctx context.Context, id string) (v4.Application, error) {
	return do[v4.Application](ctx, c, http.MethodGet, nil, "access", "apps", id)
}

// CreateApplication makes an application.
func (c *Client) CreateApplication(ctx context.Context, body v4.ApplicationWrite) (v4.Application, error) {
	return do[v4.Application](ctx, c, http.MethodPost, body, "access", "apps")
}

// UpdateApplication replaces an application; without policies in the body it keeps those that it has.
func (c *Client) UpdateApplication(ctx context.Context, id string, body v4.ApplicationWrite) (v4.Application, error) {
	return do[v4.Application](ctx, c, http.MethodPut, body, "access", "apps", id)
}

// DeleteApplication deletes an application with its policies.
func (c *Client) DeleteApplication(ctx context.Context, id string) error {
	_, err := do[any](ctx, c, http.MethodDelete, nil, "access", "apps", id)
	return err
}

// CreatePolicy adds a policy to an application.
func (c *Client) CreatePolicy(ctx context.Context, applicationID string, body v4.PolicyWrite) (v4.Policy, error) {
	return do[v4.Policy](ctx, c, http.MethodPost, body, "access", "apps", applicationID, "policies")
}

// UpdatePolicy replaces a policy of an application.
func (c *Client) UpdatePolicy(ctx context.Context, applicationID, id string, body v4.PolicyWrite) (v4.Policy, error) {
	return do[v4.Policy](ctx, c, http.MethodPut, body, "access", "apps", applicationID, "policies", id)
}

// SharePolicy makes a policy of an application reusable.
func (c *Client) SharePolicy(ctx context.Context, applicationID, id string) (v4.Policy, error) {
	return do[v4.Policy](ctx, c, http.MethodPut, nil, "access", "apps", applicationID, "policies", id, "make_reusable")
}

// ReusablePolicies lists the reusable policies, oldest first; with a name, those of that name.
func (c *Client) ReusablePolicies(ctx context.Context, name string) ([]v4.Policy, error) {
	return all[v4.Policy](ctx, c, nameQuery(name), "access", "policies")
}

// ReusablePolicy returns the reusable policy with this id.
func (c *Client) ReusablePolicy(ctx context.Context, id string) (v4.Policy, error) {
	return do[v4.Policy](ctx, c, http.MethodGet, nil, "access", "policies", id)
}

// CreateReusablePolicy makes a policy that applications may share.
func (c *Client) CreateReusablePolicy(ctx context.Context, body v4.PolicyWrite) (v4.Policy, error) {
	return do[v4.Policy](ctx, c, http.MethodPost, body, "access", "policies")
}

// UpdateReusablePolicy replaces a reusable policy.
func (c *Client) UpdateReusablePolicy(ctx context.Context, id string, body v4.PolicyWrite) (v4.Policy, error) {
	return do[v4.Policy](ctx, c, http.MethodPut, body, "access", "policies", id)
}

// DeleteReusablePolicy deletes a reusable policy that is part of no application.
func (c *Client) DeleteReusablePolicy(ctx context.Context, id string) error {
	_, err := do[any](ctx, c, http.MethodDelete, nil, "access", "policies", id)
	return err
}

// TestAccess asks what would be decided now, and why.
func (c *Client) TestAccess(ctx context.Context, body v4.AccessTest) (v4.AccessTestResult, error) {
	return do[v4.AccessTestResult](ctx, c, http.MethodPost, body, "access", "test")
}

// DeletePolicy takes a policy from an application.
func (c *Client) DeletePolicy(ctx context.Context, applicationID, id string) error {
	_, err := do[any](ctx, c, http.MethodDelete, nil, "access", "apps", applicationID, "policies", id)
	return err
}

// Databases lists every database, oldest first; with a name, the one of that name or none.
func (c *Client) Databases(ctx context.Context, name string) ([]v4.Database, error) {
	return all[v4.Database](ctx, c, nameQuery(name), "hyperdrive", "configs")
}

// Database returns the database with this id.
func (c *Client) Database(ctx context.Context, id string) (v4.Database, error) {
	return do[v4.Database](ctx, c, http.MethodGet, nil, "hyperdrive", "configs", id)
}

// CreateDatabase makes a database; the answer has its first client credential with the password, this once.
func (c *Client) CreateDatabase(ctx context.Context, body v4.DatabaseWrite) (v4.Database, error) {
	return do[v4.Database](ctx, c, http.MethodPost, body, "hyperdrive", "configs")
}

// PatchDatabase changes the fields of a database that the body names.
func (c *Client) PatchDatabase(ctx context.Context, id string, body v4.DatabaseWrite) (v4.Database, error) {
	return do[v4.Database](ctx, c, http.MethodPatch, body, "hyperdrive", "configs", id)
}

// DeleteDatabase deletes a database.
func (c *Client) DeleteDatabase(ctx context.Context, id string) error {
	_, err := do[any](ctx, c, http.MethodDelete, nil, "hyperdrive", "configs", id)
	return err
}

// TestDatabase makes a test connection to a database's origin. What is wrong with it is an Error with a code from 2000 on.
func (c *Client) TestDatabase(ctx context.Context, id string) (v4.TestResult, error) {
	return do[v4.TestResult](ctx, c, http.MethodPost, nil, "hyperdrive", "configs", id, "test")
}

// PurgeCache makes caches forget what they have of a database.
func (c *Client) PurgeCache(ctx context.Context, id string) (v4.PurgeResult, error) {
	return do[v4.PurgeResult](ctx, c, http.MethodPost, nil, "hyperdrive", "configs", id, "purge_cache")
}

// Pools returns how a database's clients fare, at each proxy.
func (c *Client) Pools(ctx context.Context, id string) ([]v4.Pool, error) {
	return do[[]v4.Pool](ctx, c, http.MethodGet, nil, "hyperdrive", "configs", id, "pools")
}

// Caches returns how a database's cache fares, at each proxy.
func (c *Client) Caches(ctx context.Context, id string) ([]v4.Cache, error) {
	return do[[]v4.Cache](ctx, c, http.MethodGet, nil, "hyperdrive", "configs", id, "cache")
}

// Explain says what a database's cache would make of a statement.
func (c *Client) Explain(ctx context.Context, id, sql string) (v4.QueryExplanation, error) {
	return do[v4.QueryExplanation](ctx, c, http.MethodPost, v4.QueryExplain{SQL: sql}, "hyperdrive", "configs", id, "explain")
}

// Connections returns a database's open origin connections, by generation.
func (c *Client) Connections(ctx context.Context, id string) ([]v4.Connections, error) {
	return do[[]v4.Connections](ctx, c, http.MethodGet, nil, "hyperdrive", "configs", id, "connections")
}

// Certificates lists every certificate, oldest first; with a name, those of that name.
func (c *Client) Certificates(ctx context.Context, name string) ([]v4.Certificate, error) {
	return all[v4.Certificate](ctx, c, nameQuery(name), "mtls_certificates")
}

// Certificate returns the certificate with this id.
func (c *Client) Certificate(ctx context.Context, id string) (v4.Certificate, error) {
	return do[v4.Certificate](ctx, c, http.MethodGet, nil, "mtls_certificates", id)
}

// CreateCertificate uploads the certificates of a CA, or a client certificate with its key.
func (c *Client) CreateCertificate(ctx context.Context, body v4.CertificateCreate) (v4.Certificate, error) {
	return do[v4.Certificate](ctx, c, http.MethodPost, body, "mtls_certificates")
}

// DeleteCertificate deletes a certificate that no database uses.
func (c *Client) DeleteCertificate(ctx context.Context, id string) error {
	_, err := do[any](ctx, c, http.MethodDelete, nil, "mtls_certificates", id)
	return err
}

// Credentials lists a database's client credentials.
func (c *Client) Credentials(ctx context.Context, databaseID string) ([]v4.Credential, error) {
	return all[v4.Credential](ctx, c, nil, "hyperdrive", "configs", databaseID, "credentials")
}

// CreateCredential adds a client credential; the answer has its password, this once.
func (c *Client) CreateCredential(ctx context.Context, databaseID string, body v4.CredentialCreate) (v4.Credential, error) {
	return do[v4.Credential](ctx, c, http.MethodPost, body, "hyperdrive", "configs", databaseID, "credentials")
}

// DeleteCredential removes a client credential; clients that use it cannot log in any more.
func (c *Client) DeleteCredential(ctx context.Context, databaseID, id string) error {
	_, err := do[any](ctx, c, http.MethodDelete, nil, "hyperdrive", "configs", databaseID, "credentials", id)
	return err
}

// AuditRecords reads one page of up to 100 records, newest first; the cursor of its ResultInfo, if any, reads on. query may have
// actor, action, target, outcome, since and before (RFC 3339), after (a record's id), per_page and cursor.
func (c *Client) AuditRecords(ctx context.Context, query url.Values) ([]v4.AuditRecord, *v4.ResultInfo, error) {
	path, err := c.path(ctx, "audit_logs")
	if err != nil {
		return nil, nil, err
	}
	var records []v4.AuditRecord
	info, err := c.Do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &records)
	return records, info, err
}

func nameQuery(name string) url.Values {
	if name == "" {
		return nil
	}
	return url.Values{"name": {name}}
}

// APITokens lists every API token, oldest first; with a name, those of that name.
func (c *Client) APITokens(ctx context.Context, name string) ([]v4.APIToken, error) {
	return all[v4.APIToken](ctx, c, nameQuery(name), "tokens")
}

// APIToken returns the API token with this id.
func (c *Client) APIToken(ctx context.Context, id string) (v4.APIToken, error) {
	return do[v4.APIToken](ctx, c, http.MethodGet, nil, "tokens", id)
}

// CreateAPIToken makes an API token; the answer has its value, this once.
func (c *Client) CreateAPIToken(ctx context.Context, body v4.APITokenCreate) (v4.APIToken, error) {
	return do[v4.APIToken](ctx, c, http.MethodPost, body, "tokens")
}

// DeleteAPIToken revokes an API token.
func (c *Client) DeleteAPIToken(ctx context.Context, id string) error {
	_, err := do[v4.Deleted](ctx, c, http.MethodDelete, nil, "tokens", id)
	return err
}

// Status says what is up, what is not and what to do.
func (c *Client) Status(ctx context.Context) (v4.Status, error) {
	return do[v4.Status](ctx, c, http.MethodGet, nil, "status")
}
