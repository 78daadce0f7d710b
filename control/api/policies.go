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

// reusable finds the reusable policy that the path names.
func (a *API) reusable(c *call) (*access.ReusablePolicy, error) {
	c.target = c.PathValue("id")
	policy, ok := c.snapshot.Policy(c.target)
	if !ok || policy.AccountID != c.account {
		return nil, control.ErrNotFound
	}
	return policy, nil
}

func showRules(p *access.Policy) v4.Policy {
	return v4.Policy{
		ID: p.ID, Name: p.Name, Decision: string(p.Decision),
		Include: orEmpty(p.Include), Require: orEmpty(p.Require), Exclude: orEmpty(p.Exclude),
	}
}

func showReusable(p *access.ReusablePolicy) v4.Policy {
	shown := showRules(&p.Policy)
	count := len(p.Applications)
	shown.Reusable, shown.AppCount, shown.CreatedAt, shown.UpdatedAt = true, &count, &p.CreatedAt, &p.UpdatedAt
	return shown
}

// showPolicy is the policy at a place of an application, a reusable one with what it says.
func showPolicy(snapshot *control.Snapshot, app *access.Application, i int) v4.Policy {
	p := &app.Policies[i]
	shown := showRules(p)
	if p.Reusable {
		if shared, ok := snapshot.Policy(p.ID); ok {
			shown = showReusable(shared)
		}
		shown.Reusable = true
	}
	shown.Precedence = i + 1
	return shown
}

// orEmpty makes JSON's [] of a nil slice.
func orEmpty(rules []access.Rule) []access.Rule {
	if rules == nil {
		return []access.Rule{}
	}
	return rules
}

// decodePolicy takes over what a body says of a policy. It refuses conditions that nobody here checks: without them the policy would
// admit more than was asked for.
func decodePolicy(body v4.PolicyWrite) (access.Policy, error) {
	var faults access.Faults
	for _, condition := range []struct {
		field string
		asked bool
	}{
		{"approval_required", body.ApprovalRequired}, {"isolation_required", body.IsolationRequired},
		{"purpose_justification_required", body.PurposeJustificationRequired},
	} {
		if condition.asked {
			faults.Addf(condition.field, "must be false: service tokens cannot do this")
		}
	}
	return access.Policy{
		ID: body.ID, Name: body.Name, Decision: access.PolicyDecision(body.Decision),
		Include: body.Include, Require: body.Require, Exclude: body.Exclude,
	}, faults.Err()
}

// isLink reports whether a body only names a policy that there is.
func isLink(body v4.PolicyWrite) bool {
	return body.ID != "" && body.Decision == "" && len(body.Include)+len(body.Require)+len(body.Exclude) == 0
}

func (a *API) listReusablePolicies(_ context.Context, c *call) (any, error) {
	query := c.URL.Query()
	return paginate(query, named(query.Get("name"), c.snapshot.Policies(c.account), func(p *access.ReusablePolicy) string { return p.Name }), showReusable)
}

func (a *API) createReusablePolicy(ctx context.Context, c *call) (any, error) {
	var body v4.PolicyWrite
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	c.target = body.Name
	policy, err := decodePolicy(body)
	if err != nil {
		return nil, err
	}
	created, err := a.control.CreatePolicy(ctx, c.account, policy)
	if err != nil {
		return nil, err
	}
	c.target = created.ID
	return showReusable(created), nil
}

func (a *API) getReusablePolicy(_ context.Context, c *call) (any, error) {
	policy, err := a.reusable(c)
	if err != nil {
		return nil, err
	}
	return showReusable(policy), nil
}

func (a *API) updateReusablePolicy(ctx context.Context, c *call) (any, error) {
	old, err := a.reusable(c)
	if err != nil {
		return nil, err
	}
	var body v4.PolicyWrite
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	policy, err := decodePolicy(body)
	if err != nil {
		return nil, err
	}
	updated, err := a.control.UpdatePolicy(ctx, c.account, old.ID, func(p *access.Policy) error {
		*p = policy
		return nil
	})
	if err != nil {
		return nil, err
	}
	return showReusable(updated), nil
}

func (a *API) deleteReusablePolicy(ctx context.Context, c *call) (any, error) {
	policy, err := a.reusable(c)
	if err != nil {
		return nil, err
	}
	if err := a.control.DeletePolicy(ctx, c.account, policy.ID); err != nil {
		return nil, err
	}
	return v4.Deleted{ID: policy.ID}, nil
}

func policyIndex(app *access.Application, id string) int {
	return slices.IndexFunc(app.Policies, func(p access.Policy) bool { return p.ID == id })
}

func (a *API) listPolicies(_ context.Context, c *call) (any, error) {
	app, err := a.application(c)
	if err != nil {
		return nil, err
	}
	return paginate(c.URL.Query(), showApplication(c.snapshot, app).Policies, func(p v4.Policy) v4.Policy { return p })
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
	return showPolicy(c.snapshot, app, i), nil
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

// createPolicy adds a policy of its own to an application, or a reusable one that the body only names.
func (a *API) createPolicy(ctx context.Context, c *call) (any, error) {
	app, err := a.application(c)
	if err != nil {
		return nil, err
	}
	var body v4.PolicyWrite
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	policy, err := decodePolicy(body)
	if err != nil {
		return nil, err
	}
	policy.ID = ""
	if isLink(body) {
		policy = access.Policy{ID: body.ID, Reusable: true}
	}
	had := map[string]bool{}
	updated, err := a.control.UpdateApplication(ctx, c.account, app.ID, func(app *access.Application) (err error) {
		clear(had)
		for _, policy := range app.Policies {
			had[policy.ID] = true
		}
		if had[policy.ID] {
			return fmt.Errorf("policy of this application: %w", control.ErrExists)
		}
		app.Policies, err = place(app.Policies, policy, body.Precedence)
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
	return showPolicy(a.control.Snapshot(), updated, i), nil
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
	policy, err := decodePolicy(body)
	if err != nil {
		return nil, err
	}
	policy.ID = id
	updated, err := a.control.UpdateApplication(ctx, c.account, app.ID, func(app *access.Application) (err error) {
		i := policyIndex(app, id)
		switch {
		case i < 0:
			return fail(http.StatusNotFound, codeNotFound, "no such policy")
		case app.Policies[i].Reusable && !isLink(v4.PolicyWrite{ID: id, Decision: body.Decision, Include: body.Include, Require: body.Require, Exclude: body.Exclude}):
			return invalid("id", "is that of a reusable policy, which other applications may share: change it at /access/policies/"+id)
		case app.Policies[i].Reusable:
			policy = app.Policies[i] // another place alone
		}
		precedence := body.Precedence
		if precedence == 0 {
			precedence = i + 1
		}
		app.Policies, err = place(slices.Delete(slices.Clone(app.Policies), i, i+1), policy, precedence)
		return err
	})
	if err != nil {
		return nil, inItem(err, "policies")
	}
	return showPolicy(a.control.Snapshot(), updated, policyIndex(updated, id)), nil
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

func (a *API) makePolicyReusable(ctx context.Context, c *call) (any, error) {
	app, i, err := a.policy(c)
	if err != nil {
		return nil, err
	}
	made, err := a.control.MakePolicyReusable(ctx, c.account, app.ID, app.Policies[i].ID)
	if err != nil {
		return nil, err
	}
	return showReusable(made), nil
}
