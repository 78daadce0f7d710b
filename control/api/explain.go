package api

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// accountDirectory is what one account may know: of the others' tokens, applications and policies it says nothing.
type accountDirectory struct {
	snapshot *control.Snapshot
	account  string
}

func (d accountDirectory) ServiceToken(clientID string) (*access.ServiceToken, bool) {
	token, ok := d.snapshot.ServiceToken(clientID)
	return token, ok && token.AccountID == d.account
}

func (d accountDirectory) Application(hostname string) (*access.Application, bool) {
	app, ok := d.snapshot.Application(hostname)
	return app, ok && app.AccountID == d.account
}

func (d accountDirectory) Policy(id string) (*access.ReusablePolicy, bool) {
	policy, ok := d.snapshot.Policy(id)
	return policy, ok && policy.AccountID == d.account
}

// testAccess says what a relay would decide now, and why.
func (a *API) testAccess(_ context.Context, c *call) (any, error) {
	var body v4.AccessTest
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	hostname := strings.TrimSuffix(strings.ToLower(body.Hostname), ".")
	c.target = hostname
	request := access.Request{
		Hostname: hostname, ClientID: body.ClientID, ClientSecret: body.ClientSecret, CommonName: body.CommonName,
		Certificate: body.Certificate || body.CommonName != "", Time: time.Now(),
	}
	var faults access.Faults
	if fault := access.HostnameFault(hostname); fault != "" {
		faults.Addf("hostname", "%s", fault)
	} else if strings.HasPrefix(hostname, "*") {
		faults.Addf("hostname", "must be one name, without a wildcard")
	}
	if body.ClientSecret != "" && body.ClientID == "" {
		faults.Addf("client_id", "is required with a client secret")
	}
	if body.IP != "" {
		ip, err := netip.ParseAddr(body.IP)
		if err != nil {
			faults.Addf("ip", "must be an IP address")
		}
		request.Remote = ip.Unmap()
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	assumed := body.ClientSecret == ""
	explained := access.Explain(accountDirectory{c.snapshot, c.account}, request, assumed)
	shown := showExplanation(&explained)
	shown.SecretAssumed = assumed && body.ClientID != ""
	if token, ok := c.snapshot.ServiceTokenByID(shown.ServiceTokenID); ok {
		shown.ServiceTokenName = token.Name
	}
	if tunnel, ingress, ok := c.snapshot.TunnelByHostname(hostname); ok && tunnel.AccountID == c.account {
		shown.TunnelID, shown.TunnelName, shown.Service = tunnel.ID, tunnel.Name, ingress.Service
		shown.Connectors = len(connectors(a.control.Presence().Connections(tunnel.ID)))
	}
	return shown, nil
}

func showExplanation(e *access.Explanation) v4.AccessTestResult {
	shown := v4.AccessTestResult{
		Outcome: e.Decision.Outcome.String(), Reason: string(e.Decision.Reason), ServiceTokenID: e.Decision.TokenID,
		PolicyID: e.Decision.PolicyID, Rule: e.Decision.Rule, Steps: make([]v4.AccessTestStep, 0, len(e.Steps)),
	}
	if e.Application != nil {
		shown.ApplicationID, shown.ApplicationName, shown.ApplicationDomain = e.Application.ID, e.Application.Name, e.Application.Hostname
	}
	for _, step := range e.Steps {
		shown.Steps = append(shown.Steps, v4.AccessTestStep{
			PolicyID: step.PolicyID, Name: step.Name, Decision: string(step.Decision), Matched: step.Matched, Why: step.Why,
		})
	}
	return shown
}
