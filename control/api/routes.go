package api

import (
	"context"
	"net/http"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// routes registers every path; API.md lists the same.
func (a *API) routes() {
	a.mux.HandleFunc("GET /healthz", a.healthz)
	a.mux.HandleFunc("GET /ca.pem", a.ca)
	a.mux.HandleFunc("GET /client/v4/ca", a.ca)

	a.route("GET /user/tokens/verify", "API token", "", a.verifyToken)
	a.route("GET /accounts", "account", "", a.listAccounts)
	a.route("GET /accounts/{account}", "account", "", a.getAccount)
	a.route("GET /accounts/{account}/audit_logs", "audit record", "", a.listAudit)

	const tunnels = "/accounts/{account}/cfd_tunnel"
	a.route("GET "+tunnels, "tunnel", "", a.listTunnels)
	a.route("POST "+tunnels, "tunnel", "tunnel.create", a.createTunnel)
	a.route("GET "+tunnels+"/{id}", "tunnel", "", a.getTunnel)
	a.route("DELETE "+tunnels+"/{id}", "tunnel", "tunnel.delete", a.deleteTunnel)
	// A token is a secret: who asked for it is worth a record though nothing changes.
	a.route("GET "+tunnels+"/{id}/token", "tunnel", "tunnel.token", a.getTunnelToken)
	a.route("GET "+tunnels+"/{id}/configurations", "tunnel", "", a.getConfiguration)
	a.route("PUT "+tunnels+"/{id}/configurations", "tunnel", "tunnel.configure", a.putConfiguration)

	const serviceTokens = "/accounts/{account}/access/service_tokens"
	a.route("GET "+serviceTokens, "service token", "", a.listServiceTokens)
	a.route("POST "+serviceTokens, "service token", "service_token.create", a.createServiceToken)
	a.route("GET "+serviceTokens+"/{id}", "service token", "", a.getServiceToken)
	a.route("PUT "+serviceTokens+"/{id}", "service token", "service_token.update", a.updateServiceToken)
	a.route("DELETE "+serviceTokens+"/{id}", "service token", "service_token.delete", a.deleteServiceToken)

	const apps = "/accounts/{account}/access/apps"
	a.route("GET "+apps, "application", "", a.listApplications)
	a.route("POST "+apps, "application", "application.create", a.createApplication)
	a.route("GET "+apps+"/{id}", "application", "", a.getApplication)
	a.route("PUT "+apps+"/{id}", "application", "application.update", a.updateApplication)
	a.route("DELETE "+apps+"/{id}", "application", "application.delete", a.deleteApplication)
	a.route("GET "+apps+"/{id}/policies", "application", "", a.listPolicies)
	a.route("POST "+apps+"/{id}/policies", "application", "policy.create", a.createPolicy)
	a.route("GET "+apps+"/{id}/policies/{policy}", "policy", "", a.getPolicy)
	a.route("PUT "+apps+"/{id}/policies/{policy}", "policy", "policy.update", a.updatePolicy)
	a.route("DELETE "+apps+"/{id}/policies/{policy}", "policy", "policy.delete", a.deletePolicy)

	const configs = "/accounts/{account}/hyperdrive/configs"
	a.route("GET "+configs, "database", "", a.listDatabases)
	a.route("POST "+configs, "database", "database.create", a.createDatabase)
	a.route("GET "+configs+"/{id}", "database", "", a.getDatabase)
	a.route("PUT "+configs+"/{id}", "database", "database.update", a.putDatabase)
	a.route("PATCH "+configs+"/{id}", "database", "database.update", a.patchDatabase)
	a.route("DELETE "+configs+"/{id}", "database", "database.delete", a.deleteDatabase)
	a.route("GET "+configs+"/{id}/credentials", "database", "", a.listCredentials)
	a.route("POST "+configs+"/{id}/credentials", "database", "credential.create", a.createCredential)
	a.route("DELETE "+configs+"/{id}/credentials/{credential}", "credential", "credential.delete", a.deleteCredential)
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

func (a *API) verifyToken(_ context.Context, c *call) (any, error) {
	return v4.TokenStatus{ID: c.token.ID, Status: "active"}, nil
}

func (a *API) account(c *call) v4.Account {
	account := v4.Account{ID: c.account}
	if known, ok := c.snapshot.Account(c.account); ok {
		account.Name = known.Name
	}
	return account
}

func (a *API) listAccounts(_ context.Context, c *call) (any, error) {
	return paginate(c.URL.Query(), []v4.Account{a.account(c)}, func(account v4.Account) v4.Account { return account })
}

func (a *API) getAccount(_ context.Context, c *call) (any, error) { return a.account(c), nil }
