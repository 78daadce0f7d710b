package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// printServiceToken shows a service token, and its client secret where it has one.
func (a *app) printServiceToken(token v4.ServiceToken) error {
	if a.json {
		return a.printJSON(token)
	}
	state, seen, previous := "enabled", "never", ""
	if !token.Enabled {
		state = "disabled"
	}
	if token.LastSeenAt != nil {
		seen = when(*token.LastSeenAt)
	}
	if token.PreviousClientSecretExpiresAt != nil {
		previous = "accepted until " + when(*token.PreviousClientSecretExpiresAt)
	}
	return a.printFields([][2]string{
		{"name", token.Name}, {"id", token.ID}, {"client id", token.ClientID}, {"client secret", token.ClientSecret},
		{"previous secret", previous}, {"state", state}, {"duration", token.Duration}, {"expires", expiry(token)}, {"last seen", seen},
	})
}

func (a *app) accessTokenGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "get NAME|ID",
		Short:   "Show a service token, without its secret",
		Example: "  sluice access token get app",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			token, err := findServiceToken(ctx, c, args[0])
			if err != nil {
				return err
			}
			return a.printServiceToken(token)
		}),
	}
}

func (a *app) accessTokenUpdateCommand() *cobra.Command {
	var name, duration string
	cmd := &cobra.Command{
		Use:     "update NAME|ID",
		Short:   "Rename a service token, or change how long it is valid",
		Example: "  sluice access token update app --name orders --duration 8760h",
		Args:    exactArgs("NAME"),
	}
	cmd.Flags().StringVar(&name, "name", "", "another name")
	cmd.Flags().StringVar(&duration, "duration", "", `how long the token is valid from now on, such as 8760h, or "forever"`)
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
		var body v4.ServiceTokenUpdate
		if cmd.Flags().Changed("name") {
			body.Name = &name
		}
		if cmd.Flags().Changed("duration") {
			body.Duration = &duration
		}
		if body == (v4.ServiceTokenUpdate{}) {
			return usagef("nothing to change: pass --name or --duration")
		}
		token, err := findServiceToken(ctx, c, args[0])
		if err != nil {
			return err
		}
		if token, err = c.UpdateServiceToken(ctx, token.ID, body); err != nil {
			return err
		}
		return a.printServiceToken(token)
	})
	return cmd
}

func (a *app) accessTokenRotateCommand() *cobra.Command {
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "rotate NAME|ID",
		Short: "Give a service token another client secret and show it, once",
		Long: `Give a service token another client secret and show it, once. The old one is refused at once, or, with --grace, after
that while: time to give the new one to whoever has the old. Two secrets are live at most.`,
		Example: `  sluice access token rotate app --grace 24h
  sluice access token rotate app --json | jq -r .client_secret > app.secret`,
		Args: exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			if grace < 0 {
				return usagef("--grace must not be negative")
			}
			token, err := findServiceToken(ctx, c, args[0])
			if err != nil {
				return err
			}
			var body v4.ServiceTokenRotate
			if grace > 0 {
				until := time.Now().Add(grace).UTC()
				body.PreviousClientSecretExpiresAt = &until
			}
			if token, err = c.RotateServiceToken(ctx, token.ID, body); err != nil {
				return err
			}
			if !a.json {
				fmt.Fprintf(a.out, "Service token %s has another client secret, which is shown this once.\n\n", printable(token.Name))
			}
			return a.printServiceToken(token)
		}),
	}
	cmd.Flags().DurationVar(&grace, "grace", 0, "how long the old secret is accepted too, such as 24h; 0 to end it now")
	return cmd
}

func (a *app) accessTokenRefreshCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "refresh NAME|ID",
		Short:   "Let a service token live for its duration from now on",
		Example: "  sluice access token refresh app",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			token, err := findServiceToken(ctx, c, args[0])
			if err != nil {
				return err
			}
			if token, err = c.RefreshServiceToken(ctx, token.ID); err != nil {
				return err
			}
			return a.printServiceToken(token)
		}),
	}
}
