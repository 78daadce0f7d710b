package api

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// catchAll is the last ingress rule of every tunnel: what no hostname leads to is answered by nobody. Cloudflare's clients send it
// and expect it back; the store does not hold it.
const catchAll = "http_status:404"

// httpStatus is what Cloudflare's clients write into it.
var httpStatus = regexp.MustCompile(`^http_status:[1-9][0-9]{2}$`)

// The states of a tunnel.
const (
	statusHealthy  = "healthy"
	statusDown     = "down"
	statusInactive = "inactive"
)

func (a *API) tunnel(c *call) (*control.Tunnel, error) {
	c.target = c.PathValue("id")
	tunnel, ok := c.snapshot.Tunnel(c.target)
	if !ok || tunnel.AccountID != c.account {
		return nil, control.ErrNotFound
	}
	return tunnel, nil
}

// showTunnels returns what shows a tunnel as it is now.
func (a *API) showTunnels(c *call) func(*control.Tunnel) v4.Tunnel {
	presence := a.control.Presence()
	return func(t *control.Tunnel) v4.Tunnel {
		shown := v4.Tunnel{
			ID: t.ID, AccountTag: t.AccountID, Name: t.Name, CreatedAt: t.CreatedAt, TunType: "cfd_tunnel", ConfigSrc: "cloudflare",
			RemoteConfig: true, Hostnames: len(t.Ingress), TokenVersion: max(t.SecretVersion, 1),
			Status: statusInactive, Connections: []v4.TunnelConnection{},
		}
		for _, connection := range presence.Connections(t.ID) {
			shown.Connections = append(shown.Connections, showConnection(connection))
			if shown.ConnsActiveAt == nil || connection.Since.Before(*shown.ConnsActiveAt) {
				shown.ConnsActiveAt = &connection.Since
			}
		}
		seen := c.snapshot.LastSeen(t.ID)
		switch {
		case shown.ConnsActiveAt != nil:
			shown.Status = statusHealthy
		case !seen.IsZero():
			shown.Status, shown.ConnsInactiveAt = statusDown, &seen
		}
		return shown
	}
}

func (a *API) listTunnels(_ context.Context, c *call) (any, error) {
	query, show := c.URL.Query(), a.showTunnels(c)
	if query.Get("is_deleted") == "true" {
		// Deleted tunnels are gone.
		return paginate(query, nil, show)
	}
	tunnels := named(query.Get("name"), c.snapshot.Tunnels(c.account), func(t *control.Tunnel) string { return t.Name })
	tunnels = named(query.Get("uuid"), tunnels, func(t *control.Tunnel) string { return t.ID })
	if status := query.Get("status"); status != "" {
		tunnels = named(status, tunnels, func(t *control.Tunnel) string { return show(t).Status })
	}
	return paginate(query, tunnels, show)
}

// named keeps the items with this name, or all of them when name is empty.
func named[T any](name string, items []T, nameOf func(T) string) []T {
	if name == "" {
		return items
	}
	var kept []T
	for _, item := range items {
		if nameOf(item) == name {
			kept = append(kept, item)
		}
	}
	return kept
}

func (a *API) createTunnel(ctx context.Context, c *call) (any, error) {
	var body v4.TunnelCreate
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	c.target = body.Name
	if body.ConfigSrc != "" && body.ConfigSrc != "cloudflare" {
		return nil, invalid("config_src", `must be "cloudflare": ingress is configured here, not beside the connector`)
	}
	tunnel, err := a.control.CreateTunnelWith(ctx, c.account, body.Name, control.Secret(body.TunnelSecret))
	if err != nil {
		return nil, err
	}
	c.target = tunnel.ID
	return a.showTunnels(c)(tunnel), nil
}

func (a *API) getTunnel(_ context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	return a.showTunnels(c)(tunnel), nil
}

func (a *API) updateTunnel(ctx context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	var body v4.TunnelUpdate
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	rename := func(t *control.Tunnel) error {
		if body.Name != nil {
			t.Name = *body.Name
		}
		return nil
	}
	if body.TunnelSecret == nil {
		tunnel, err = a.control.UpdateTunnel(ctx, c.account, tunnel.ID, rename)
	} else {
		tunnel, err = a.control.RotateTunnelSecret(ctx, c.account, tunnel.ID, control.Secret(*body.TunnelSecret), rename)
	}
	if err != nil {
		return nil, err
	}
	return a.showTunnels(c)(tunnel), nil
}

func (a *API) deleteTunnel(ctx context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	if err := a.control.DeleteTunnel(ctx, c.account, tunnel.ID); err != nil {
		return nil, err
	}
	return a.showTunnels(c)(tunnel), nil
}

