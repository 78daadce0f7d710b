package main

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// TestDatabaseFlags: every mistake in the flags is said before a server is asked, in these words.
func TestDatabaseFlags(t *testing.T) {
	const dsn = "postgres://u:hunter2@h:5432/d"
	create := []string{"database", "create", "app"}
	update := []string{"database", "update", "app"}
	for _, tt := range []struct {
		command []string
		args    string
		want    string
	}{
		{create, "", "--origin-host is missing: hostname that 'sluice tunnel route' leads to the database, or the database's own address"},
		{create, "--origin-host h --origin-user u --database d", "say how h is reached: --access-client-id for one behind a tunnel, --origin-port for one reached directly; or use --tunnel and --origin"},
		{create, "--origin-host h --origin-port x", `sluice database create: invalid argument "x" for "--origin-port" flag: strconv.ParseInt: parsing "x": invalid syntax`},
		{create, "--origin-port 1 --access-client-id c", "--origin-port and --access-client-id exclude each other: the tunnel's route has the port"},
		{create, "--tunnel vpc", "--tunnel needs --origin: where its connector reaches the database, such as tcp://10.0.0.5:5432"},
		{create, "--origin tcp://h:1", "--origin needs --tunnel NAME: the tunnel whose connector reaches it"},
		{create, "--tunnel vpc --origin tcp://h:1 --origin-host h", "--tunnel excludes --origin-host, --origin-port, --access-client-id and --access-client-secret: the server makes them"},
		{create, "--tunnel vpc --origin tcp://h:1 --origin-user u --database d", "the password of the origin user is missing: set SLUICE_ORIGIN_PASSWORD, or pass --origin-password-file FILE (- for standard input)"},
		{create, "--connection-string " + dsn + " --origin-host h", "--connection-string excludes --origin-host"},
		{create, "--connection-string " + dsn + " --origin-password p", "--connection-string excludes --origin-password"},
		{create, "--connection-string " + dsn + " --access-client-id c", "--connection-string excludes --access-client-id"},
		{create, "--connection-string " + dsn + " --tunnel vpc --origin tcp://h:1", "--origin and the host of --connection-string say the same: leave --origin out"},
		{create, "--connection-string oracle://u:hunter2@h/d", "the connection string must begin with postgres://, postgresql:// or mysql://"},
		{create, "--connection-string postgres://u:hunter2@/d", "the connection string names no host: postgres://user:password@host:port/database"},
		{create, "--connection-string postgres://h/d", "the connection string names no user: postgres://user:password@host:port/database"},
		{create, "--connection-string mysql://u:hunter2@h", "the connection string names no database: mysql://user:password@host:port/database"},
		{create, "--connection-string postgres://u:hunter2%zz@h/d", "the connection string is not of the form postgres://user:password@host:port/database"},
		{create, "--ca-certificate a --ca-certificate-id b", "--ca-certificate and --ca-certificate-id exclude each other"},
		{create, "--caching-disabled --max-age 5", "--max-age and --swr cannot be set when caching is disabled"},
		{create, "--caching-disabled true --swr 5", "--max-age and --swr cannot be set when caching is disabled"},
		{create, "--caching-disabled perhaps", `sluice database create: unexpected argument "perhaps"`},
		{create, "--insecure-origin --sslmode require", "--insecure-origin and --sslmode exclude each other"},
		{create, "--ca-certificate /nonexistent", "--ca-certificate: open /nonexistent: no such file or directory"},
		{update, "", "nothing to change: pass a flag, or a new password; the password of the origin user is missing: set SLUICE_ORIGIN_PASSWORD, or pass --origin-password-file FILE (- for standard input)"},
		{update, "--connection-string " + dsn + " --database d", "--connection-string excludes --database"},
		{update, "--access-client-id c", "the client secret of that service token is missing: set SLUICE_ACCESS_CLIENT_SECRET, or pass --access-client-secret-file FILE (- for standard input)"},
		{[]string{"database", "connection-string"}, "", "sluice database connection-string: NAME is missing"},
		{[]string{"cert", "upload", "certificate-authority"}, "", "--ca-cert is missing: a PEM file"},
		{[]string{"cert", "upload", "mtls-certificate"}, "--key /nonexistent", "--cert is missing: a PEM file"},
		{[]string{"cert", "delete"}, "", "sluice cert delete: NAME is missing"},
		{[]string{"cert", "delete"}, "--id a --name b", "--id and --name exclude each other"},
		{[]string{"cert", "delete", "c"}, "--id a", `sluice cert delete: unexpected argument "c" beside --id or --name`},
		{[]string{"server"}, "--direct-origins some", `--direct-origins: "some" is not public, any or none`},
		{[]string{"server"}, "--max-databases -1", "--max-databases: must not be negative"},
	} {
		var out, errs strings.Builder
		a := &app{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(name string) string {
			if name == "SLUICE_API_TOKEN" {
				return "slat_x"
			}
			return ""
		}}
		args := slices.Concat(tt.command, strings.Fields(tt.args))
		code := a.execute(context.Background(), args)
		got, _, _ := strings.Cut(strings.TrimPrefix(errs.String(), "sluice: "), "\n")
		if code == exitOK || got != tt.want {
			t.Errorf("sluice %s: exit code %d,\ngot  %s\nwant %s", strings.Join(args, " "), code, got, tt.want)
		}
		if strings.Contains(errs.String(), "hunter2") {
			t.Errorf("sluice %s: the password is shown", strings.Join(tt.command, " "))
		}
	}
}
