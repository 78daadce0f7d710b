package api

import (
	"context"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

const (
	// forever is the duration of a service token that does not expire.
	forever = "forever"
	// defaultDuration is what Cloudflare gives a service token: "The default is 1 year in hours (8760h)".
	defaultDuration = 8760 * time.Hour
)

func (a *API) serviceToken(c *call) (*access.ServiceToken, error) {
	c.target = c.PathValue("id")
	token, ok := c.snapshot.ServiceTokenByID(c.target)
	if !ok || token.AccountID != c.account {
		return nil, control.ErrNotFound
	}
	return token, nil
}

func (a *API) showServiceToken(c *call) func(*access.ServiceToken) v4.ServiceToken {
	return func(t *access.ServiceToken) v4.ServiceToken {
		shown := v4.ServiceToken{
			ID: t.ID, Name: t.Name, ClientID: t.ClientID, Duration: forever, Enabled: !t.Disabled,
			CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
			ExpiresAt: timeOrNull(t.ExpiresAt), LastSeenAt: timeOrNull(c.snapshot.LastSeen(t.ID)),
		}
		if t.Duration != 0 {
			shown.Duration = t.Duration.String()
		}
		return shown
	}
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (a *API) listServiceTokens(_ context.Context, c *call) (any, error) {
	query := c.URL.Query()
	tokens := named(query.Get("name"), c.snapshot.ServiceTokens(c.account), func(t *access.ServiceToken) string { return t.Name })
	return paginate(query, tokens, a.showServiceToken(c))
}

func (a *API) createServiceToken(ctx context.Context, c *call) (any, error) {
	var body v4.ServiceTokenCreate
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	c.target = body.Name
	duration, err := decodeDuration(body.Duration)
	if err != nil {
		return nil, err
	}
	token, secret, err := a.control.CreateServiceToken(ctx, c.account, body.Name, duration)
	if err != nil {
		return nil, err
	}
	c.target = token.ID
	shown := a.showServiceToken(c)(token)
	shown.ClientSecret = secret.Reveal()
	return shown, nil
}

// decodeDuration reads a service token's duration; 0 is forever.
func decodeDuration(text string) (time.Duration, error) {
	switch text {
	case "":
		return defaultDuration, nil
	case forever:
		return 0, nil
	}
	duration, err := time.ParseDuration(text)
	if err != nil || duration <= 0 {
		return 0, invalid("duration", `must be a duration such as 8760h, or "forever"`)
	}
	return duration, nil
}

func (a *API) getServiceToken(_ context.Context, c *call) (any, error) {
	token, err := a.serviceToken(c)
	if err != nil {
		return nil, err
	}
	return a.showServiceToken(c)(token), nil
}

func (a *API) updateServiceToken(ctx context.Context, c *call) (any, error) {
	token, err := a.serviceToken(c)
	if err != nil {
		return nil, err
	}
	var body v4.ServiceTokenUpdate
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	updated, err := a.control.UpdateServiceToken(ctx, c.account, token.ID, func(t *access.ServiceToken) error {
		if body.Name != nil {
			t.Name = *body.Name
		}
		if body.Enabled != nil {
			t.Disabled = !*body.Enabled
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.showServiceToken(c)(updated), nil
}

func (a *API) deleteServiceToken(ctx context.Context, c *call) (any, error) {
	token, err := a.serviceToken(c)
	if err != nil {
		return nil, err
	}
	if err := a.control.DeleteServiceToken(ctx, c.account, token.ID); err != nil {
		return nil, err
	}
	return a.showServiceToken(c)(token), nil
}
