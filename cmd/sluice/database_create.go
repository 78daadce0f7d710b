package main

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) databaseCreateCommand() *cobra.Command {
	var tunnel, service string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a database and print, once, the connection string of its first client credential",
		Long: `Make a database and print, once, the connection string of its first client credential. There are three
ways to its origin:

  --tunnel and --origin          the server makes hostname, service token, application and policy itself,
                                 restricted to this database
  --origin-host and              a hostname, a service token and a policy that you made yourself
    --access-client-id
  --origin-host and              directly over TLS, without a tunnel
    --origin-port

--connection-string, or SLUICE_CONNECTION_STRING, has host, port, user, password and database in one; with --tunnel its
host and port are those that the connector reaches. The database is made when a test connection to its origin, made as
the proxy makes them, has worked: all that --tunnel makes, or nothing.

Secrets come from files, from the environment, or are asked for on a terminal.`,
		Example: `  sluice database create app --tunnel vpc-1 --origin tcp://10.0.0.5:5432 --origin-user app --database app
  sluice database create app --tunnel vpc-1 --origin tcp://10.0.0.5:5432 --origin-user app --database app \
    --origin-password-file password --ca-certificate origin-ca.pem
  sluice database create app --tunnel vpc-1 --connection-string-file dsn --ca-certificate-id origin-ca
  sluice database create app --origin-host db.internal.example --origin-user app --database app \
    --access-client-id 0123456789abcdef0123456789abcdef.access --access-client-secret-file app.secret`,
		Args: exactArgs("NAME"),
	}
	flags := newDatabaseFlags(cmd)
	cmd.Flags().StringVar(&tunnel, "tunnel", "", "tunnel to the database, by name or id: the server makes what else is needed")
	cmd.Flags().StringVar(&service, "origin", "", "where the tunnel's connector reaches the database: tcp://HOST:PORT or unix:/PATH")
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
		body, err := a.newDatabase(flags, args[0], tunnel, service)
		if err != nil {
			return err
		}
		if err := resolveCertificates(ctx, c, body.MTLS); err != nil {
			return err
		}
		database, err := c.CreateDatabase(ctx, body)
		if err != nil {
			return err
		}
		a.warnNoVerify(database)
		return a.printNewDatabase(database, tunnel)
	})
	return cmd
}

// newDatabase makes the request of a create, asking for secrets last: after everything that can be wrong with the flags.
func (a *app) newDatabase(flags *databaseFlags, name, tunnel, service string) (v4.DatabaseWrite, error) {
	if err := flags.useConnection(a, true, tunnel, &service); err != nil {
		return v4.DatabaseWrite{}, err
	}
	body, err := flags.body()
	if err != nil {
		return body, err
	}
	body.Name = &name
	body.Origin.Scheme = &flags.scheme
	managed := tunnel != "" || service != ""
	if managed {
		switch {
		case tunnel == "":
			return body, usagef("--origin needs --tunnel NAME: the tunnel whose connector reaches it")
		case service == "":
			return body, usagef("--tunnel needs --origin: where its connector reaches the database, such as tcp://10.0.0.5:5432")
		case flags.host != "" || flags.port != 0 || flags.accessClientID != "" || flags.accessClientSecret.given():
			return body, usagef("--tunnel excludes --origin-host, --origin-port, --access-client-id and --access-client-secret: the server makes them")
		}
		body.Origin.TunnelID, body.Origin.Service = &tunnel, &service
		err = flags.missing("origin-user", "database")
	} else {
		err = flags.missing("origin-host", "origin-user", "database")
		if err == nil && flags.port == 0 && flags.accessClientID == "" {
			err = usagef("say how %s is reached: --access-client-id for one behind a tunnel, --origin-port for one reached directly; or use --tunnel and --origin", flags.host)
		}
	}
	if err != nil {
		return body, err
	}
	password, err := flags.password.read(a)
	if err != nil {
		return body, err
	}
	body.Origin.Password = &password
	if flags.accessClientID != "" {
		clientSecret, err := flags.accessClientSecret.read(a)
		if err != nil {
			return body, err
		}
		body.Origin.AccessClientSecret = &clientSecret
	}
	return body, nil
}

func (a *app) printNewDatabase(database v4.Database, tunnel string) error {
	if database.Credential != nil {
		database.Credential.ConnectionString = a.withCA(database.Credential.ConnectionString)
	}
	if a.json {
		return a.printJSON(database)
	}
	fmt.Fprintf(a.out, "Database %s made, id %s.\n", database.Name, database.ID)
	if database.Tunnel != nil {
		fmt.Fprintf(a.out, "Reached through tunnel %s as %s, which a service token of its own alone may use.\n", printable(tunnel), database.Tunnel.Hostname)
	}
	if database.Credential != nil {
		a.printConnection(*database.Credential)
	}
	return nil
}

// printConnection shows a new credential's connection string, the only time that there is one.
func (a *app) printConnection(credential v4.Credential) {
	fmt.Fprintf(a.out, "\nConnect with this string. Its password is shown this once:\n\n  %s\n", credential.ConnectionString)
}

// withCA adds the file of the CA certificate to a connection string, where this machine has one.
func (a *app) withCA(connection string) string {
	target, err := a.target()
	if err != nil || target.CAFile == "" || !strings.HasPrefix(connection, "postgres:") { // drivers of MySQL have no common word for it
		return connection
	}
	name, err := filepath.Abs(target.CAFile)
	if err != nil {
		return connection
	}
	return withRootCert(connection, name)
}

// withRootCert adds a file with the CA certificate to a connection string that has a query already.
func withRootCert(connection, file string) string {
	return connection + "&sslrootcert=" + strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(file))
}
