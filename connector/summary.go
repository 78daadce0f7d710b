package connector

import (
	"cmp"
	"context"
	"slices"

	"github.com/sluicedb/sluice/protocol/stream"
)

// RuleSummary is one rule, as /config shows it.
type RuleSummary struct {
	Hostname string `json:"hostname"` // "*" for every other
	Service  string `json:"service"`
}

// ConfigSummary is the body of /config: the rules in force. There is no secret in it.
type ConfigSummary struct {
	Version uint64        `json:"version"`
	Rules   []RuleSummary `json:"rules"`
}

// Summary returns the rules, by hostname.
func (r *Rules) Summary() []RuleSummary { return r.in.summary() }

func (in *ingress) summary() []RuleSummary {
	list := []RuleSummary{}
	for host, s := range in.exact {
		list = append(list, RuleSummary{host, s.String()})
	}
	for suffix, s := range in.wildcard {
		list = append(list, RuleSummary{"*" + suffix, s.String()})
	}
	slices.SortFunc(list, func(a, b RuleSummary) int { return cmp.Compare(a.Hostname, b.Hostname) })
	if in.rest != nil {
		list = append(list, RuleSummary{"*", in.rest.String()})
	}
	return list
}

// String is the service as a rule spells it.
func (s service) String() string {
	if s.network == "unix" {
		return "unix:" + s.address
	}
	return s.network + "://" + s.address
}

// CheckService connects to a service as a rule spells it, within ctx, and closes the connection. A database logs that somebody came
// and said nothing.
func CheckService(ctx context.Context, text string) error {
	s, err := parseService(text)
	if err != nil {
		return err
	}
	s.connectTimeout, s.keepAlive = connectTimeout, keepAlive
	c, err := dialOrigin(ctx, s)
	if err != nil {
		return err
	}
	return c.Reset(stream.CodeCancelled)
}
