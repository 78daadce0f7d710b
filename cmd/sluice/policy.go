package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) accessPolicyCreateCommand() *cobra.Command {
	var flags policyFlags
	cmd := &cobra.Command{
		Use:   "create [--app APP] --decision DECISION --include-...",
		Short: "Add a policy to an application, or make one that several may share",
		Long: `Add a policy to an application or, without --app, make a reusable one that 'sluice access policy attach' adds to
several. A policy matches who meets one include rule, all require rules and no exclude rule. Of an
application's policies, bypass and non_identity come first, then allow and block, each in their order; the
first that matches decides, and where none does nobody is admitted.`,
		Example: `  sluice access policy create --app db.internal.example --decision non_identity --include-token app
  sluice access policy create --app db.internal.example --decision non_identity --include-any-token --require-ip 10.0.0.0/8
  sluice access policy create --name backups --decision non_identity --include-token backup`,
		Args: exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			if flags.application == "" && flags.name == "" {
				return usagef("--app is missing: the application's hostname, name or id; or --name, for a reusable policy")
			}
			var body v4.PolicyWrite
			var app v4.Application
			if flags.application != "" {
				var err error
				if app, err = findApplication(ctx, c, flags.application); err != nil {
					return err
				}
				body.Name = fmt.Sprintf("%s %d", flags.decision, len(app.Policies)+1)
			}
			if err := flags.apply(ctx, c, &body); err != nil {
				return err
			}
			if len(body.Include) == 0 {
				return usagef("a policy without an include rule matches nobody: add --include-token NAME or another --include flag")
			}
			if flags.application == "" {
				policy, err := c.CreateReusablePolicy(ctx, body)
				return a.printPolicyMade(policy, "several applications to share", err)
			}
			policy, err := c.CreatePolicy(ctx, app.ID, body)
			return a.printPolicyMade(policy, app.Domain, err)
		}),
	}
	flags.register(cmd.Flags(), "non_identity")
	return cmd
}

func (a *app) printPolicyMade(policy v4.Policy, whom string, err error) error {
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(policy)
	}
	_, err = fmt.Fprintf(a.out, "Policy %s made, id %s: %s for %s.\n", printable(policy.Name), policy.ID, policy.Decision, whom)
	return err
}

// printPolicies shows policies of an application, or reusable ones, which have no place.
func (a *app) printPolicies(policies []v4.Policy) error {
	var rows [][]string
	for _, p := range policies {
		place, shared := strconv.Itoa(p.Precedence), ""
		if p.Precedence == 0 {
			place = "-"
		}
		if p.AppCount != nil {
			shared = fmt.Sprintf("by %d", *p.AppCount)
		}
		rows = append(rows, []string{place, p.Name, p.ID, p.Decision, shared,
			describeRules(p.Include), describeRules(p.Require), describeRules(p.Exclude)})
	}
	return a.printTable([]string{"#", "NAME", "ID", "DECISION", "SHARED", "INCLUDE", "REQUIRE", "EXCLUDE"}, rows)
}

func (a *app) accessPolicyListCommand() *cobra.Command {
	var application string
	cmd := &cobra.Command{
		Use:     "list [--app APP]",
		Short:   "List the policies of an application, or the reusable ones",
		Example: "  sluice access policy list --app db.internal.example\n  sluice access policy list",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) (err error) {
			var policies []v4.Policy
			if application == "" {
				policies, err = c.ReusablePolicies(ctx, "")
			} else {
				var app v4.Application
				app, err = findApplication(ctx, c, application)
				policies = app.Policies
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(policies)
			}
			return a.printPolicies(policies)
		}),
	}
	cmd.Flags().StringVar(&application, "app", "", "the application, by hostname, name or id; absent for reusable policies")
	return cmd
}

// findPolicy returns a policy of an application, or a reusable one when application is empty, in which case app is empty too.
func findPolicy(ctx context.Context, c *apiclient.Client, application, name string) (app v4.Application, policy v4.Policy, err error) {
	if application == "" {
		policy, err = find("policy", "access policy", name,
			func() ([]v4.Policy, error) { return c.ReusablePolicies(ctx, name) },
			func() (v4.Policy, error) { return c.ReusablePolicy(ctx, name) })
		return app, policy, err
	}
	if app, err = findApplication(ctx, c, application); err != nil {
		return app, policy, err
	}
	i := slices.IndexFunc(app.Policies, func(p v4.Policy) bool { return p.ID == name || p.Name == name })
	if i < 0 {
		return app, policy, fmt.Errorf("%s has no policy with the name or id %q; 'sluice access policy list --app %s' shows those that it has", app.Domain, name, app.Domain)
	}
	return app, app.Policies[i], nil
}

