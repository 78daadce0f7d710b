package connector

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// maxRulesFile bounds a file of rules: maxRules of 200 bytes each.
const maxRulesFile = 1 << 20

// refuseService is the service of a last rule that leads nowhere.
const refuseService = "refuse"

// Rules are an ingress that is kept beside the connector, and not by control. They are immutable.
type Rules struct{ in *ingress }

// rulesFile is the file as it is written. Times are Go durations: 5s, 1m30s.
type rulesFile struct {
	Access  fileAccess `yaml:"access"`
	Ingress []fileRule `yaml:"ingress"`
}

// fileAccess pins what assertions are checked with. Without it the relay says what it signs with.
type fileAccess struct {
	Issuer string            `yaml:"issuer"`
	Keys   map[string]string `yaml:"keys"` // Ed25519 public keys in base64, by key ID
}

type fileRule struct {
	Hostname       string   `yaml:"hostname"` // the last rule has none
	Service        string   `yaml:"service"`
	ConnectTimeout string   `yaml:"connect_timeout"`
	KeepAlive      string   `yaml:"keepalive"`
	ProxyProtocol  string   `yaml:"proxy_protocol"` // v2
	Access         string   `yaml:"access"`         // required
	Audiences      []string `yaml:"audiences"`      // IDs of applications, with access
	line           int
}

// UnmarshalYAML keeps the line.
func (r *fileRule) UnmarshalYAML(n *yaml.Node) error {
	type plain fileRule
	if err := n.Decode((*plain)(r)); err != nil {
		return err
	}
	r.line = n.Line
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if key := n.Content[i]; !slices.Contains(ruleFields, key.Value) {
			return fmt.Errorf("line %d: a rule has no field %q, but %s", key.Line, key.Value, strings.Join(ruleFields, ", "))
		}
	}
	return nil
}

// ruleFields are those of fileRule: a Node's own Decode forgets that the decoder was told to know them.
var ruleFields = []string{"hostname", "service", "connect_timeout", "keepalive", "proxy_protocol", "access", "audiences"}

// ParseRules reads a file of rules and reports every fault with its rule and line. The first rule that names a hostname serves it;
// a rule behind one that covers it is a fault, so that a longer match never comes too late. The last rule has no hostname.
func ParseRules(data []byte) (*Rules, error) {
	if len(data) > maxRulesFile {
		return nil, fmt.Errorf("the file has %d bytes, at most %d are taken", len(data), maxRulesFile)
	}
	var f rulesFile
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n := len(f.Ingress); n > maxRules {
		return nil, fmt.Errorf("%d ingress rules, at most %d are taken", n, maxRules)
	}
	in := &ingress{exact: make(map[string]service), wildcard: make(map[string]service)}
	var faults []error
	verify, err := f.Access.verifier()
	if err != nil {
		faults = append(faults, err)
	}
	in.verify, in.pinned = verify, len(verify.keys) > 0
	for i := range f.Ingress {
		if err := in.addLine(&f.Ingress[i], i == len(f.Ingress)-1); err != nil {
			faults = append(faults, fmt.Errorf("rule %d, line %d: %w", i+1, f.Ingress[i].line, err))
		}
	}
	if len(f.Ingress) == 0 {
		faults = append(faults, errors.New("the file has no ingress rules; the least is one: - service: refuse"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return &Rules{in}, nil
}

// verifier decodes the keys.
func (a *fileAccess) verifier() (verifier, error) {
	var keys []*tunnelpb.Key
	for id, text := range a.Keys {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return verifier{}, fmt.Errorf("access: key %q is not base64", id)
		}
		keys = append(keys, &tunnelpb.Key{Id: id, Ed25519: key})
	}
	if len(keys) > 0 && a.Issuer == "" {
		return verifier{}, errors.New("access: keys without an issuer")
	}
	v, err := newVerifier(a.Issuer, keys)
	if err != nil {
		return v, fmt.Errorf("access: %w", err)
	}
	return v, nil
}

// addLine takes one rule of a file.
func (in *ingress) addLine(r *fileRule, last bool) error {
	if last && r.Hostname == "" {
		if r.Service == refuseService {
			return nil
		}
		rule, err := r.rule()
		if err != nil {
			return err
		}
		s, err := serviceOf(rule)
		if err != nil {
			return err
		}
		in.rest = &s
		return nil
	}
	switch {
	case r.Hostname == "":
		return errors.New("a rule without a hostname takes every stream: it must be the last")
	case r.Service == refuseService:
		return errors.New("only the last rule, without a hostname, may refuse")
	case last:
		return errors.New("the last rule must be one without a hostname, such as: - service: refuse")
	}
	if by, ok := in.covering(canonical(r.Hostname)); ok {
		return fmt.Errorf("hostname %q is never served by this rule: %q before it covers it", r.Hostname, by)
	}
	rule, err := r.rule()
	if err != nil {
		return err
	}
	return in.add(rule)
}

// covering returns the wildcard that covers host already.
func (in *ingress) covering(host string) (string, bool) {
	host = strings.TrimPrefix(host, "*")
	for {
		dot := strings.IndexByte(host[min(1, len(host)):], '.')
		if dot < 0 {
			return "", false
		}
		host = host[1+dot:]
		if _, ok := in.wildcard[host]; ok {
			return "*" + host, true
		}
	}
}

// rule is r as control would send it.
func (r *fileRule) rule() (*tunnelpb.IngressRule, error) {
	rule := &tunnelpb.IngressRule{Hostname: r.Hostname, Service: r.Service, Audiences: r.Audiences}
	for _, t := range []struct {
		name, text string
		into       *uint64
	}{{"connect_timeout", r.ConnectTimeout, &rule.ConnectTimeoutMs}, {"keepalive", r.KeepAlive, &rule.KeepAliveMs}} {
		if t.text == "" {
			continue
		}
		d, err := time.ParseDuration(t.text)
		if err != nil || d < time.Millisecond {
			return nil, fmt.Errorf("%s %q: want a time such as 5s", t.name, t.text)
		}
		*t.into = uint64(d.Milliseconds())
	}
	switch r.ProxyProtocol {
	case "":
	case "v2":
		rule.ProxyProtocol = 2
	default:
		return nil, fmt.Errorf("proxy_protocol %q: want v2", r.ProxyProtocol)
	}
	switch r.Access {
	case "":
		if len(r.Audiences) > 0 {
			return nil, errors.New("audiences without access: required")
		}
	case "required":
		rule.AccessRequired = true
	default:
		return nil, fmt.Errorf("access %q: want required", r.Access)
	}
	return rule, nil
}

// SetRules puts rules of a file in force, instead of those that relays send, also before Run. Streams that are open go on.
func (c *Connector) SetRules(r *Rules) {
	c.configuring.Lock()
	defer c.configuring.Unlock()
	next := *r.in
	next.version = c.ingress.Load().version + 1
	c.local = true
	if !next.pinned {
		next.verify = c.told
	}
	c.ingress.Store(&next)
	c.metrics.config.Set(float64(next.version))
	c.log.Info("ingress of the file is in force", "version", next.version, "rules", len(next.exact)+len(next.wildcard))
}
