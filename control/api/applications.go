package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

func showApplication(snapshot *control.Snapshot, app *access.Application) v4.Application {
	shown := v4.Application{
		ID: app.ID, Name: app.Name, Domain: app.Hostname, Type: "self_hosted", AUD: app.ID,
		Policies: make([]v4.Policy, 0, len(app.Policies)), CreatedAt: app.CreatedAt, UpdatedAt: app.UpdatedAt,
	}
	for i := range app.Policies {
		shown.Policies = append(shown.Policies, showPolicy(snapshot, app, i))
	}
	return shown
}

func (a *API) listApplications(_ context.Context, c *call) (any, error) {
	query := c.URL.Query()
	apps := named(query.Get("name"), c.snapshot.Applications(c.account), func(app *access.Application) string { return app.Name })
	apps = named(query.Get("domain"), apps, func(app *access.Application) string { return app.Hostname })
	return paginate(query, apps, func(app *access.Application) v4.Application { return showApplication(c.snapshot, app) })
}

// decodeApplication reads the body of an application. Whatever names a hostname besides the domain must name the same: a hostname that
// was passed over would be one that its owner thinks guarded.
func (a *API) decodeApplication(c *call) (v4.ApplicationWrite, error) {
	var body v4.ApplicationWrite
	if err := c.decode(&body); err != nil {
		return body, err
	}
	var faults access.Faults
	if body.Type != "" && body.Type != "self_hosted" {
		faults.Addf("type", `must be "self_hosted"`)
	}
	for i, destination := range body.Destinations {
		at := faults.In(fmt.Sprintf("destinations[%d]", i))
		if destination.Type != "" && destination.Type != "public" {
			at.Addf("type", `must be "public"`)
			continue
		}
		if body.Domain == "" {
			body.Domain = destination.URI
		}
		if destination.URI != body.Domain {
			at.Addf("uri", "must be the domain: an application guards one hostname, with a leading *. every name below")
		}
	}
	for i, domain := range body.SelfHostedDomains {
		if body.Domain == "" {
			body.Domain = domain
		}
		if domain != body.Domain {
			faults.Addf(fmt.Sprintf("self_hosted_domains[%d]", i), "must be the domain: an application guards one hostname, with a leading *. every name below")
		}
	}
	return body, faults.Err()
}

// decodePolicies makes an application's policies of a body, in their order. had are those that it has.
func decodePolicies(bodies []v4.PolicyWrite, had []access.Policy) ([]access.Policy, error) {
	bodies = slices.Clone(bodies)
	if !slices.ContainsFunc(bodies, func(body v4.PolicyWrite) bool { return body.Precedence == 0 }) {
		slices.SortStableFunc(bodies, func(a, b v4.PolicyWrite) int { return cmp.Compare(a.Precedence, b.Precedence) })
	}
	policies := make([]access.Policy, 0, len(bodies))
	var wrong control.ValidationError
	for i, body := range bodies {
		own := slices.IndexFunc(had, func(p access.Policy) bool { return p.ID == body.ID })
		policy, err := decodePolicy(body)
		var invalid *control.ValidationError
		switch {
		case errors.As(err, &invalid):
			for _, fault := range invalid.Faults {
				wrong.Faults = append(wrong.Faults, control.Fault{Field: fmt.Sprintf("policies[%d].%s", i, fault.Field), Message: fault.Message})
			}
		case isLink(body) && own >= 0:
			policy = had[own]
		case isLink(body), own >= 0 && had[own].Reusable:
			// What else is said of a reusable policy is what it was when the client read it.
			policy = access.Policy{ID: body.ID, Reusable: true}
		case body.ID != "" && own < 0:
			wrong.Faults = append(wrong.Faults, control.Fault{Field: fmt.Sprintf("policies[%d].id", i), Message: "is that of no policy of this application; leave it out for a new one"})
		}
		policies = append(policies, policy)
	}
	if len(wrong.Faults) > 0 {
		return nil, &wrong
	}
	return policies, nil
}

func (a *API) createApplication(ctx context.Context, c *call) (any, error) {
	body, err := a.decodeApplication(c)
	if err != nil {
		return nil, err
	}
	c.target = body.Domain
	app := &access.Application{AccountID: c.account, Name: body.Name, Hostname: body.Domain}
	if body.Policies != nil {
		if app.Policies, err = decodePolicies(*body.Policies, nil); err != nil {
			return nil, err
		}
	}
	created, err := a.control.CreateApplication(ctx, app)
	if err != nil {
		return nil, err
	}
	c.target = created.ID
	return showApplication(a.control.Snapshot(), created), nil
}

func (a *API) getApplication(_ context.Context, c *call) (any, error) {
	app, err := a.application(c)
	if err != nil {
		return nil, err
	}
	return showApplication(c.snapshot, app), nil
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
	updated, err := a.control.UpdateApplication(ctx, c.account, app.ID, func(app *access.Application) (err error) {
		app.Name, app.Hostname = body.Name, body.Domain
		if body.Policies != nil {
			app.Policies, err = decodePolicies(*body.Policies, app.Policies)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return showApplication(a.control.Snapshot(), updated), nil
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
