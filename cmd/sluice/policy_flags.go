package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// ruleFlags collect the rules of one kind: include, require or exclude.
type ruleFlags struct {
	tokens, ips, commonNames        []string
	anyToken, everyone, certificate bool
}

func (r *ruleFlags) register(flags *pflag.FlagSet, kind, effect string) {
	flags.StringArrayVar(&r.tokens, kind+"-token", nil, effect+" this service token, by name or id (repeatable)")
	flags.StringArrayVar(&r.ips, kind+"-ip", nil, effect+" clients from this address or range, such as 10.0.0.0/8 (repeatable)")
	flags.StringArrayVar(&r.commonNames, kind+"-common-name", nil, effect+" clients with a valid certificate of this common name (repeatable)")
	flags.BoolVar(&r.anyToken, kind+"-any-token", false, effect+" any valid service token")
	flags.BoolVar(&r.certificate, kind+"-certificate", false, effect+" any valid client certificate")
	flags.BoolVar(&r.everyone, kind+"-everyone", false, effect+" everyone")
}

// rules turns flags into rules, looking up the ids of tokens.
func (r *ruleFlags) rules(ctx context.Context, c *apiclient.Client) ([]access.Rule, error) {
	var rules []access.Rule
	for _, name := range r.tokens {
		token, err := findServiceToken(ctx, c, name)
		if err != nil {
			return nil, err
		}
		rules = append(rules, access.Rule{Selector: access.SelectServiceToken, Value: token.ID})
	}
	for _, ip := range r.ips {
		rules = append(rules, access.Rule{Selector: access.SelectIP, Value: ip})
	}
	for _, name := range r.commonNames {
		rules = append(rules, access.Rule{Selector: access.SelectCommonName, Value: name})
	}
	if r.anyToken {
		rules = append(rules, access.Rule{Selector: access.SelectAnyServiceToken})
	}
	if r.certificate {
		rules = append(rules, access.Rule{Selector: access.SelectCertificate})
	}
	if r.everyone {
		rules = append(rules, access.Rule{Selector: access.SelectEveryone})
	}
	return rules, nil
}

// policyFlags are what a policy is made or changed with.
type policyFlags struct {
	application, decision, name string
	precedence                  int
	include, require, exclude   ruleFlags
}

func (p *policyFlags) register(flags *pflag.FlagSet, decision string) {
	flags.StringVar(&p.application, "app", "", "the application, by hostname, name or id; absent for a reusable policy")
	flags.StringVar(&p.decision, "decision", decision, "non_identity (service tokens), allow, block or bypass")
	flags.StringVar(&p.name, "name", "", "name of the policy")
	flags.IntVar(&p.precedence, "precedence", 0, "place among the application's policies, from 1; 0 for the last, or the present one")
	p.include.register(flags, "include", "match")
	p.require.register(flags, "require", "match only")
	p.exclude.register(flags, "exclude", "do not match")
}

// apply changes body by what the flags say. A kind of rules that a flag names is replaced as a whole.
func (p *policyFlags) apply(ctx context.Context, c *apiclient.Client, body *v4.PolicyWrite) error {
	if p.name != "" {
		body.Name = p.name
	}
	if p.decision != "" {
		body.Decision = p.decision
	}
	if p.precedence != 0 {
		body.Precedence = p.precedence
	}
	for _, part := range []struct {
		flags *ruleFlags
		rules *[]access.Rule
	}{{&p.include, &body.Include}, {&p.require, &body.Require}, {&p.exclude, &body.Exclude}} {
		rules, err := part.flags.rules(ctx, c)
		if err != nil {
			return err
		}
		if rules != nil {
			*part.rules = rules
		}
	}
	return nil
}

// describeRules shows rules in one cell.
func describeRules(rules []access.Rule) string {
	var texts []string
	for _, rule := range rules {
		text := string(rule.Selector)
		if rule.Value != "" {
			text += "=" + rule.Value
		}
		texts = append(texts, text)
	}
	return joined(texts)
}
