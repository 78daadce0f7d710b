package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// ruleFlags collect the rules of one kind: include, require or exclude.
type ruleFlags struct {
	tokens, ips, commonNames        []string
	anyToken, everyone, certificate bool
}

func (r *ruleFlags) register(flags *pflag.FlagSet, kind, effect string) {
	flags.StringArrayVar(&r.tokens, kind+"-token", nil, effect+" this service token, by name or id (repeatable)")
	flags.StringArrayVar(&r.ips, kind+"-ip", nil, effect+" clients from this address or range, such as 10.0.0.0/8 (repeatable)")
	flags.StringArrayVar(&r.commonNames, kind+"-common-name", nil, effect+" clients with a valid certificate of this common name (repeatable)")
	flags.BoolVar(&r.anyToken, kind+"-any-token", false, effect+" any valid service token")
	flags.BoolVar(&r.certificate, kind+"-certificate", false, effect+" any valid client certificate")
	flags.BoolVar(&r.everyone, kind+"-everyone", false, effect+" everyone")
}

// rules turns flags into rules, looking up the ids of tokens.
func (r *ruleFlags) rules(ctx context.Context, c *apiclient.Client) ([]access.Rule, error) {
	var rules []access.Rule
	for _, name := range r.tokens {
		token, err := findServiceToken(ctx, c, name)
		if err != nil {
			return nil, err
		}
		rules = append(rules, access.Rule{Selector: access.SelectServiceToken, Value: token.ID})
	}
	for _, ip := range r.ips {
		rules = append(rules, access.Rule{Selector: access.SelectIP, Value: ip})
	}
	for _, name := range r.commonNames {
		rules = append(rules, access.Rule{Selector: access.SelectCommonName, Value: name})
	}
	if r.anyToken {
		rules = append(rules, access.Rule{Selector: access.SelectAnyServiceToken})
	}
	if r.certificate {
		rules = append(rules, access.Rule{Selector: access.SelectCertificate})
	}
	if r.everyone {
		rules = append(rules, access.Rule{Selector: access.SelectEveryone})
	}
	return rules, nil
}

func (a *app) accessPolicyCreateCommand() *cobra.Command {
	var (
		application, decision, name string
		precedence                  int
		include, require, exclude   ruleFlags
	)
	cmd := &cobra.Command{
		Use:   "create --app APP --decision DECISION --include-...",
		Short: "Add a policy to an application",
		Long: `Add a policy to an application. A policy matches who meets one include rule, all require rules and no
exclude rule. Of an application's policies, bypass and non_identity come first, then allow and block, each
in their order; the first that matches decides, and where none does nobody is admitted.`,
		Example: `  sluice access policy create --app db.internal.example --decision non_identity --include-token app
  sluice access policy create --app db.internal.example --decision non_identity --include-any-token --require-ip 10.0.0.0/8`,
		Args: exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			if application == "" {
				return usagef("--app is missing: the application's hostname, name or id")
			}
			app, err := findApplication(ctx, c, application)
			if err != nil {
				return err
			}
			body := v4.PolicyWrite{Name: name, Decision: decision, Precedence: precedence}
			for _, part := range []struct {
				flags *ruleFlags
				rules *[]access.Rule
			}{{&include, &body.Include}, {&require, &body.Require}, {&exclude, &body.Exclude}} {
				if *part.rules, err = part.flags.rules(ctx, c); err != nil {
					return err
				}
			}
			if len(body.Include) == 0 {
				return usagef("a policy without an include rule matches nobody: add --include-token NAME or another --include flag")
			}
			if body.Name == "" {
				body.Name = fmt.Sprintf("%s %d", decision, len(app.Policies)+1)
			}
			policy, err := c.CreatePolicy(ctx, app.ID, body)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(policy)
			}
			_, err = fmt.Fprintf(a.out, "Policy %s made, id %s: %s for %s.\n", printable(policy.Name), policy.ID, policy.Decision, app.Domain)
			return err
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&application, "app", "", "the application, by hostname, name or id")
	flags.StringVar(&decision, "decision", "non_identity", "non_identity (service tokens), allow, block or bypass")
	flags.StringVar(&name, "name", "", "name of the policy")
	flags.IntVar(&precedence, "precedence", 0, "place among the application's policies, from 1; 0 for the last")
	include.register(flags, "include", "match")
	require.register(flags, "require", "match only")
	exclude.register(flags, "exclude", "do not match")
	return cmd
}

func (a *app) accessPolicyListCommand() *cobra.Command {
	var application string
	cmd := &cobra.Command{
		Use:     "list --app APP",
		Short:   "List the policies of an application",
		Example: "  sluice access policy list --app db.internal.example",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			if application == "" {
				return usagef("--app is missing: the application's hostname, name or id")
			}
			app, err := findApplication(ctx, c, application)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(app.Policies)
			}
			var rows [][]string
			for _, p := range app.Policies {
				rows = append(rows, []string{strconv.Itoa(p.Precedence), p.Name, p.ID, p.Decision,
					describeRules(p.Include), describeRules(p.Require), describeRules(p.Exclude)})
			}
			return a.printTable([]string{"#", "NAME", "ID", "DECISION", "INCLUDE", "REQUIRE", "EXCLUDE"}, rows)
		}),
	}
	cmd.Flags().StringVar(&application, "app", "", "the application, by hostname, name or id")
	return cmd
}

func describeRules(rules []access.Rule) string {
	var texts []string
	for _, rule := range rules {
		text := string(rule.Selector)
		if rule.Value != "" {
			text += "=" + rule.Value
		}
		texts = append(texts, text)
	}
	return joined(texts)
}

func (a *app) accessPolicyDeleteCommand() *cobra.Command {
	var application string
	cmd := &cobra.Command{
		Use:     "delete NAME|ID --app APP",
		Short:   "Take a policy from an application; whom it admitted is cut off",
		Example: "  sluice access policy delete 'non_identity 1' --app db.internal.example",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			if application == "" {
				return usagef("--app is missing: the application's hostname, name or id")
			}
			app, err := findApplication(ctx, c, application)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(app.Policies, func(p v4.Policy) bool { return p.ID == args[0] || p.Name == args[0] })
			if i < 0 {
				return fmt.Errorf("%s has no policy with the name or id %q; 'sluice access policy list --app %s' shows those that it has", app.Domain, args[0], app.Domain)
			}
			if err := c.DeletePolicy(ctx, app.ID, app.Policies[i].ID); err != nil {
				return err
			}
			return a.printDeleted("Policy", app.Policies[i].Name, app.Policies[i].ID)
		}),
	}
	cmd.Flags().StringVar(&application, "app", "", "the application, by hostname, name or id")
	return cmd
}
