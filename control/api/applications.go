package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *API) application(c *call) (*access.Application, error) {
	c.target = c.PathValue("id")
	application, ok := c.snapshot.ApplicationByID(c.target)
	if !ok || application.AccountID != c.account {
		return nil, control.ErrNotFound
	}
	return application, nil
}

func showApplication(app *access.Application) v4.Application {
	shown := v4.Application{
		ID: app.ID, Name: app.Name, Domain: app.Hostname, Type: "self_hosted", AUD: app.ID,
		Policies: make([]v4.Policy, 0, len(app.Policies)), CreatedAt: app.CreatedAt, UpdatedAt: app.UpdatedAt,
	}
	for i := range app.Policies {
		shown.Policies = append(shown.Policies, showPolicy(app, i))
	}
	return shown
}

func showPolicy(app *access.Application, i int) v4.Policy {
	policy := app.Policies[i]
	return v4.Policy{
		ID: policy.ID, Name: policy.Name, Decision: string(policy.Decision), Precedence: i + 1,
		Include: orEmpty(policy.Include), Require: orEmpty(policy.Require), Exclude: orEmpty(policy.Exclude),
	}
}

// orEmpty makes JSON's [] of a nil slice.
func orEmpty(rules []access.Rule) []access.Rule {
	if rules == nil {
		return []access.Rule{}
	}
	return rules
}

func decodePolicy(body v4.PolicyWrite) access.Policy {
	return access.Policy{
		ID: body.ID, Name: body.Name, Decision: access.PolicyDecision(body.Decision),
		Include: body.Include, Require: body.Require, Exclude: body.Exclude,
	}
}

func (a *API) listApplications(_ context.Context, c *call) (any, error) {
	query := c.URL.Query()
	apps := named(query.Get("name"), c.snapshot.Applications(c.account), func(app *access.Application) string { return app.Name })
	apps = named(query.Get("domain"), apps, func(app *access.Application) string { return app.Hostname })
	return paginate(query, apps, showApplication)
}

func (a *API) decodeApplication(c *call) (v4.ApplicationWrite, error) {
	var body v4.ApplicationWrite
	if err := c.decode(&body); err != nil {
		return body, err
	}
	if body.Type != "" && body.Type != "self_hosted" {
		return body, invalid("type", `must be "self_hosted"`)
	}
	return body, nil
}

func (a *API) createApplication(ctx context.Context, c *call) (any, error) {
	body, err := a.decodeApplication(c)
	if err != nil {
		return nil, err
	}
	c.target = body.Domain
	app := &access.Application{AccountID: c.account, Name: body.Name, Hostname: body.Domain}
	if body.Policies != nil {
		for _, policy := range *body.Policies {
			// A new application has no policy that an id could mean.
			policy.ID = ""
			app.Policies = append(app.Policies, decodePolicy(policy))
		}
	}
	created, err := a.control.CreateApplication(ctx, app)
	if err != nil {
		return nil, err
	}
	c.target = created.ID
	return showApplication(created), nil
}

func (a *API) getApplication(_ context.Context, c *call) (any, error) {
	app, err := a.application(c)
	if err != nil {
		return nil, err
	}
	return showApplication(app), nil
}

func (a *API) updateApplication(ctx context.Context, c *call) (any, error) {
	app, err := a.application(c)
	if err != nil {
		return nil, err
	}
	body, err := a.decodeApplication(c)
	if err != nil {
		return nil, err
	}
	updated, err := a.control.UpdateApplication(ctx, c.account, app.ID, func(app *access.Application) error {
		app.Name, app.Hostname = body.Name, body.Domain
		if body.Policies == nil {
			return nil
		}
		policies := make([]access.Policy, 0, len(*body.Policies))
		for i, policy := range *body.Policies {
			if policy.ID != "" && policyIndex(app, policy.ID) < 0 {
				return invalid(fmt.Sprintf("policies[%d].id", i), "the application has no policy with this id")
			}
			policies = append(policies, decodePolicy(policy))
		}
		app.Policies = policies
		return nil
	})
	if err != nil {
		return nil, err
	}
	return showApplication(updated), nil
}

