package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// databaseFlags are the settings of a database that create and update share. Only those that are given are sent.
type databaseFlags struct {
	set *pflag.FlagSet

	scheme, host, database, user, accessClientID string
	port                                         int
	sslmode, caCertificate                       string
	insecure, cachingDisabled                    bool
	maxAge, swr, connectionLimit                 int

	serverName                         string
	pooling                            poolingFlags
	caCertificateID, mtlsCertificateID string
	skipTest                           bool

	connection, password, accessClientSecret *secret
}

func newDatabaseFlags(cmd *cobra.Command) *databaseFlags {
	d := &databaseFlags{set: cmd.Flags()}
	d.set.StringVar(&d.scheme, "origin-scheme", "postgres", "postgres, postgresql or mysql")
	d.set.StringVar(&d.host, "origin-host", "", "hostname that 'sluice tunnel route' leads to the database, or the database's own address")
	d.set.IntVar(&d.port, "origin-port", 0, "port of a database that is reached directly; excludes --access-client-id")
	d.set.StringVar(&d.database, "database", "", "name of the database at the origin")
	d.set.StringVar(&d.user, "origin-user", "", "user to log in as at the origin")
	d.connection = newSecret(cmd, "connection-string", "SLUICE_CONNECTION_STRING", "connection string of the origin, postgres://user:password@host:port/database").alsoInArgv(cmd)
	d.password = newSecret(cmd, "origin-password", "SLUICE_ORIGIN_PASSWORD", "password of the origin user").alsoInArgv(cmd)
	d.set.StringVar(&d.accessClientID, "access-client-id", "", "client id of the service token that reaches --origin-host")
	d.accessClientSecret = newSecret(cmd, "access-client-secret", "SLUICE_ACCESS_CLIENT_SECRET", "client secret of that service token").alsoInArgv(cmd)
	d.set.StringVar(&d.sslmode, "sslmode", "require", "how the origin's TLS is verified: require, verify-ca, verify-full, or no-verify for not at all")
	d.set.StringVar(&d.serverName, "server-name", "", "name that the origin's certificate is for, with --sslmode verify-full; the origin's host when absent")
	d.set.StringVar(&d.caCertificate, "ca-certificate", "", "PEM file with the CA of the origin's certificate")
	d.set.StringVar(&d.caCertificateID, "ca-certificate-id", "", "uploaded certificate of the origin's CA, by id or name")
	d.set.StringVar(&d.mtlsCertificateID, "mtls-certificate-id", "", "uploaded client certificate to show to the origin, by id or name")
	d.set.BoolVar(&d.skipTest, "skip-test", false, "make no test connection to the origin")
	d.set.BoolVar(&d.insecure, "insecure-origin", false, "speak to the origin without TLS: only for one beside the connector")
	d.set.IntVar(&d.connectionLimit, "origin-connection-limit", 0, "soft maximum of connections to the origin, 5 to 10000; the server's default if not given")
	d.pooling.add(d.set)
	d.set.BoolVar(&d.cachingDisabled, "caching-disabled", false, "answer nothing from the cache")
	d.set.IntVar(&d.maxAge, "max-age", 60, "seconds that an answer may come from the cache")
	d.set.IntVar(&d.swr, "swr", 15, "seconds more that it may while it is fetched anew")
	return d
}

// given returns a pointer to the value when its flag was given, else nil.
func given[T any](d *databaseFlags, name string, value *T) *T {
	if d.set.Changed(name) {
		return value
	}
	return nil
}

// body makes the request from the flags that were given; secrets are left to the caller.
func (d *databaseFlags) body() (v4.DatabaseWrite, error) {
	body := v4.DatabaseWrite{SkipTest: d.skipTest, OriginConnectionLimit: given(d, "origin-connection-limit", &d.connectionLimit)}
	body.Origin = &v4.OriginWrite{
		Scheme:         given(d, "origin-scheme", &d.scheme),
		Host:           given(d, "origin-host", &d.host),
		Port:           given(d, "origin-port", &d.port),
		Database:       given(d, "database", &d.database),
		User:           given(d, "origin-user", &d.user),
		AccessClientID: given(d, "access-client-id", &d.accessClientID),
		Insecure:       given(d, "insecure-origin", &d.insecure),
	}
	if d.port != 0 && d.accessClientID != "" {
		return body, usagef("--origin-port and --access-client-id exclude each other: the tunnel's route has the port")
	}
	mtls := &v4.MTLSWrite{
		SSLMode:           given(d, "sslmode", &d.sslmode),
		CACertificateID:   given(d, "ca-certificate-id", &d.caCertificateID),
		MTLSCertificateID: given(d, "mtls-certificate-id", &d.mtlsCertificateID),
	}
	if d.caCertificate != "" && d.caCertificateID != "" {
		return body, usagef("--ca-certificate and --ca-certificate-id exclude each other")
	}
	if d.set.Changed("insecure-origin") {
		if mtls.SSLMode != nil && d.insecure {
			return body, usagef("--insecure-origin and --sslmode exclude each other")
		}
		if mtls.SSLMode == nil {
			mode := "require"
			if d.insecure {
				mode = "disable"
			}
			mtls.SSLMode = &mode
		}
	}
	mtls.ServerName = given(d, "server-name", &d.serverName)
	if d.caCertificate != "" {
		pem, err := os.ReadFile(d.caCertificate)
		if err != nil {
			return body, fmt.Errorf("--ca-certificate: %w", err)
		}
		text := string(pem)
		mtls.CACertificate = &text
	}
	if *mtls != (v4.MTLSWrite{}) {
		body.MTLS = mtls
	}
	var err error
	if body.Pooling, err = d.pooling.body(d); err != nil {
		return body, err
	}
	caching := v4.CachingWrite{
		Disabled:             given(d, "caching-disabled", &d.cachingDisabled),
		MaxAge:               given(d, "max-age", &d.maxAge),
		StaleWhileRevalidate: given(d, "swr", &d.swr),
	}
	if d.cachingDisabled && (caching.MaxAge != nil || caching.StaleWhileRevalidate != nil) {
		return body, usagef("--max-age and --swr cannot be set when caching is disabled")
	}
	if caching != (v4.CachingWrite{}) {
		body.Caching = &caching
	}
	return body, nil
}

// resolveCertificates puts ids in the place of the names that people know certificates by.
func resolveCertificates(ctx context.Context, c *apiclient.Client, mtls *v4.MTLSWrite) error {
	if mtls == nil {
		return nil
	}
	for _, name := range []*string{mtls.CACertificateID, mtls.MTLSCertificateID} {
		if name == nil || *name == "" {
			continue
		}
		certificate, err := findCertificate(ctx, c, *name)
		if err != nil {
			return err
		}
		*name = certificate.ID
	}
	return nil
}

// missing reports every flag of these that was not given, at once.
func (d *databaseFlags) missing(names ...string) error {
	var errs []error
	for _, name := range names {
		if flag := d.set.Lookup(name); flag.Value.String() == "" {
			errs = append(errs, fmt.Errorf("--%s is missing: %s", name, flag.Usage))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &usageError{err: errors.Join(errs...)}
}
