package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) databaseCommand() *cobra.Command {
	credential := groupCommand("credential", "Make and revoke what drivers log in to a database with",
		`  sluice database credential create app blue
  sluice database credential delete app app`,
		a.credentialCreateCommand(), a.credentialListCommand(), a.credentialDeleteCommand())
	return a.clientCommand(groupCommand("database", "Make databases: private origins that drivers reach through the proxy",
		`  sluice database create app --tunnel vpc-1 --origin tcp://10.0.0.5:5432 --origin-user app --database app
  sluice database list`,
		a.databaseCreateCommand(), a.databaseListCommand(), a.databaseGetCommand(), a.databaseUpdateCommand(),
		a.databaseDeleteCommand(), a.databaseTestCommand(), a.databaseCacheCommand(), a.databasePurgeCommand(),
		a.databaseConnectionStringCommand(), credential))
}

func (a *app) databaseListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List databases",
		Example: "  sluice database list\n  sluice database list --json",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			databases, err := c.Databases(ctx, "")
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(databases)
			}
			var rows [][]string
			for _, d := range databases {
				rows = append(rows, []string{d.Name, d.ID, originAddress(d.Origin), d.Origin.Database, d.Origin.User, when(d.ModifiedOn)})
			}
			return a.printTable([]string{"NAME", "ID", "ORIGIN", "DATABASE", "USER", "MODIFIED"}, rows)
		}),
	}
}

func originAddress(origin v4.Origin) string {
	if origin.Port == 0 {
		return origin.Host + " (tunnel)"
	}
	return net.JoinHostPort(origin.Host, strconv.Itoa(origin.Port))
}

func (a *app) databaseGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "get NAME|ID",
		Short:   "Show a database",
		Example: "  sluice database get app\n  sluice database get app --json",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			database, err := findDatabase(ctx, c, args[0])
			if err != nil {
				return err
			}
			connections, err := c.Connections(ctx, database.ID)
			if err != nil {
				return err
			}
			pools, err := c.Pools(ctx, database.ID)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					v4.Database
					Connections []v4.Connections `json:"connections"`
					Pools       []v4.Pool        `json:"pools"`
				}{database, connections, pools})
			}
			if err := a.printDatabase(database, [2]string{"connections", connectionsText(connections)}); err != nil {
				return err
			}
			return a.printPools(pools)
		}),
	}
}

func (a *app) printDatabase(d v4.Database, more ...[2]string) error {
	if a.json {
		return a.printJSON(d)
	}
	caching := fmt.Sprintf("%d s, and %d s while revalidating", d.Caching.MaxAge, d.Caching.StaleWhileRevalidate)
	if d.Caching.Disabled {
		caching = "off"
	}
	tls := d.MTLS.SSLMode
	if d.MTLS.CACertificate != "" {
		tls += ", own CA"
	}
	if d.MTLS.ServerName != "" {
		tls += ", made out to " + d.MTLS.ServerName
	}
	return a.printFields(append([][2]string{
		{"name", d.Name}, {"id", d.ID},
		{"origin", d.Origin.Scheme + " " + originAddress(d.Origin)},
		{"database", d.Origin.Database}, {"user", d.Origin.User},
		{"access client id", d.Origin.AccessClientID},
		{"sslmode", tls}, {"ca certificate id", d.MTLS.CACertificateID}, {"mtls certificate id", d.MTLS.MTLSCertificateID}, {"caching", caching},
		{"connection limit", strconv.Itoa(d.OriginConnectionLimit)}, {"pooling", poolingText(d.Pooling)},
		{"generation", strconv.FormatInt(d.Generation, 10)},
		{"created", when(d.CreatedOn)}, {"modified", when(d.ModifiedOn)},
	}, more...))
}

// warnNoVerify says what no-verify means, whenever somebody chooses or keeps it.
func (a *app) warnNoVerify(d v4.Database) {
	if d.MTLS.SSLMode == "no-verify" {
		fmt.Fprintf(a.err, "Warning: with sslmode no-verify whoever is between the proxy and the origin of %s can read and change everything, the password included. Use --ca-certificate.\n", printable(d.Name))
	}
}

