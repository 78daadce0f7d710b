package api

import (
	"context"
	"fmt"
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
			CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt, ClientSecretVersion: max(t.SecretVersion, 1),
			ExpiresAt: timeOrNull(t.ExpiresAt), LastSeenAt: timeOrNull(c.snapshot.LastSeen(t.ID)),
		}
		if len(t.Secrets) > 1 && time.Now().Before(t.Secrets[1].ExpiresAt) {
			shown.PreviousClientSecretExpiresAt = &t.Secrets[1].ExpiresAt
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
	version := max(token.SecretVersion, 1)
	if body.ClientSecretVersion != nil && *body.ClientSecretVersion != version && *body.ClientSecretVersion != version+1 {
		return nil, invalid("client_secret_version", fmt.Sprintf("must be %d, or %d to rotate the secret", version, version+1))
	}
	updated, err := a.control.UpdateServiceToken(ctx, c.account, token.ID, func(t *access.ServiceToken) (err error) {
		if body.Name != nil {
			t.Name = *body.Name
		}
		if body.Enabled != nil {
			t.Disabled = !*body.Enabled
		}
		if body.Duration != nil {
			t.Duration, err = decodeDuration(*body.Duration)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if body.ClientSecretVersion != nil && *body.ClientSecretVersion > version {
		return a.rotated(ctx, c, token.ID, version, body.PreviousClientSecretExpiresAt)
	}
	return a.showServiceToken(c)(updated), nil
}

func (a *API) rotateServiceToken(ctx context.Context, c *call) (any, error) {
	token, err := a.serviceToken(c)
	if err != nil {
		return nil, err
	}
	var body v4.ServiceTokenRotate
	if c.ContentLength != 0 { // nothing needs to be said
		if err := c.decode(&body); err != nil {
			return nil, err
		}
	}
	return a.rotated(ctx, c, token.ID, 0, body.PreviousClientSecretExpiresAt)
}

// rotated gives a service token another secret, and shows it.
func (a *API) rotated(ctx context.Context, c *call, id string, from int, previous *time.Time) (any, error) {
	var grace time.Time
	if previous != nil {
		grace = *previous
	}
	token, secret, err := a.control.RotateServiceToken(ctx, c.account, id, from, grace)
	if err != nil {
		return nil, err
	}
	shown := a.showServiceToken(c)(token)
	shown.ClientSecret = secret.Reveal()
	return shown, nil
}

func (a *API) refreshServiceToken(ctx context.Context, c *call) (any, error) {
	token, err := a.serviceToken(c)
	if err != nil {
		return nil, err
	}
	refreshed, err := a.control.RefreshServiceToken(ctx, c.account, token.ID)
	if err != nil {
		return nil, err
	}
	return a.showServiceToken(c)(refreshed), nil
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
