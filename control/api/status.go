package api

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

const (
	// statusMost bounds the tunnels and the databases of one status: more are not read on a screen, and those with problems come first.
	statusMost = 200
	// expiresSoon is how long before their end certificates and tokens are told of: time for a slow certificate authority.
	expiresSoon = 30 * 24 * time.Hour
)

// status gathers what this node knows, and asks the proxies for their pools.
func (a *API) status(ctx context.Context, c *call) (any, error) {
	s := &survey{call: c, presence: a.control.Presence(), now: time.Now(), down: map[string]string{}}
	if err := a.control.Ready(); err != nil {
		s.problem("store", "", "", "the store does not answer; what is set up goes on, changes do not", "look after the NATS cluster of --store, and this server's log")
	}
	var err error
	if s.proxies, err = a.control.Proxies(ctx, c.account); err != nil {
		a.logger.Warn("proxies not asked for their pools", "err", err)
	}
	if failure := a.control.Rotation().Failure; failure != "" && c.account == control.DefaultAccountID {
		s.problem("keys", "", "", "the rotation of keys stopped: "+failure, "mend that, and run sluice control rotate-keys again")
	}
	s.relays()
	s.tunnels()
	s.databases()
	s.expiring(a.control.CAExpires())
	return s.out(), nil
}

// survey is a status while it is put together.
type survey struct {
	*call
	status   v4.Status
	presence *control.Presence
	proxies  []control.ProxyState
	now      time.Time
	down     map[string]string // by tunnel ID, the names of those without a connector
}

func (s *survey) problem(kind, name, id, problem, mend string) {
	s.status.Problems = append(s.status.Problems, v4.Problem{Kind: kind, Name: name, ID: id, Problem: problem, Mend: mend})
}

// out is the status, its lists cut and never null.
func (s *survey) out() v4.Status {
	out := s.status
	out.Problems, out.Relays, out.Proxies = orNone(out.Problems), orNone(out.Relays), orNone(out.Proxies)
	out.TunnelsTotal, out.DatabasesTotal = len(out.Tunnels), len(out.Databases)
	out.Tunnels, out.Databases = orNone(out.Tunnels[:min(len(out.Tunnels), statusMost)]), orNone(out.Databases[:min(len(out.Databases), statusMost)])
	out.Expiring = orNone(out.Expiring)
	if n := len(out.Problems); n > statusMost {
		out.Problems = out.Problems[:statusMost]
	}
	return out
}