func (a *app) databaseUpdateCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "update NAME|ID",
		Short: "Change settings of a database; connected drivers notice nothing",
		Long: `Change settings of a database. What no flag names stays as it is. New origin connections use the new settings,
old ones end when they are next idle, which 'sluice database get' shows, and connected drivers notice nothing. Before a
change of the connection is accepted, a test connection is made with it. The origin's password is changed with
--origin-password-file; or, when no flag is given, or --origin-user is, to SLUICE_ORIGIN_PASSWORD; or it is asked for
when there is nothing else to change.`,
		Example: `  sluice database update app                                  # asks for the origin's new password
  sluice database update app --origin-password-file password
  sluice database update app --origin-connection-limit 20
  sluice database update app --caching-disabled`,
		Args: exactArgs("NAME"),
	}
	flags := newDatabaseFlags(cmd)
	cmd.Flags().StringVar(&name, "name", "", "new name")
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
		body, err := a.changedDatabase(flags, name)
		if err != nil {
			return err
		}
		database, err := findDatabase(ctx, c, args[0])
		if err != nil {
			return err
		}
		if err := resolveCertificates(ctx, c, body.MTLS); err != nil {
			return err
		}
		body.Version = &database.Version
		if database, err = c.PatchDatabase(ctx, database.ID, body); err != nil {
			return err
		}
		a.warnNoVerify(database)
		return a.printDatabase(database)
	})
	return cmd
}

// changedDatabase makes the request of an update.
func (a *app) changedDatabase(flags *databaseFlags, name string) (v4.DatabaseWrite, error) {
	var service string // of a new database only
	if err := flags.useConnection(a, false, "", &service); err != nil {
		return v4.DatabaseWrite{}, err
	}
	body, err := flags.body()
	if err != nil {
		return body, err
	}
	if name != "" {
		body.Name = &name
	}
	if flags.accessClientID != "" || flags.accessClientSecret.given() {
		clientSecret, err := flags.accessClientSecret.read(a)
		if err != nil {
			return body, err
		}
		body.Origin.AccessClientSecret = &clientSecret
	}
	nothing := *body.Origin == (v4.OriginWrite{}) && body.Name == nil && body.MTLS == nil && body.Caching == nil && body.OriginConnectionLimit == nil && body.Pooling == nil
	// The environment's password may be another database's, so that it counts only where a password is to be expected.
	if flags.password.given() || nothing || body.Origin.User != nil && a.getenv(flags.password.variable) != "" {
		password, err := flags.password.read(a)
		if err != nil {
			var usage *usageError
			if errors.As(err, &usage) {
				err = usagef("nothing to change: pass a flag, or a new password; %w", err)
			}
			return body, err
		}
		body.Origin.Password = &password
	}
	if *body.Origin == (v4.OriginWrite{}) {
		body.Origin = nil
	}
	return body, nil
}

func (a *app) databaseDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME|ID",
		Short:   "Delete a database with its client credentials",
		Example: "  sluice database delete app",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			database, err := findDatabase(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := c.DeleteDatabase(ctx, database.ID); err != nil {
				return err
			}
			return a.printDeleted("Database", database.Name, database.ID)
		}),
	}
}

func (a *app) credentialCreateCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "create DATABASE NAME",
		Short:   "Add a client credential and print its connection string, once",
		Example: "  sluice database credential create app blue",
		Args:    exactArgs("DATABASE", "NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			database, err := findDatabase(ctx, c, args[0])
			if err != nil {
				return err
			}
			credential, err := c.CreateCredential(ctx, database.ID, v4.CredentialCreate{Name: args[1]})
			if err != nil {
				return err
			}
			credential.ConnectionString = a.withCA(credential.ConnectionString)
			if a.json {
				return a.printJSON(credential)
			}
			fmt.Fprintf(a.out, "Credential %s made, id %s.\n", credential.Name, credential.ID)
			a.printConnection(credential)
			return nil
		}),
	}
}

func (a *app) credentialListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list DATABASE",
		Short:   "List the client credentials of a database",
		Example: "  sluice database credential list app",
		Args:    exactArgs("DATABASE"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			database, err := findDatabase(ctx, c, args[0])
			if err != nil {
				return err
			}
			credentials, err := c.Credentials(ctx, database.ID)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(credentials)
			}
			var rows [][]string
			for _, credential := range credentials {
				rows = append(rows, []string{credential.Name, credential.ID, when(credential.CreatedOn)})
			}
			return a.printTable([]string{"NAME", "ID", "CREATED"}, rows)
		}),
	}
}

func (a *app) credentialDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete DATABASE NAME|ID",
		Short:   "Revoke a client credential",
		Example: "  sluice database credential delete app blue",
		Args:    exactArgs("DATABASE", "NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			database, err := findDatabase(ctx, c, args[0])
			if err != nil {
				return err
			}
			credentials, err := c.Credentials(ctx, database.ID)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(credentials, func(credential v4.Credential) bool {
				return credential.ID == args[1] || credential.Name == args[1]
			})
			if i < 0 {
				return fmt.Errorf("%s has no credential with the name or id %q; 'sluice database credential list %s' shows those that it has", database.Name, args[1], database.Name)
			}
			if err := c.DeleteCredential(ctx, database.ID, credentials[i].ID); err != nil {
				return err
			}
			return a.printDeleted("Credential", credentials[i].Name, credentials[i].ID)
		}),
	}
}