func (a *API) deleteApplication(ctx context.Context, c *call) (any, error) {
	app, err := a.application(c)
	if err != nil {
		return nil, err
	}
	if err := a.control.DeleteApplication(ctx, c.account, app.ID); err != nil {
		return nil, err
	}
	return v4.Deleted{ID: app.ID}, nil
}

func policyIndex(app *access.Application, id string) int {
	return slices.IndexFunc(app.Policies, func(p access.Policy) bool { return p.ID == id })
}

func (a *API) listPolicies(_ context.Context, c *call) (any, error) {
	app, err := a.application(c)
	if err != nil {
		return nil, err
	}
	return paginate(c.URL.Query(), showApplication(app).Policies, func(p v4.Policy) v4.Policy { return p })
}

// policy finds the application and the place in it of the policy that the path names.
func (a *API) policy(c *call) (*access.Application, int, error) {
	id := c.PathValue("policy")
	app, err := a.application(c)
	c.target = id
	if err != nil {
		return nil, 0, err
	}
	i := policyIndex(app, id)
	if i < 0 {
		return nil, 0, control.ErrNotFound
	}
	return app, i, nil
}

func (a *API) getPolicy(_ context.Context, c *call) (any, error) {
	app, i, err := a.policy(c)
	if err != nil {
		return nil, err
	}
	return showPolicy(app, i), nil
}

// place inserts a policy at a precedence, from 1; last when that is 0 or past the end.
func place(policies []access.Policy, policy access.Policy, precedence int) ([]access.Policy, error) {
	if precedence < 0 {
		return nil, invalid("precedence", "must be 1 or more, or absent for the last place")
	}
	if precedence == 0 || precedence > len(policies) {
		return append(slices.Clone(policies), policy), nil
	}
	return slices.Insert(slices.Clone(policies), precedence-1, policy), nil
}

func (a *API) createPolicy(ctx context.Context, c *call) (any, error) {
	app, err := a.application(c)
	if err != nil {
		return nil, err
	}
	var body v4.PolicyWrite
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	body.ID = ""
	had := map[string]bool{}
	updated, err := a.control.UpdateApplication(ctx, c.account, app.ID, func(app *access.Application) (err error) {
		clear(had)
		for _, policy := range app.Policies {
			had[policy.ID] = true
		}
		app.Policies, err = place(app.Policies, decodePolicy(body), body.Precedence)
		return err
	})
	if err != nil {
		return nil, inItem(err, "policies")
	}
	i := slices.IndexFunc(updated.Policies, func(p access.Policy) bool { return !had[p.ID] })
	if i < 0 {
		return nil, fmt.Errorf("application %s: the new policy got no id of its own", app.ID)
	}
	c.target = updated.Policies[i].ID
	return showPolicy(updated, i), nil
}

func (a *API) updatePolicy(ctx context.Context, c *call) (any, error) {
	app, i, err := a.policy(c)
	if err != nil {
		return nil, err
	}
	id := app.Policies[i].ID
	var body v4.PolicyWrite
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	body.ID = id
	updated, err := a.control.UpdateApplication(ctx, c.account, app.ID, func(app *access.Application) (err error) {
		i := policyIndex(app, id)
		if i < 0 {
			return fail(http.StatusNotFound, codeNotFound, "no such policy")
		}
		precedence := body.Precedence
		if precedence == 0 {
			precedence = i + 1
		}
		app.Policies, err = place(slices.Delete(slices.Clone(app.Policies), i, i+1), decodePolicy(body), precedence)
		return err
	})
	if err != nil {
		return nil, inItem(err, "policies")
	}
	return showPolicy(updated, policyIndex(updated, id)), nil
}

func (a *API) deletePolicy(ctx context.Context, c *call) (any, error) {
	app, i, err := a.policy(c)
	if err != nil {
		return nil, err
	}
	id := app.Policies[i].ID
	_, err = a.control.UpdateApplication(ctx, c.account, app.ID, func(app *access.Application) error {
		i := policyIndex(app, id)
		if i < 0 {
			return fail(http.StatusNotFound, codeNotFound, "no such policy")
		}
		app.Policies = slices.Delete(slices.Clone(app.Policies), i, i+1)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return v4.Deleted{ID: id}, nil
}