func (a *app) accessPolicyUpdateCommand() *cobra.Command {
	var flags policyFlags
	cmd := &cobra.Command{
		Use:   "update NAME|ID [--app APP]",
		Short: "Change a policy; whom it no longer admits is cut off",
		Long: `Change a policy of an application or, without --app, a reusable one for every application that it is part of. What no flag
names stays; of the rules, a kind (include, require, exclude) that a flag names is replaced as a whole.`,
		Example: `  sluice access policy update 'non_identity 1' --app db.internal.example --require-ip 10.0.0.0/8
  sluice access policy update backups --include-token backup --include-token restore`,
		Args: exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			app, policy, err := findPolicy(ctx, c, flags.application, args[0])
			if err != nil {
				return err
			}
			body := v4.PolicyWrite{
				Name: policy.Name, Decision: policy.Decision, Include: policy.Include, Require: policy.Require, Exclude: policy.Exclude,
			}
			if err := flags.apply(ctx, c, &body); err != nil {
				return err
			}
			if flags.application == "" {
				policy, err = c.UpdateReusablePolicy(ctx, policy.ID, body)
			} else {
				policy, err = c.UpdatePolicy(ctx, app.ID, policy.ID, body)
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(policy)
			}
			return a.printPolicies([]v4.Policy{policy})
		}),
	}
	flags.register(cmd.Flags(), "")
	return cmd
}

func (a *app) accessPolicyAttachCommand() *cobra.Command {
	var application string
	var precedence int
	cmd := &cobra.Command{
		Use:     "attach NAME|ID --app APP",
		Short:   "Make a reusable policy part of an application",
		Example: "  sluice access policy attach backups --app db.internal.example",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			if application == "" {
				return usagef("--app is missing: the application's hostname, name or id")
			}
			_, policy, err := findPolicy(ctx, c, "", args[0])
			if err != nil {
				return err
			}
			app, err := findApplication(ctx, c, application)
			if err != nil {
				return err
			}
			policy, err = c.CreatePolicy(ctx, app.ID, v4.PolicyWrite{ID: policy.ID, Precedence: precedence})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(policy)
			}
			_, err = fmt.Fprintf(a.out, "Policy %s is part of %s, at place %d.\n", printable(policy.Name), app.Domain, policy.Precedence)
			return err
		}),
	}
	cmd.Flags().StringVar(&application, "app", "", "the application, by hostname, name or id")
	cmd.Flags().IntVar(&precedence, "precedence", 0, "place among the application's policies, from 1; 0 for the last")
	return cmd
}

func (a *app) accessPolicyShareCommand() *cobra.Command {
	var application string
	cmd := &cobra.Command{
		Use:     "share NAME|ID --app APP",
		Short:   "Make a policy of one application reusable by others",
		Example: "  sluice access policy share 'non_identity 1' --app db.internal.example",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			if application == "" {
				return usagef("--app is missing: the application's hostname, name or id")
			}
			app, policy, err := findPolicy(ctx, c, application, args[0])
			if err != nil {
				return err
			}
			if policy, err = c.SharePolicy(ctx, app.ID, policy.ID); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(policy)
			}
			_, err = fmt.Fprintf(a.out, "Policy %s can be attached to other applications now.\n", printable(policy.Name))
			return err
		}),
	}
	cmd.Flags().StringVar(&application, "app", "", "the application, by hostname, name or id")
	return cmd
}

func (a *app) accessPolicyDeleteCommand() *cobra.Command {
	var application string
	cmd := &cobra.Command{
		Use:   "delete NAME|ID [--app APP]",
		Short: "Take a policy from an application, or delete a reusable one; whom it admitted is cut off",
		Long: `Take a policy from an application or, without --app, delete a reusable one, which must be part of none. A reusable policy
that is taken from an application remains for the others.`,
		Example: "  sluice access policy delete 'non_identity 1' --app db.internal.example\n  sluice access policy delete backups",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			app, policy, err := findPolicy(ctx, c, application, args[0])
			if err != nil {
				return err
			}
			if application == "" {
				err = c.DeleteReusablePolicy(ctx, policy.ID)
			} else {
				err = c.DeletePolicy(ctx, app.ID, policy.ID)
			}
			if err != nil {
				return err
			}
			return a.printDeleted("Policy", policy.Name, policy.ID)
		}),
	}
	cmd.Flags().StringVar(&application, "app", "", "the application, by hostname, name or id; absent for a reusable policy")
	return cmd
}
