package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// completeTimeout bounds what a shell waits for names: a person has just pressed the tab key.
const completeTimeout = 2 * time.Second

// lister names everything of one kind that the server has.
type lister func(context.Context, *apiclient.Client) ([]string, error)

// namesOf makes a lister of a call of the API's client.
func namesOf[T any](list func(*apiclient.Client, context.Context, string) ([]T, error), name func(T) string) lister {
	return func(ctx context.Context, c *apiclient.Client) ([]string, error) {
		items, err := list(c, ctx, "")
		names := make([]string, len(items))
		for i, item := range items {
			names[i] = name(item)
		}
		return names, err
	}
}

// complete lets the shell complete every flag whose values are a few, and the names of what the server has.
func (a *app) complete(root *cobra.Command) {
	values := map[string][]string{
		"decision":       {"non_identity", "allow", "block", "bypass"},
		"direct-origins": {"public", "any", "none"},
		"log-format":     {"text", "json"},
		"log-level":      {"debug", "info", "warn", "error"},
		"metrics-listen": {"127.0.0.1:9090", "off"},
		"origin-scheme":  {"postgres", "postgresql", "mysql"},
		"outcome":        {"ok", "error", "allowed", "denied", "unauthenticated"},
		"proxy-protocol": {"v2"},
		"scope":          {"read", "edit", "admin"},
		"sslmode":        {"require", "verify-ca", "verify-full", "no-verify"},
	}
	tunnels := namesOf((*apiclient.Client).Tunnels, func(t v4.Tunnel) string { return t.Name })
	databases := namesOf((*apiclient.Client).Databases, func(d v4.Database) string { return d.Name })
	tokens := namesOf((*apiclient.Client).ServiceTokens, func(t v4.ServiceToken) string { return t.Name })
	certificates := namesOf((*apiclient.Client).Certificates, func(c v4.Certificate) string { return c.Name })
	applications := namesOf(func(c *apiclient.Client, ctx context.Context, _ string) ([]v4.Application, error) {
		return c.Applications(ctx, nil)
	},
		func(app v4.Application) string { return app.Domain })
	flagNames := map[string]lister{
		"app": applications, "require-access": applications, "tunnel": tunnels, "ca-certificate-id": certificates, "mtls-certificate-id": certificates,
		"include-token": tokens, "require-token": tokens, "exclude-token": tokens,
	}
	// What the first argument names, by the command's group.
	argument := map[string]lister{
		"sluice access app": applications, "sluice access token": tokens, "sluice cert": certificates, "sluice database": databases,
		"sluice database credential": databases, "sluice tunnel": tunnels,
		"sluice access policy": namesOf((*apiclient.Client).ReusablePolicies, func(p v4.Policy) string { return p.Name }),
		"sluice account":       namesOf((*apiclient.Client).Accounts, func(account v4.Account) string { return account.Name }),
		"sluice token":         namesOf((*apiclient.Client).APITokens, func(t v4.APIToken) string { return t.Name }),
	}
	each(root, func(cmd *cobra.Command) {
		cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			// It fails for a flag that the command has not, or has completed already: neither is so.
			if list := values[flag.Name]; list != nil {
				_ = cmd.RegisterFlagCompletionFunc(flag.Name, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
			} else if list := flagNames[flag.Name]; list != nil {
				_ = cmd.RegisterFlagCompletionFunc(flag.Name, a.completeNames(list, -1))
			}
		})
		list := argument[parentPath(cmd)]
		if _, arguments, _ := strings.Cut(cmd.Use, " "); list != nil && !strings.HasPrefix(cmd.Use, "create NAME") && arguments != "" && arguments[0] != '-' {
			cmd.ValidArgsFunction = a.completeNames(list, 0)
		}
	})
}

// each calls visit with cmd and every command below it.
func each(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, child := range cmd.Commands() {
		each(child, visit)
	}
}

func parentPath(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return cmd.Parent().CommandPath()
	}
	return ""
}

// completeNames answers a shell with names of the server: for the argument at place, or for a flag when place is -1. A server that
// does not answer has none; a shell has nowhere to show an error.
func (a *app) completeNames(list lister, place int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if place >= 0 && len(args) != place {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		var matching []string
		cmd.SetContext(ctx)
		_ = a.setFromEnvironment(cmd)
		_ = a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			names, err := list(ctx, c)
			for _, name := range names {
				if strings.HasPrefix(name, begun) {
					matching = append(matching, name)
				}
			}
			return err
		})(cmd, args)
		return matching, cobra.ShellCompDirectiveNoFileComp
	}
}
