package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// catchAll is the last ingress rule of every tunnel: what no hostname leads to is answered by nobody. Cloudflare's clients send it
// and expect it back; the store does not hold it.
const catchAll = "http_status:404"

func (a *API) tunnel(c *call) (*control.Tunnel, error) {
	c.target = c.PathValue("id")
	tunnel, ok := c.snapshot.Tunnel(c.target)
	if !ok || tunnel.AccountID != c.account {
		return nil, control.ErrNotFound
	}
	return tunnel, nil
}

func showTunnel(t *control.Tunnel) v4.Tunnel {
	return v4.Tunnel{
		ID: t.ID, AccountTag: t.AccountID, Name: t.Name, CreatedAt: t.CreatedAt,
		TunType: "cfd_tunnel", ConfigSrc: "cloudflare", RemoteConfig: true, Hostnames: len(t.Ingress),
	}
}

func (a *API) listTunnels(_ context.Context, c *call) (any, error) {
	query := c.URL.Query()
	if query.Get("is_deleted") == "true" {
		// Deleted tunnels are gone.
		return paginate(query, nil, showTunnel)
	}
	return paginate(query, named(query.Get("name"), c.snapshot.Tunnels(c.account), func(t *control.Tunnel) string { return t.Name }), showTunnel)
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
	tunnel, err := a.control.CreateTunnel(ctx, c.account, body.Name)
	if err != nil {
		return nil, err
	}
	c.target = tunnel.ID
	return showTunnel(tunnel), nil
}

func (a *API) getTunnel(_ context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	return showTunnel(tunnel), nil
}

func (a *API) deleteTunnel(ctx context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	if err := a.control.DeleteTunnel(ctx, c.account, tunnel.ID); err != nil {
		return nil, err
	}
	return showTunnel(tunnel), nil
}

func (a *API) getTunnelToken(_ context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
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
		rules = append(rules, v4.IngressRule{Hostname: rule.Hostname, Service: rule.Service})
	}
	rules = append(rules, v4.IngressRule{Service: catchAll})
	return v4.TunnelConfiguration{
		AccountID: t.AccountID, TunnelID: t.ID, Version: t.ConfigVersion,
		Config: v4.TunnelIngress{Ingress: rules}, Source: "cloudflare",
	}
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
	if n := len(rules); n > 0 && rules[n-1].Hostname == "" && strings.HasPrefix(rules[n-1].Service, "http_status:") {
		rules = rules[:n-1]
	}
	ingress := make([]control.Ingress, 0, len(rules))
	var wrong control.ValidationError
	for i, rule := range rules {
		if rule.Path != "" {
			wrong.Faults = append(wrong.Faults, control.Fault{Field: fmt.Sprintf("ingress[%d].path", i), Message: "must be empty: a database has no paths"})
		}
		ingress = append(ingress, control.Ingress{Hostname: rule.Hostname, Service: rule.Service})
	}
	if len(wrong.Faults) > 0 {
		return nil, &wrong
	}
	return slices.Clip(ingress), nil
}
