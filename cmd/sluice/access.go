package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) accessCommand() *cobra.Command {
	token := groupCommand("token", "Make service tokens: the client id and secret that a machine proves itself with",
		"  sluice access token create app",
		a.accessTokenCreateCommand(), a.accessTokenListCommand(), a.accessTokenGetCommand(), a.accessTokenUpdateCommand(),
		a.accessTokenRotateCommand(), a.accessTokenRefreshCommand(), a.accessTokenDeleteCommand(),
		a.accessTokenEnableCommand("enable", true), a.accessTokenEnableCommand("disable", false))
	application := groupCommand("app", "Make applications: hostnames that policies guard",
		"  sluice access app create --hostname db.internal.example",
		a.accessAppCreateCommand(), a.accessAppListCommand(), a.accessAppGetCommand(), a.accessAppUpdateCommand(), a.accessAppDeleteCommand())
	policy := groupCommand("policy", "Make policies, of one application or for several to share: who reaches its hostname",
		"  sluice access policy create --app db.internal.example --decision non_identity --include-token app",
		a.accessPolicyCreateCommand(), a.accessPolicyListCommand(), a.accessPolicyUpdateCommand(), a.accessPolicyAttachCommand(),
		a.accessPolicyShareCommand(), a.accessPolicyDeleteCommand())
	return a.clientCommand(groupCommand("access", "Say who reaches which hostname",
		`  sluice access token create app
  sluice access app create --hostname db.internal.example
  sluice access policy create --app db.internal.example --decision non_identity --include-token app`,
		token, application, policy, a.accessTestCommand()))
}

func (a *app) accessTokenCreateCommand() *cobra.Command {
	var duration string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a service token and show its client secret, once",
		Example: `  sluice access token create app
  sluice access token create app --duration 8760h
  sluice access token create app --json | jq -r .client_secret > app.secret`,
		Args: exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			token, err := c.CreateServiceToken(ctx, v4.ServiceTokenCreate{Name: args[0], Duration: duration})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(token)
			}
			fmt.Fprintf(a.out, "Service token %s made. The client secret is shown this once.\n\n", token.Name)
			return a.printFields([][2]string{
				{"id", token.ID}, {"client id", token.ClientID}, {"client secret", token.ClientSecret}, {"expires", expiry(token)},
			})
		}),
	}
	cmd.Flags().StringVar(&duration, "duration", "forever", `how long the token is valid, such as 8760h, or "forever"`)
	return cmd
}

func expiry(token v4.ServiceToken) string {
	if token.ExpiresAt == nil {
		return "never"
	}
	return when(*token.ExpiresAt)
}

func (a *app) accessTokenListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List service tokens",
		Example: "  sluice access token list\n  sluice access token list --json",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			tokens, err := c.ServiceTokens(ctx, "")
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(tokens)
			}
			var rows [][]string
			for _, t := range tokens {
				state, seen := "enabled", "never"
				switch {
				case !t.Enabled:
					state = "disabled"
				case t.ExpiresAt != nil && t.ExpiresAt.Before(time.Now()):
					state = "expired"
				}
				if t.LastSeenAt != nil {
					seen = when(*t.LastSeenAt)
				}
				rows = append(rows, []string{t.Name, t.ID, t.ClientID, state, expiry(t), seen})
			}
			return a.printTable([]string{"NAME", "ID", "CLIENT ID", "STATE", "EXPIRES", "LAST SEEN"}, rows)
		}),
	}
}

func (a *app) accessTokenDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME|ID",
		Short:   "Revoke a service token for good",
		Example: "  sluice access token delete app",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			token, err := findServiceToken(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := c.DeleteServiceToken(ctx, token.ID); err != nil {
				return err
			}
			return a.printDeleted("Service token", token.Name, token.ID)
		}),
	}
}

func (a *app) accessTokenEnableCommand(verb string, enabled bool) *cobra.Command {
	short := "Let a disabled service token be used again"
	if !enabled {
		short = "Refuse a service token everywhere until it is enabled again"
	}
	return &cobra.Command{
		Use:     verb + " NAME|ID",
		Short:   short,
		Example: "  sluice access token " + verb + " app",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			token, err := findServiceToken(ctx, c, args[0])
			if err != nil {
				return err
			}
			token, err = c.UpdateServiceToken(ctx, token.ID, v4.ServiceTokenUpdate{Enabled: &enabled})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(token)
			}
			_, err = fmt.Fprintf(a.out, "Service token %s %sd.\n", printable(token.Name), verb)
			return err
		}),
	}
}

// joined shows a list in one cell.
func joined(items []string) string { return strings.Join(items, ", ") }