// orNone makes JSON's [] of a nil slice.
func orNone[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func (s *survey) relays() {
	for _, r := range s.presence.Relays() {
		s.status.Relays = append(s.status.Relays, v4.RelayStatus{ID: r.ID, Version: r.Version, Addresses: orNone(r.Addresses),
			Since: r.Since, Draining: r.Draining, Sessions: r.Sessions, Streams: r.Streams})
	}
	for _, p := range s.proxies {
		s.status.Proxies = append(s.status.Proxies, v4.ProxyStatus{ID: p.ID, Version: p.Version})
	}
	if len(s.status.Relays) == 0 && len(s.snapshot.Tunnels(s.account)) > 0 {
		s.problem("relay", "", "", "no relay is up: no tunnel can be reached", "start sluice server, or sluice relay with the same --store")
	}
	if len(s.status.Proxies) == 0 && len(s.snapshot.Databases(s.account)) > 0 {
		s.problem("proxy", "", "", "no proxy is up: drivers cannot connect", "start sluice server, or sluice proxy with the same --store")
	}
}

func (s *survey) tunnels() {
	var well []v4.TunnelStatus
	for _, t := range s.snapshot.Tunnels(s.account) {
		shown := v4.TunnelStatus{ID: t.ID, Name: t.Name, State: "up", ConfigVersion: t.ConfigVersion, Hostnames: len(t.Ingress),
			Connectors: connectors(s.presence.Connections(t.ID))}
		problems := len(s.status.Problems)
		switch {
		case len(shown.Connectors) == 0 && len(t.Ingress) == 0:
			shown.State = "unused"
		case len(shown.Connectors) == 0:
			shown.State = "down"
			s.down[t.ID] = t.Name
			s.problem("tunnel", t.Name, t.ID, fmt.Sprintf("no connector is connected: %d hostnames cannot be reached", len(t.Ingress)),
				fmt.Sprintf("in its network run sluice-connector run --token-file FILE, with the token that sluice tunnel token %s prints; if it runs, its log says why it does not connect", t.Name))
		}
		for _, connector := range shown.Connectors {
			if connector.ConfigVersion < t.ConfigVersion {
				s.problem("connector", connector.ID, "", fmt.Sprintf("it has version %d of the hostnames of tunnel %s, which are at %d", connector.ConfigVersion, t.Name, t.ConfigVersion),
					"it should take them within a second; if this stays, look into its log, or restart it")
			}
		}
		if len(s.status.Problems) > problems {
			s.status.Tunnels = append(s.status.Tunnels, shown)
		} else {
			well = append(well, shown)
		}
	}
	s.status.Tunnels = append(s.status.Tunnels, well...)
}

func (s *survey) databases() {
	var well []v4.DatabaseStatus
	for _, d := range s.snapshot.Databases(s.account) {
		shown := v4.DatabaseStatus{ID: d.ID, Name: d.Name, State: "idle", Origin: d.Origin.Host}
		if d.Origin.Port != 0 {
			shown.Origin = net.JoinHostPort(d.Origin.Host, strconv.Itoa(d.Origin.Port))
		}
		for _, p := range s.proxies {
			pool := p.Pools[d.ID]
			shown.Open, shown.Idle, shown.Max, shown.Waiting = shown.Open+pool.Open, shown.Idle+pool.Idle, shown.Max+pool.Max, shown.Waiting+pool.Waiting
			if pool.Code != 0 {
				shown.Code, shown.Failure = pool.Code, pool.Failure
			}
		}
		problem, mend := s.judge(d, &shown)
		if problem == "" {
			well = append(well, shown)
			continue
		}
		s.problem("database", d.Name, d.ID, problem, mend)
		s.status.Databases = append(s.status.Databases, shown)
	}
	s.status.Databases = append(s.status.Databases, well...)
}

// judge finds a database's state, and what is wrong with it, "" when nothing is.
func (s *survey) judge(d *control.Database, shown *v4.DatabaseStatus) (problem, mend string) {
	if d.Origin.AccessClientID != "" {
		tunnel, _, ok := s.snapshot.TunnelByHostname(d.Origin.Host)
		if !ok || tunnel.AccountID != s.account {
			shown.State = "failing"
			return "its hostname " + d.Origin.Host + " leads through no tunnel", fmt.Sprintf("sluice tunnel route TUNNEL %s tcp://HOST:PORT", d.Origin.Host)
		}
		if name, down := s.down[tunnel.ID]; down {
			shown.State = "failing"
			return "its tunnel " + name + " has no connector", "mend the tunnel first"
		}
	}
	switch {
	case shown.Code != 0:
		shown.State = "failing"
		return shown.Failure, "sluice database test " + d.Name + " tries again"
	case shown.Waiting > 0 && shown.Idle == 0 && shown.Open >= shown.Max:
		shown.State = "waiting"
		return fmt.Sprintf("%d clients wait: all of %d origin connections are in use", shown.Waiting, shown.Max),
			"end long transactions, or raise --origin-connection-limit with sluice database update " + d.Name
	case shown.Open > 0:
		shown.State = "up"
	}
	return "", ""
}

func (s *survey) expiring(ca time.Time) {
	certificates, clients := map[string]bool{}, map[string]bool{}
	for _, d := range s.snapshot.Databases(s.account) {
		certificates[d.MTLS.CACertificateID], certificates[d.MTLS.ClientCertificateID] = true, true
		clients[d.Origin.AccessClientID] = true
	}
	s.expiry(v4.Expiry{Kind: "ca", Name: "Sluice's own CA", ExpiresOn: ca, Used: true}, "move to a new installation: every driver and connector trusts this one")
	for _, cert := range s.snapshot.Certificates(s.account) {
		s.expiry(v4.Expiry{Kind: "certificate", Name: cmp.Or(cert.Name, cert.ID), ID: cert.ID, ExpiresOn: cert.ExpiresOn, Used: certificates[cert.ID]},
			"upload a new one with sluice cert upload, name it with sluice database update, and delete this one")
	}
	for _, t := range s.snapshot.ServiceTokens(s.account) {
		s.expiry(v4.Expiry{Kind: "service_token", Name: t.Name, ID: t.ID, ExpiresOn: t.ExpiresAt, Used: clients[t.ClientID]},
			"sluice access token refresh "+t.Name+" prolongs it")
	}
	for _, t := range s.snapshot.APITokens(s.account) {
		s.expiry(v4.Expiry{Kind: "api_token", Name: t.Name, ID: t.ID, ExpiresOn: t.ExpiresAt},
			"sluice token create makes another, sluice token delete "+t.ID+" takes this one away")
	}
	slices.SortStableFunc(s.status.Expiring, func(a, b v4.Expiry) int { return a.ExpiresOn.Compare(b.ExpiresOn) })
	s.status.Expiring = s.status.Expiring[:min(len(s.status.Expiring), statusMost)]
}

// expiry notes what ends soon. It is a problem when something needs it, or it has ended.
func (s *survey) expiry(e v4.Expiry, mend string) {
	left := e.ExpiresOn.Sub(s.now)
	if e.ExpiresOn.IsZero() || left > expiresSoon {
		return
	}
	s.status.Expiring = append(s.status.Expiring, e)
	problem := fmt.Sprintf("it ends on %s, in %d days", e.ExpiresOn.UTC().Format(time.DateOnly), int(left.Hours()/24))
	if left <= 0 {
		problem = "it has ended on " + e.ExpiresOn.UTC().Format(time.DateOnly)
	}
	if e.Used || left <= 0 {
		s.problem(e.Kind, e.Name, e.ID, problem, mend)
	}
}
