package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) databaseTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test NAME|ID",
		Short: "Make a test connection to a database's origin, as the proxy makes them",
		Long: `Make a test connection to a database's origin, as the proxy makes them: through its tunnel and access policy, with
its TLS settings, user and password. An empty query is run on it. What is wrong is said with a code, from 2008 on, and
how to mend it.`,
		Example: "  sluice database test app",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			database, err := findDatabase(ctx, c, args[0])
			if err != nil {
				return err
			}
			result, err := c.TestDatabase(ctx, database.ID)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(result)
			}
			fmt.Fprintf(a.out, "The proxy reaches %s: login and empty query took %d ms.\n", printable(database.Name), result.Milliseconds)
			return nil
		}),
	}
}

func (a *app) databasePurgeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "purge-cache NAME|ID",
		Short:   "Make caches forget what they have of a database",
		Example: "  sluice database purge-cache app",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			database, err := findDatabase(ctx, c, args[0])
			if err != nil {
				return err
			}
			result, err := c.PurgeCache(ctx, database.ID)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(result)
			}
			fmt.Fprintf(a.out, "The cache of %s is purged; its epoch is %d.\n", printable(database.Name), result.CacheEpoch)
			return nil
		}),
	}
}

func (a *app) databaseConnectionStringCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "connection-string NAME|ID",
		Short: "Print what a driver connects to a database with, without the password",
		Long: `Print what a driver connects to a database with. The password was shown when the credential was made, and is stored
nowhere: psql asks for it, or takes it from PGPASSWORD or a password file.`,
		Example: "  sluice database connection-string app\n  sluice database connection-string app --credential blue",
		Args:    exactArgs("NAME"),
	}
	cmd.Flags().StringVar(&name, "credential", "", "client credential to connect as; needed where there are several")
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
		database, err := findDatabase(ctx, c, args[0])
		if err != nil {
			return err
		}
		credential, err := chooseCredential(ctx, c, database, name)
		if err != nil {
			return err
		}
		credential.ConnectionString = a.withCA(credential.ConnectionString)
		if a.json {
			return a.printJSON(credential)
		}
		fmt.Fprintln(a.out, credential.ConnectionString)
		return nil
	})
	return cmd
}

// chooseCredential returns a database's credential of a name, or the only one.
func chooseCredential(ctx context.Context, c *apiclient.Client, database v4.Database, name string) (v4.Credential, error) {
	credentials, err := c.Credentials(ctx, database.ID)
	if err != nil {
		return v4.Credential{}, err
	}
	var names []string
	for _, credential := range credentials {
		if credential.Name == name || credential.ID == name || name == "" && len(credentials) == 1 {
			return credential, nil
		}
		names = append(names, credential.Name)
	}
	switch {
	case len(names) == 0:
		return v4.Credential{}, fmt.Errorf("%s has no credential; make one with 'sluice database credential create %s NAME'", database.Name, database.Name)
	case name == "":
		return v4.Credential{}, usagef("%s has several credentials: pass --credential %s", database.Name, strings.Join(names, ", or "))
	}
	return v4.Credential{}, fmt.Errorf("%s has no credential with the name or id %q; it has %s", database.Name, name, strings.Join(names, ", "))
}

// connectionsText says how many origin connections are open, and of which generation.
func connectionsText(connections []v4.Connections) string {
	if len(connections) == 0 {
		return "none open"
	}
	var parts []string
	for _, c := range connections {
		text := fmt.Sprintf("%d of generation %d", c.Connections, c.Generation)
		if !c.Current {
			text += " (old, end when next idle)"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}
