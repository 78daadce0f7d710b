package api

import (
	"net/http"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// routes registers every path, with the types that its handler reads and answers: /openapi.json is made from them, and API.md has a
// sentence on each.
func (a *API) routes() {
	a.public("GET /healthz", "text/plain", a.healthz)
	a.public("GET /openapi.json", "application/json", a.openAPI)
	a.public("GET /ca.pem", "application/x-pem-file", a.ca)
	a.public("GET /client/v4/ca", "application/x-pem-file", a.ca)

	a.route("GET /user/tokens/verify", "API token", "", a.verifyToken).gives(v4.TokenStatus{})
	a.route("GET /accounts", "account", "", a.listAccounts).lists(v4.Account{})
	a.route("GET /accounts/{account}", "account", "", a.getAccount).gives(v4.Account{})
	a.route("GET /accounts/{account}/audit_logs", "audit record", "", a.listAudit).lists(v4.AuditRecord{}, "actor", "action", "target", "outcome", "since", "before", "cursor", "after")

	const tokens = "/accounts/{account}/tokens"
	a.route("GET "+tokens, "API token", "", a.listAPITokens).lists(v4.APIToken{}, "name")
	a.route("POST "+tokens, "API token", "api_token.create", a.createAPIToken).takes(v4.APITokenCreate{}).gives(v4.APIToken{}).needs(control.ScopeAdmin)
	a.route("GET "+tokens+"/{id}", "API token", "", a.getAPIToken).gives(v4.APIToken{})
	a.route("DELETE "+tokens+"/{id}", "API token", "api_token.delete", a.deleteAPIToken).gives(v4.Deleted{}).needs(control.ScopeAdmin)
	a.route("GET /accounts/{account}/status", "account", "", a.status).gives(v4.Status{})

	const installation = "/installation"
	a.route("GET "+installation+"/accounts", "account", "", a.listEveryAccount).lists(v4.Account{}, "name").concernsInstallation()
	a.route("POST "+installation+"/accounts", "account", "account.create", a.createAccount).takes(v4.AccountCreate{}).gives(v4.AccountCreated{}).concernsInstallation()
	a.route("DELETE "+installation+"/accounts/{id}", "account", "account.delete", a.deleteAccount).gives(v4.Deleted{}).concernsInstallation()
	a.route("GET "+installation+"/keys", "key", "", a.getKeys).gives(v4.KeyRotation{}).concernsInstallation()
	a.route("POST "+installation+"/keys/rotate", "key", "keys.rotate", a.rotateKeys).gives(v4.KeyRotation{}).concernsInstallation()
	a.route("GET "+installation+"/signing_keys", "signing key", "", a.getSigningKeys).gives(v4.SigningKeys{}).concernsInstallation()
	a.route("POST "+installation+"/signing_keys/rotate", "signing key", "signing_key.rotate", a.rotateSigningKey).gives(v4.SigningKeys{}).concernsInstallation()
	// A backup is sealed, but it is everything: who asked for it is worth a record.
	a.route("GET "+installation+"/backup", "backup", "installation.backup", a.backup).gives(download{}).concernsInstallation()

	const tunnels = "/accounts/{account}/cfd_tunnel"
	a.route("GET "+tunnels, "tunnel", "", a.listTunnels).lists(v4.Tunnel{}, "name", "uuid", "status", "is_deleted")
	a.route("POST "+tunnels, "tunnel", "tunnel.create", a.createTunnel).takes(v4.TunnelCreate{}).gives(v4.Tunnel{})
	a.route("GET "+tunnels+"/{id}", "tunnel", "", a.getTunnel).gives(v4.Tunnel{})
	a.route("PATCH "+tunnels+"/{id}", "tunnel", "tunnel.update", a.updateTunnel).takes(v4.TunnelUpdate{}).gives(v4.Tunnel{})
	a.route("DELETE "+tunnels+"/{id}", "tunnel", "tunnel.delete", a.deleteTunnel).gives(v4.Tunnel{})
	// A token is a secret: who asked for it is worth a record though nothing changes.
	a.route("GET "+tunnels+"/{id}/token", "tunnel", "tunnel.token", a.getTunnelToken).gives("")
	a.route("POST "+tunnels+"/{id}/token", "tunnel", "tunnel.rotate", a.rotateTunnelToken).gives("")
	a.route("GET "+tunnels+"/{id}/connections", "tunnel", "", a.listConnections).lists(v4.Connector{})
	a.route("GET "+tunnels+"/{id}/connectors/{connector}", "connector", "", a.getConnector).gives(v4.Connector{})
	a.route("DELETE "+tunnels+"/{id}/connections", "tunnel", "tunnel.cleanup", a.cleanUpConnections).asks("client_id")
	a.route("GET "+tunnels+"/{id}/configurations", "tunnel", "", a.getConfiguration).gives(v4.TunnelConfiguration{})
	a.route("PUT "+tunnels+"/{id}/configurations", "tunnel", "tunnel.configure", a.putConfiguration).takes(v4.TunnelConfigurationUpdate{}).gives(v4.TunnelConfiguration{})

	const serviceTokens = "/accounts/{account}/access/service_tokens"
	a.route("GET "+serviceTokens, "service token", "", a.listServiceTokens).lists(v4.ServiceToken{}, "name")
	a.route("POST "+serviceTokens, "service token", "service_token.create", a.createServiceToken).takes(v4.ServiceTokenCreate{}).gives(v4.ServiceToken{})
	a.route("GET "+serviceTokens+"/{id}", "service token", "", a.getServiceToken).gives(v4.ServiceToken{})
	a.route("PUT "+serviceTokens+"/{id}", "service token", "service_token.update", a.updateServiceToken).takes(v4.ServiceTokenUpdate{}).gives(v4.ServiceToken{})
	a.route("POST "+serviceTokens+"/{id}/rotate", "service token", "service_token.rotate", a.rotateServiceToken).takes(v4.ServiceTokenRotate{}).gives(v4.ServiceToken{})
	a.route("POST "+serviceTokens+"/{id}/refresh", "service token", "service_token.refresh", a.refreshServiceToken).gives(v4.ServiceToken{})
	a.route("DELETE "+serviceTokens+"/{id}", "service token", "service_token.delete", a.deleteServiceToken).gives(v4.ServiceToken{})

	const apps = "/accounts/{account}/access/apps"
	a.route("GET "+apps, "application", "", a.listApplications).lists(v4.Application{}, "name", "domain")
	a.route("POST "+apps, "application", "application.create", a.createApplication).takes(v4.ApplicationWrite{}).gives(v4.Application{})
	a.route("GET "+apps+"/{id}", "application", "", a.getApplication).gives(v4.Application{})
	a.route("PUT "+apps+"/{id}", "application", "application.update", a.updateApplication).takes(v4.ApplicationWrite{}).gives(v4.Application{})
	a.route("DELETE "+apps+"/{id}", "application", "application.delete", a.deleteApplication).gives(v4.Deleted{})
	a.route("GET "+apps+"/{id}/policies", "application", "", a.listPolicies).lists(v4.Policy{})
	a.route("POST "+apps+"/{id}/policies", "application", "policy.create", a.createPolicy).takes(v4.PolicyWrite{}).gives(v4.Policy{})
	a.route("GET "+apps+"/{id}/policies/{policy}", "policy", "", a.getPolicy).gives(v4.Policy{})
	a.route("PUT "+apps+"/{id}/policies/{policy}", "policy", "policy.update", a.updatePolicy).takes(v4.PolicyWrite{}).gives(v4.Policy{})
	a.route("DELETE "+apps+"/{id}/policies/{policy}", "policy", "policy.delete", a.deletePolicy).gives(v4.Deleted{})

	a.route("PUT "+apps+"/{id}/policies/{policy}/make_reusable", "policy", "policy.share", a.makePolicyReusable).gives(v4.Policy{})

	const policies = "/accounts/{account}/access/policies"
	a.route("GET "+policies, "policy", "", a.listReusablePolicies).lists(v4.Policy{}, "name")
	a.route("POST "+policies, "policy", "policy.create", a.createReusablePolicy).takes(v4.PolicyWrite{}).gives(v4.Policy{})
	a.route("GET "+policies+"/{id}", "policy", "", a.getReusablePolicy).gives(v4.Policy{})
	a.route("PUT "+policies+"/{id}", "policy", "policy.update", a.updateReusablePolicy).takes(v4.PolicyWrite{}).gives(v4.Policy{})
	a.route("DELETE "+policies+"/{id}", "policy", "policy.delete", a.deleteReusablePolicy).gives(v4.Deleted{})

	// It changes nothing, but takes a guess at a secret: who made it is worth a record.
	a.route("POST /accounts/{account}/access/test", "hostname", "access.test", a.testAccess).takes(v4.AccessTest{}).gives(v4.AccessTestResult{})

	const configs = "/accounts/{account}/hyperdrive/configs"
	a.route("GET "+configs, "database", "", a.listDatabases).lists(v4.Database{}, "name")
	a.route("POST "+configs, "database", "database.create", a.createDatabase).tests().takes(v4.DatabaseWrite{}).gives(v4.Database{})
	a.route("GET "+configs+"/{id}", "database", "", a.getDatabase).gives(v4.Database{})
	a.route("PUT "+configs+"/{id}", "database", "database.update", a.putDatabase).tests().takes(v4.DatabaseWrite{}).gives(v4.Database{})
	a.route("PATCH "+configs+"/{id}", "database", "database.update", a.patchDatabase).tests().takes(v4.DatabaseWrite{}).gives(v4.Database{})
	a.route("DELETE "+configs+"/{id}", "database", "database.delete", a.deleteDatabase)
	a.route("POST "+configs+"/{id}/test", "database", "database.test", a.testDatabase).tests().gives(v4.TestResult{})
	a.route("POST "+configs+"/{id}/purge_cache", "database", "database.purge_cache", a.purgeCache).gives(v4.PurgeResult{})
	a.route("GET "+configs+"/{id}/connections", "database", "", a.originConnections).gives([]v4.Connections{})
	a.route("GET "+configs+"/{id}/pools", "database", "", a.listPools).gives([]v4.Pool{})
	a.route("GET "+configs+"/{id}/cache", "database", "", a.listCaches).gives([]v4.Cache{})
	// It changes nothing, but makes a proxy log in to the origin: who asked is worth a record.
	a.route("POST "+configs+"/{id}/explain", "database", "database.explain", a.explainQuery).takes(v4.QueryExplain{}).gives(v4.QueryExplanation{})
	a.route("GET "+configs+"/{id}/credentials", "database", "", a.listCredentials).lists(v4.Credential{})
	a.route("POST "+configs+"/{id}/credentials", "database", "credential.create", a.createCredential).takes(v4.CredentialCreate{}).gives(v4.Credential{})
	a.route("DELETE "+configs+"/{id}/credentials/{credential}", "credential", "credential.delete", a.deleteCredential).gives(v4.Deleted{})

	const certificates = "/accounts/{account}/mtls_certificates"
	a.route("GET "+certificates, "certificate", "", a.listCertificates).lists(v4.Certificate{}, "name", "ca")
	a.route("POST "+certificates, "certificate", "certificate.create", a.createCertificate).takes(v4.CertificateCreate{}).gives(v4.Certificate{})
	a.route("GET "+certificates+"/{id}", "certificate", "", a.getCertificate).gives(v4.Certificate{})
	a.route("DELETE "+certificates+"/{id}", "certificate", "certificate.delete", a.deleteCertificate)
}

// healthz says that the process answers. It needs no token and asks nothing of the store.
func (a *API) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// ca gives the CA certificate to anybody: it is public, and drivers need it before they can have anything else.
func (a *API) ca(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(a.control.CA())
}
