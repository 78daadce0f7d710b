package proxy

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// nameEvery is how often the names of origins are looked up: a failover by DNS
// is noticed about as soon as a record's shortest usual life, 15 s, is over.
const nameEvery = 15 * time.Second

// watchName renews a database's pool when the name of an origin that is reached
// directly comes to stand for other addresses altogether. New connections look
// the name up anyway; this is for those that are open. It blocks until ctx ends.
func (p *Proxy) watchName(ctx context.Context, d *database) {
	t := time.NewTicker(nameEvery)
	defer t.Stop()
	var host string
	var before []string
	for {
		if now := p.directHost(d); now != host {
			host, before = now, nil
		}
		if host != "" {
			if addrs, err := p.resolve(ctx, host); err == nil && len(addrs) > 0 {
				if before != nil && disjoint(before, addrs) {
					p.cfg.Logger.Info("the origin's name stands for another address", "database", d.Name(), "hostname", host)
					d.Renew()
				}
				before = addrs
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// directHost is the name that d's origin is reached directly by; "" where there
// is none to look up.
func (p *Proxy) directHost(d *database) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.of.Origin.AccessClientID != "" {
		return ""
	}
	if _, err := netip.ParseAddr(d.of.Origin.Host); err == nil {
		return ""
	}
	return d.of.Origin.Host
}

func disjoint(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
