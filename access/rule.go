package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Selector names what a rule looks at.
type Selector string

// The selectors that a rule may use.
const (
	SelectServiceToken    Selector = "service_token"           // Value is the token's ID
	SelectAnyServiceToken Selector = "any_valid_service_token" // no Value
	SelectIP              Selector = "ip"                      // Value is an address or a prefix in CIDR form
	SelectEveryone        Selector = "everyone"                // no Value
	SelectCertificate     Selector = "certificate"             // no Value: any valid client certificate
	SelectCommonName      Selector = "common_name"             // Value is the client certificate's common name
)

// Rule is one condition of a policy. Its JSON has Cloudflare's shape, one
// object named by the selector: {"ip":{"ip":"10.0.0.0/8"}}. A selector that is
// not known is kept by name, is refused by [Policy.Validate] and never matches.
type Rule struct {
	Selector Selector
	Value    string
}

// ErrRule is what every rule of another shape is answered with. The text that
// wraps it names selectors and fields, and no value.
var ErrRule = errors.New(`a rule is an object with one selector, such as {"everyone":{}}`)

// mappedBits is the length of the prefix of IPv4-mapped addresses, ::ffff:0:0/96
// (RFC 4291 section 2.5.5.2).
const mappedBits = 96

var errMappedPrefix = errors.New("a range of mapped addresses must have 96 bits or more")

// valueKey returns the name of the selector's inner field, "" when it has
// none, and whether the selector is known.
func (s Selector) valueKey() (key string, known bool) {
	switch s {
	case SelectServiceToken:
		return "token_id", true
	case SelectIP:
		return "ip", true
	case SelectCommonName:
		return "common_name", true
	case SelectAnyServiceToken, SelectEveryone, SelectCertificate:
		return "", true
	}
	return "", false
}

// String returns the rule for people: the selector and its value.
func (r Rule) String() string {
	if r.Value == "" {
		return string(r.Selector)
	}
	return string(r.Selector) + " " + r.Value
}

// MarshalJSON returns Cloudflare's shape.
func (r Rule) MarshalJSON() ([]byte, error) {
	inner := map[string]string{}
	if key, _ := r.Selector.valueKey(); key != "" {
		inner[key] = r.Value
	}
	return json.Marshal(map[Selector]map[string]string{r.Selector: inner})
}

// UnmarshalJSON reads Cloudflare's shape. Inner fields that the selector does
// not have are refused: they might have narrowed what the rule means.
func (r *Rule) UnmarshalJSON(b []byte) error {
	var outer map[Selector]json.RawMessage
	if err := json.Unmarshal(b, &outer); err != nil || len(outer) != 1 {
		return ErrRule
	}
	for selector, raw := range outer {
		key, known := selector.valueKey()
		if !known {
			*r = Rule{Selector: selector}
			return nil
		}
		var inner map[string]string
		if err := json.Unmarshal(raw, &inner); err != nil {
			return fmt.Errorf("selector %q: %w", string(selector), ErrRule)
		}
		for name := range inner {
			if name != key || key == "" {
				return fmt.Errorf("%w: selector %s has no field %q", ErrRule, selector, name)
			}
		}
		*r = Rule{Selector: selector, Value: inner[key]}
	}
	return nil
}

// prefix parses the value of an IP rule.
func (r Rule) prefix() (netip.Prefix, error) {
	if strings.Contains(r.Value, "/") {
		p, err := netip.ParsePrefix(r.Value)
		if err != nil || !p.Addr().Is4In6() {
			return p, err
		}
		// Clients' IPv4 addresses are compared in their own form, and no IPv6 prefix contains one.
		if p.Bits() < mappedBits {
			return netip.Prefix{}, errMappedPrefix
		}
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits), nil
	}
	addr, err := netip.ParseAddr(r.Value)
	if err != nil {
		return netip.Prefix{}, err
	}
	addr = addr.Unmap().WithZone("")
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// usable reports whether the rule can be evaluated at all.
func (r Rule) usable() bool {
	if r.Selector == SelectIP {
		_, err := r.prefix()
		return err == nil
	}
	return r.shaped()
}

// shaped reports whether the selector is known and has a value if it takes one.
func (r Rule) shaped() bool {
	key, known := r.Selector.valueKey()
	return known && (key == "") == (r.Value == "")
}

// matches evaluates the rule. token is the one that was authenticated, nil if
// none was.
func (r Rule) matches(req *Request, token *ServiceToken) bool {
	if !r.shaped() {
		return false
	}
	switch r.Selector {
	case SelectServiceToken:
		return token != nil && token.ID == r.Value
	case SelectAnyServiceToken:
		return token != nil
	case SelectIP:
		p, err := r.prefix()
		return err == nil && req.Remote.IsValid() && p.Contains(req.Remote.Unmap().WithZone(""))
	case SelectEveryone:
		return true
	case SelectCertificate:
		return req.Certificate
	case SelectCommonName:
		return req.Certificate && req.CommonName == r.Value
	}
	return false
}

func (r Rule) validate(f *Faults, field string) {
	key, known := r.Selector.valueKey()
	switch {
	case !known:
		f.Addf(field, "has the unknown selector %q", string(r.Selector))
	case key != "" && r.Value == "":
		f.Addf(field, "needs a value for %s.%s", r.Selector, key)
	case key == "" && r.Value != "":
		f.Addf(field, "must not have a value: %s takes none", r.Selector)
	case r.Selector == SelectIP:
		if _, err := r.prefix(); err != nil {
			f.Addf(field, "is not an IP address or a range in CIDR form: %q", r.Value)
		}
	}
}
