package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) loginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Check an API token and keep it for the commands that follow",
		Long: `Check an API token and keep it, with the server's URL and CA certificate, in the context file
(sluice/context.json in XDG_CONFIG_HOME or ~/.config, readable by you alone). The token comes from
--api-token-file, SLUICE_API_TOKEN, or a terminal without echo.`,
		Example: `  sluice login --ca-file ./data/ca.pem
  sluice login --api-url https://sluice.example.com:8443 --ca-file ca.pem --api-token-file token`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.login(cmd.Context()) },
	}
	return a.clientCommand(cmd)
}

func (a *app) login(ctx context.Context) error {
	token, err := a.givenToken()
	if err != nil {
		return err
	}
	if token == "" {
		if a.readPassword == nil {
			return usagef("no API token: pass --api-token-file FILE (- for standard input) or set SLUICE_API_TOKEN")
		}
		ask := secret{flag: "api-token", variable: "SLUICE_API_TOKEN", title: "API token"}
		if token, err = ask.read(a); err != nil {
			return err
		}
	}
	target := savedContext{URL: a.client.url, Token: token, Account: a.client.account, CAFile: a.client.caFile}
	if target.URL == "" {
		target.URL = defaultAPIURL
	}
	client, err := newClient(target)
	if err != nil {
		return err
	}
	defer client.Close()
	var status v4.TokenStatus
	if err := client.Get(ctx, "/user/tokens/verify", &status); err != nil {
		return fmt.Errorf("log in to %s: %w", target.URL, err)
	}
	if target.Account, err = client.Account(ctx); err != nil {
		return fmt.Errorf("log in to %s: %w", target.URL, err)
	}
	var ca []byte
	if target.CAFile != "" {
		if ca, err = os.ReadFile(target.CAFile); err != nil {
			return fmt.Errorf("CA certificate: %w", err)
		}
	}
	name, err := a.saveContext(target, ca)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]string{"url": target.URL, "account": target.Account, "context_file": name})
	}
	fmt.Fprintf(a.out, "Logged in to %s, account %s. Kept in %s.\n", target.URL, target.Account, name)
	return nil
}
