package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) accessTestCommand() *cobra.Command {
	var (
		body  v4.AccessTest
		check bool
	)
	cmd := &cobra.Command{
		Use:   "test --hostname HOSTNAME [--client-id ID]",
		Short: "Say whether a client would be admitted to a hostname now, and why",
		Long: `Say whether a client would be admitted to a hostname now: which policy decides, by which rule, and why those before it
did not. It asks the code that relays decide with. Without --check-secret the right client secret is assumed.
The exit code is 1 when the client would not be admitted.`,
		Example: `  sluice access test --hostname db.internal.example --client-id 0123456789abcdef0123456789abcdef.access
  sluice access test --hostname db.internal.example --client-id ID --check-secret --client-secret-file app.secret
  sluice access test --hostname db.internal.example --ip 10.1.2.3`,
		Args: exactArgs(),
	}
	flags := cmd.Flags()
	flags.StringVar(&body.Hostname, "hostname", "", "the hostname that is to be reached")
	flags.StringVar(&body.ClientID, "client-id", "", "client id of a service token; absent for a client that presents none")
	flags.StringVar(&body.IP, "ip", "", "address that the client comes from")
	flags.StringVar(&body.CommonName, "common-name", "", "common name of a valid certificate that the client shows")
	flags.BoolVar(&check, "check-secret", false, "check a client secret too, which is asked for")
	secret := newSecret(cmd, "client-secret", "SLUICE_CLIENT_SECRET", "client secret")
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) (err error) {
		if body.Hostname == "" {
			return usagef("--hostname is missing: the name that is to be reached")
		}
		if check || secret.file != "" {
			if body.ClientID == "" {
				return usagef("--client-id is missing: a client secret belongs to one")
			}
			if body.ClientSecret, err = secret.read(a); err != nil {
				return err
			}
		}
		result, err := c.TestAccess(ctx, body)
		if err != nil {
			return err
		}
		if a.json {
			err = a.printJSON(result)
		} else {
			err = a.printAccessTest(result)
		}
		if err == nil && result.Outcome != "allowed" {
			return fmt.Errorf("not admitted: %s", result.Reason)
		}
		return err
	})
	return cmd
}

func (a *app) printAccessTest(r v4.AccessTestResult) error {
	application, token, leads := r.ApplicationName, r.ServiceTokenName, "to no tunnel"
	if r.ApplicationID != "" {
		application = fmt.Sprintf("%s (%s)", r.ApplicationName, r.ApplicationDomain)
	}
	if token != "" && r.SecretAssumed {
		token += ", assuming that the client secret is right"
	}
	if r.TunnelID != "" {
		leads = fmt.Sprintf("through tunnel %s to %s", r.TunnelName, r.Service)
		if r.Connectors == 0 {
			leads += "; no connector is connected"
		}
	}
	decided, rule := "", r.Rule
	for i, step := range r.Steps {
		if step.PolicyID == r.PolicyID {
			decided = fmt.Sprintf("%s (%s), number %d of those looked at", step.Name, step.Decision, i+1)
		}
	}
	if err := a.printFields([][2]string{
		{"outcome", r.Outcome}, {"reason", r.Reason}, {"service token", token}, {"application", application},
		{"policy", decided}, {"rule", rule}, {"hostname leads", leads},
	}); err != nil || len(r.Steps) == 0 {
		return err
	}
	fmt.Fprintln(a.out)
	var rows [][]string
	for i, step := range r.Steps {
		matched := "no"
		if step.Matched {
			matched = "yes"
		}
		rows = append(rows, []string{strconv.Itoa(i + 1), step.Name, step.Decision, matched, step.Why})
	}
	return a.printTable([]string{"#", "POLICY", "DECISION", "MATCHES", "WHY"}, rows)
}
