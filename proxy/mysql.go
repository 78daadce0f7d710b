package proxy

import (
	"fmt"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/mysql"
)

func (p *Proxy) makeMySQL(d *database) error {
	cfg, err := p.configureMySQL(d.of, p.cfg.Source.Snapshot().Certificate)
	if err != nil {
		return err
	}
	d.mysql = mysql.NewDatabase(d.of.Name, cfg, p.mysqlCredentials(d.of))
	d.dialectOf = d.mysql
	return nil
}

// reconfigureMySQL changes a running database. The lock is held.
func (p *Proxy) reconfigureMySQL(d *database, of *control.Database) error {
	cfg, err := p.configureMySQL(of, p.cfg.Source.Snapshot().Certificate)
	if err != nil {
		return err
	}
	d.mysql.SetConfig(cfg)
	d.recache(of)
	if of.Generation != d.of.Generation {
		d.Renew()
	}
	credentials := p.mysqlCredentials(of)
	d.mysql.SetCredentials(credentials)
	p.expel(d, func(user string) bool { return credentials[user] != nil })
	d.of = of
	return nil
}

// configureMySQL turns a database of the state into what the dialect needs.
func (p *Proxy) configureMySQL(of *control.Database, certificate func(id string) (*control.Certificate, bool)) (mysql.Config, error) {
	c, err := p.configure(of, certificate)
	if err != nil {
		return mysql.Config{}, err
	}
	return mysql.Config{
		Dial: c.Dial, Database: c.Database, User: c.User, Password: c.Password, FormerPassword: c.FormerPassword,
		TLS: c.TLS, Generation: c.Generation, Limits: c.Limits, Policy: mysqlPolicies[of.Pooling.SessionState],
		Cache: c.Cache, Caching: c.Caching, KeepNothing: c.KeepNothing, Wrote: c.Wrote,
	}, nil
}

// mysqlPolicies are the dialect's, by what the state calls them; Replay where it says nothing.
var mysqlPolicies = map[string]mysql.Policy{
	control.SessionReplay: mysql.Replay, control.SessionReset: mysql.Reset, control.SessionPin: mysql.Pin,
}

// mysqlCredentials are a database's names and verifiers. One that cannot be read admits nobody.
func (p *Proxy) mysqlCredentials(of *control.Database) map[string]*mywire.Verifier {
	m := make(map[string]*mywire.Verifier, len(of.Credentials))
	for _, c := range of.Credentials {
		v, err := mysqlVerifier(c)
		if err != nil {
			p.cfg.Logger.Error("credential cannot be used", "database", of.Name, "user", c.Name, "err", err)
			continue
		}
		m[c.Name] = v
	}
	return m
}

// mysqlVerifier checks the password itself where the credential is older than
// verifiers of MySQL's.
func mysqlVerifier(c control.Credential) (*mywire.Verifier, error) {
	if c.MySQLVerifier != "" {
		return mywire.ParseVerifier(string(c.MySQLVerifier))
	}
	v, err := pgwire.ParseVerifier(string(c.Verifier))
	if err != nil {
		return nil, fmt.Errorf("verifier: %w", err)
	}
	return &mywire.Verifier{Check: func(password []byte) bool { return v.Is(string(password)) }}, nil
}
