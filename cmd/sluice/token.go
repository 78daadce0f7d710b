package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) tokenCommand() *cobra.Command {
	return a.clientCommand(groupCommand("token", "Make API tokens: what people and programs manage the server with",
		`  sluice token create ci --scope edit --expires 2160h
  sluice token list`,
		a.tokenCreateCommand(), a.tokenListCommand(), a.tokenDeleteCommand()))
}

func (a *app) tokenCreateCommand() *cobra.Command {
	var scope string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an API token and show it, once",
		Long: `Make an API token and show it, once. It is for this account alone. Its scope is read (see everything but
secrets), edit (change everything but API tokens) or admin (everything).`,
		Example: `  sluice token create dashboard --scope read
  sluice token create ci --scope edit --expires 2160h
  sluice token create ci --scope edit --json | jq -r .value > ci.token`,
		Args: exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			body := v4.APITokenCreate{Name: args[0], Scope: scope}
			if expires < 0 {
				return usagef("--expires must not be negative")
			}
			if expires > 0 {
				at := time.Now().Add(expires).UTC().Truncate(time.Second)
				body.ExpiresOn = &at
			}
			token, err := c.CreateAPIToken(ctx, body)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(token)
			}
			fmt.Fprintf(a.out, "API token %s made. It is shown this once.\n\n", token.Name)
			return a.printFields([][2]string{
				{"id", token.ID}, {"token", token.Value}, {"scope", token.Scope}, {"expires", whenOr(token.ExpiresOn, "never")},
			})
		}),
	}
	cmd.Flags().StringVar(&scope, "scope", "read", "read, edit or admin")
	cmd.Flags().DurationVar(&expires, "expires", 0, "how long the token is valid, such as 2160h; 0 for ever")
	return cmd
}

// whenOr formats a time for people, or says what its absence means.
func whenOr(t *time.Time, absent string) string {
	if t == nil {
		return absent
	}
	return when(*t)
}

func (a *app) tokenListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List API tokens",
		Example: "  sluice token list\n  sluice token list --json",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			tokens, err := c.APITokens(ctx, "")
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(tokens)
			}
			var rows [][]string
			for _, t := range tokens {
				rows = append(rows, []string{t.Name, t.ID, t.Scope, t.Status, when(t.IssuedOn), whenOr(t.ExpiresOn, "never"), whenOr(t.LastUsedOn, "never")})
			}
			return a.printTable([]string{"NAME", "ID", "SCOPE", "STATE", "MADE", "EXPIRES", "LAST USED"}, rows)
		}),
	}
}

func (a *app) tokenDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME|ID",
		Short:   "Revoke an API token for good",
		Example: "  sluice token delete ci",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			token, err := find("API token", "token", args[0],
				func() ([]v4.APIToken, error) { return c.APITokens(ctx, args[0]) },
				func() (v4.APIToken, error) { return c.APIToken(ctx, args[0]) })
			if err != nil {
				return err
			}
			if err := c.DeleteAPIToken(ctx, token.ID); err != nil {
				return err
			}
			return a.printDeleted("API token", token.Name, token.ID)
		}),
	}
}

func (a *app) accountCommand() *cobra.Command {
	return a.clientCommand(groupCommand("account", "Make accounts, which see nothing of each other",
		`  sluice account create team-a
  sluice account list`,
		a.accountCreateCommand(), a.accountListCommand(), a.accountDeleteCommand()))
}

func (a *app) accountCreateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "create NAME",
		Short: "Make an account and show its first API token, once",
		Long: `Make an account and show its first API token, once. This is for admin tokens of the default account; what is in
the new account, only its own tokens show.`,
		Example: "  sluice account create team-a",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			made, err := c.CreateAccount(ctx, v4.AccountCreate{Name: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(made)
			}
			fmt.Fprintf(a.out, "Account %s made. Its first API token is shown this once.\n\n", made.Name)
			return a.printFields([][2]string{{"id", made.ID}, {"token", made.Token}})
		}),
	}
}

func (a *app) accountListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the accounts of the installation",
		Example: "  sluice account list",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			accounts, err := c.Accounts(ctx, "")
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(accounts)
			}
			var rows [][]string
			for _, account := range accounts {
				rows = append(rows, []string{account.Name, account.ID})
			}
			return a.printTable([]string{"NAME", "ID"}, rows)
		}),
	}
}

func (a *app) accountDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME|ID",
		Short:   "Delete an account that has nothing left, with its API tokens",
		Example: "  sluice account delete team-a",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			account, err := find("account", "account", args[0],
				func() ([]v4.Account, error) { return c.Accounts(ctx, args[0]) },
				func() (v4.Account, error) { return v4.Account{ID: args[0], Name: args[0]}, nil })
			if err != nil {
				return err
			}
			if err := c.DeleteAccount(ctx, account.ID); err != nil {
				return err
			}
			return a.printDeleted("Account", account.Name, account.ID)
		}),
	}
}