func (a *API) getTunnelToken(_ context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	return a.tokenOf(tunnel)
}

func (a *API) rotateTunnelToken(ctx context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	rotated, err := a.control.RotateTunnelSecret(ctx, c.account, tunnel.ID, "", func(*control.Tunnel) error { return nil })
	if err != nil {
		return nil, err
	}
	return a.tokenOf(rotated)
}

// tokenOf makes the text that a tunnel's connectors are started with.
func (a *API) tokenOf(tunnel *control.Tunnel) (any, error) {
	secret, err := a.control.TunnelSecret(tunnel)
	if err != nil {
		return nil, fmt.Errorf("tunnel %s: open its secret: %w", tunnel.ID, err)
	}
	token, err := a.tunnelToken(tunnel, secret)
	if err != nil {
		return nil, fmt.Errorf("tunnel %s: make its token: %w", tunnel.ID, err)
	}
	return token, nil
}

func showConfiguration(t *control.Tunnel) v4.TunnelConfiguration {
	rules := make([]v4.IngressRule, 0, len(t.Ingress)+1)
	for _, rule := range t.Ingress {
		rules = append(rules, v4.IngressRule{Hostname: rule.Hostname, Service: rule.Service, OriginRequest: showOriginRequest(rule)})
	}
	rules = append(rules, v4.IngressRule{Service: catchAll})
	return v4.TunnelConfiguration{
		AccountID: t.AccountID, TunnelID: t.ID, Version: t.ConfigVersion,
		Config: v4.TunnelIngress{Ingress: rules}, Source: "cloudflare",
	}
}

// showOriginRequest is nil for a rule that has the defaults.
func showOriginRequest(in control.Ingress) *v4.OriginRequest {
	options := v4.OriginRequest{ConnectTimeout: in.ConnectTimeout, TCPKeepAlive: in.KeepAlive, ProxyProtocol: in.ProxyProtocol}
	if len(in.Audiences) > 0 {
		options.Access = &v4.OriginAccess{Required: true, AudTag: in.Audiences}
	}
	if options == (v4.OriginRequest{}) {
		return nil
	}
	return &options
}

func (a *API) getConfiguration(_ context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	return showConfiguration(tunnel), nil
}

func (a *API) putConfiguration(ctx context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	var body v4.TunnelConfigurationUpdate
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	ingress, err := decodeIngress(body.Config)
	if err != nil {
		return nil, err
	}
	updated, err := a.control.UpdateTunnel(ctx, c.account, tunnel.ID, func(t *control.Tunnel) error {
		if body.Version != nil && *body.Version != t.ConfigVersion {
			return fail(http.StatusConflict, codeConflict,
				fmt.Sprintf("the configuration has version %d, not %d; read it again and retry", t.ConfigVersion, *body.Version))
		}
		t.Ingress = ingress
		return nil
	})
	if err != nil {
		return nil, err
	}
	return showConfiguration(updated), nil
}

// decodeIngress takes the catch-all rule off the end, and leaves what hostnames and services must be like to control.
func decodeIngress(config *v4.TunnelIngress) ([]control.Ingress, error) {
	if config == nil {
		return nil, invalid("config", "is required")
	}
	rules := config.Ingress
	ingress := make([]control.Ingress, 0, len(rules))
	var faults access.Faults
	for i, rule := range rules {
		at := faults.In(fmt.Sprintf("ingress[%d]", i))
		if rule.Path != "" {
			at.Addf("path", "must be empty: a database has no paths")
		}
		switch {
		case rule.Hostname != "":
			ingress = append(ingress, decodeRule(rule, at))
		case i < len(rules)-1:
			at.Addf("hostname", "is missing: only the last rule, the catch-all, has none")
		case !httpStatus.MatchString(rule.Service):
			at.Addf("service", "must be http_status:404 in the catch-all, the last rule, which has no hostname: what no rule names is not reached")
		}
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return slices.Clip(ingress), nil
}

// decodeRule takes a rule with a hostname.
func decodeRule(rule v4.IngressRule, at *access.Faults) control.Ingress {
	in := control.Ingress{Hostname: rule.Hostname, Service: rule.Service}
	options := rule.OriginRequest
	if options == nil {
		return in
	}
	in.ConnectTimeout, in.KeepAlive, in.ProxyProtocol = options.ConnectTimeout, options.TCPKeepAlive, options.ProxyProtocol
	if options.Access != nil && options.Access.Required {
		if len(options.Access.AudTag) == 0 {
			at.Addf("originRequest.access.audTag", "is required: the ids of the applications that may admit a stream")
		}
		in.Audiences = options.Access.AudTag
	}
	return in
}
