package harness

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// Target is where and as whom a driver connects.
type Target struct {
	Host     string
	Port     int
	User     string
	Password string
	Database string
	CAFile   string // the server is verified against it in full; "" is no TLS at all
}

func (t Target) sslmode() string {
	if t.CAFile == "" {
		return "disable"
	}
	return "verify-full"
}

// Env is the target in libpq's environment variables.
func (t Target) Env() []string {
	env := []string{"PGHOST=" + t.Host, "PGPORT=" + strconv.Itoa(t.Port), "PGUSER=" + t.User, "PGPASSWORD=" + t.Password,
		"PGDATABASE=" + t.Database, "PGSSLMODE=" + t.sslmode(), "PGCONNECT_TIMEOUT=60"}
	if t.CAFile != "" {
		env = append(env, "PGSSLROOTCERT="+t.CAFile)
	}
	return env
}

// URL is the target as a connection string, password included: not for an argument list.
func (t Target) URL() string {
	query := url.Values{"sslmode": {t.sslmode()}}
	if t.CAFile != "" {
		query.Set("sslrootcert", t.CAFile)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(t.User, t.Password), Path: "/" + t.Database,
		Host: net.JoinHostPort(t.Host, strconv.Itoa(t.Port)), RawQuery: query.Encode()}
	return u.String()
}

// Connect connects with pgx. Close the connection.
func (t Target) Connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(t.URL())
	if err != nil {
		return nil, fmt.Errorf("target of user %s: malformed", t.User) // pgx's text may show the string
	}
	return pgx.ConnectConfig(ctx, config)
}

// Target is the server's own address as a target for drivers beside it.
func (p *Postgres) Target() Target {
	return Target{Host: p.Addr, Port: p.Port, User: PostgresUser, Password: p.Password, Database: PostgresDatabase, CAFile: p.CAFile}
}
