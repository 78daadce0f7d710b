package relay

import (
	"net/netip"
	"strings"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// decide asks access for a, and then where its hostname leads. The refusal is what the asker is told; it says nothing about
// tunnels to whom no policy admits, and the same about credentials that are unknown and those that are wrong.
func decide(snap snapshot, a *ask, now time.Time) (access.Decision, string, *tunnel.Refusal) {
	d := access.Decide(snap, access.Request{
		Hostname: a.hostname, ClientID: a.clientID, ClientSecret: a.clientSecret, Remote: a.remote, Time: now,
	})
	switch d.Outcome {
	case access.Allowed:
	case access.Unauthenticated:
		return d, "", &tunnel.Refusal{Code: tunnelpb.Code_UNAUTHENTICATED, Message: "the service token is not valid"}
	default:
		return d, "", &tunnel.Refusal{Code: tunnelpb.Code_DENIED, Message: "no policy admits this service token to the hostname"}
	}
	t, _, ok := snap.TunnelByHostname(a.hostname)
	if ok {
		// An application opens its own account's hostnames only.
		app, known := snap.ApplicationByID(d.ApplicationID)
		ok = known && app.AccountID == t.AccountID
	}
	if !ok {
		return d, "", &tunnel.Refusal{Code: tunnelpb.Code_NO_TUNNEL, Message: "no tunnel leads to the hostname"}
	}
	return d, t.ID, nil
}

// identify authenticates a client without a hostname. The outcome is Unauthenticated or, since no hostname is meant, Denied.
func identify(snap snapshot, clientID, clientSecret string, remote netip.AddrPort, now time.Time) access.Decision {
	return access.Decide(snap, access.Request{ClientID: clientID, ClientSecret: clientSecret, Remote: remote.Addr().Unmap(), Time: now})
}

// maxHostname is the length of the longest name in DNS (RFC 1035 section 2.3.4), in text form.
const maxHostname = 253

// printable bounds what an unknown peer can put into the audit log.
func printable(hostname string) string {
	if len(hostname) > maxHostname {
		hostname = hostname[:maxHostname]
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, hostname)
}

// canonical is the form in which hostnames are kept: lower case, without the root's dot.
func canonical(hostname string) string {
	return strings.TrimSuffix(strings.ToLower(hostname), ".")
}
