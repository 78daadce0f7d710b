package api

import (
	"context"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *API) verifyToken(_ context.Context, c *call) (any, error) {
	return v4.TokenStatus{ID: c.token.ID, Status: "active", Scope: string(c.token.Scope), ExpiresOn: timeOrNull(c.token.ExpiresAt)}, nil
}

func (a *API) showAPIToken(c *call) func(*control.APIToken) v4.APIToken {
	return func(t *control.APIToken) v4.APIToken {
		shown := v4.APIToken{
			ID: t.ID, Name: t.Name, Scope: string(t.Scope), Status: "active", IssuedOn: t.CreatedAt,
			ExpiresOn: timeOrNull(t.ExpiresAt), LastUsedOn: timeOrNull(c.snapshot.LastSeen(t.ID)),
		}
		if t.Expired(time.Now()) {
			shown.Status = "expired"
		}
		return shown
	}
}

func (a *API) apiToken(c *call) (*control.APIToken, error) {
	c.target = c.PathValue("id")
	token, ok := c.snapshot.APITokenByID(c.target)
	if !ok || token.AccountID != c.account {
		return nil, control.ErrNotFound
	}
	return token, nil
}

func (a *API) listAPITokens(_ context.Context, c *call) (any, error) {
	query := c.URL.Query()
	tokens := named(query.Get("name"), c.snapshot.APITokens(c.account), func(t *control.APIToken) string { return t.Name })
	return paginate(query, tokens, a.showAPIToken(c))
}

func (a *API) getAPIToken(_ context.Context, c *call) (any, error) {
	token, err := a.apiToken(c)
	if err != nil {
		return nil, err
	}
	return a.showAPIToken(c)(token), nil
}

func (a *API) createAPIToken(ctx context.Context, c *call) (any, error) {
	var body v4.APITokenCreate
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	c.target = body.Name
	var expires time.Time
	if body.ExpiresOn != nil {
		expires = *body.ExpiresOn
	}
	token, secret, err := a.control.CreateAPIToken(ctx, c.account, body.Name, control.Scope(body.Scope), expires)
	if err != nil {
		return nil, renamed(err, "expires_at", "expires_on")
	}
	c.target = token.ID
	shown := a.showAPIToken(c)(token)
	shown.Value = secret.Reveal()
	return shown, nil
}

func (a *API) deleteAPIToken(ctx context.Context, c *call) (any, error) {
	token, err := a.apiToken(c)
	if err != nil {
		return nil, err
	}
	if err := a.control.DeleteAPIToken(ctx, c.account, token.ID); err != nil {
		return nil, err
	}
	return v4.Deleted{ID: token.ID}, nil
}
