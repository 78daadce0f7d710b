package connector

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// defaultSlots is how many sessions a connector keeps (docs/behaviours.md, Tunnel04).
	defaultSlots = 4
	// maxSlots bounds them: a relay admits a bounded number for each tunnel.
	maxSlots = 16
	// defaultGrace is how long streams may go on after a stop was asked for; cloudflared's --grace-period has the same.
	defaultGrace = 30 * time.Second
	// reportEvery spaces out the reports of a permanent refusal (docs/behaviours.md, Tunnel07).
	reportEvery = time.Minute
)

// Config says which tunnel a connector serves, and how. Only Token is required.
type Config struct {
	Token    tunnel.Token
	Relays   []string        // host:port of each relay, instead of the token's
	Protocol client.Protocol // client.Auto unless set
	Slots    int             // sessions with relays, 1 to 16; 4 unless set
	Grace    time.Duration   // how long streams may go on when Run is asked to stop; 30 s unless set
	Version  string          // of this software, for people
	Logger   *slog.Logger    // slog.Default unless set
}

// Connector serves one tunnel from inside a private network. Make one with New; Run it once.
type Connector struct {
	cfg     Config
	token   atomic.Pointer[credential]
	id      string
	better  func() time.Duration // client.BetterAfter, but for tests
	log     *slog.Logger
	metrics metrics

	relays  client.Relays
	current []atomic.Pointer[link] // by slot
	crowd   sync.Mutex             // serialises what is said and done about slots that meet in one relay
	crowdIn string                 // the relay for which it was said last

	configuring sync.Mutex // serialises changes of ingress, and guards the two below
	local       bool       // the rules are a file's
	told        verifier   // what relays sign with, as they say
	ingress     atomic.Pointer[ingress]

	reportMu sync.Mutex
	reported time.Time // when a permanent refusal was last reported
}

// New checks cfg wholly, and returns every fault.
func New(cfg Config) (*Connector, error) {
	if len(cfg.Relays) == 0 {
		cfg.Relays = cfg.Token.Relays
	}
	if cfg.Slots == 0 {
		cfg.Slots = defaultSlots
	}
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	var faults []error
	if cfg.Token.Tunnel == "" || cfg.Token.Secret == "" {
		faults = append(faults, errors.New("the tunnel token is empty"))
	}
	if len(cfg.Relays) == 0 {
		faults = append(faults, errors.New("neither the token nor --relay names a relay"))
	}
	for _, addr := range cfg.Relays {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			faults = append(faults, fmt.Errorf("relay %q: want host:port", addr))
		}
	}
	if cfg.Slots < 1 || cfg.Slots > maxSlots {
		faults = append(faults, fmt.Errorf("%d slots: want 1 to %d", cfg.Slots, maxSlots))
	}
	if cfg.Grace < 0 {
		faults = append(faults, errors.New("the grace period is negative"))
	}
	token, err := newCredential(cfg.Token)
	if err != nil {
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	id := make([]byte, 16) // 128 bits, as a UUID
	rand.Read(id)          // never fails: crypto/rand ends the process first
	c := &Connector{
		cfg:     cfg,
		better:  client.BetterAfter,
		id:      hex.EncodeToString(id),
		metrics: newMetrics(),
	}
	c.token.Store(token)
	c.relays.Configured = cfg.Relays
	c.current = make([]atomic.Pointer[link], cfg.Slots)
	c.log = cfg.Logger.With("tunnel", cfg.Token.Tunnel, "connector", c.id)
	c.ingress.Store(&ingress{})
	return c, nil
}

// credential is a token, ready for use. It is immutable.
type credential struct {
	tunnel, secret string
	tls            *tls.Config
}

// newCredential checks a token's parts. The authority that it names counts, or the system's.
func newCredential(t tunnel.Token) (*credential, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if t.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, errors.New("the token's certificate authority is not PEM")
		}
	}
	return &credential{tunnel: t.Tunnel, secret: t.Secret, tls: conf}, nil
}

// SetToken makes the next registrations use another token of the same tunnel, as after a rotation of its secret. Sessions that are
// up stay up. The relays stay those that the connector was made with.
func (c *Connector) SetToken(t tunnel.Token) error {
	next, err := newCredential(t)
	switch {
	case err != nil:
		return err
	case t.Secret == "" || t.Tunnel != c.cfg.Token.Tunnel:
		return fmt.Errorf("the token is of tunnel %s, and this connector serves %s: start it anew", t.Tunnel, c.cfg.Token.Tunnel)
	}
	c.token.Store(next)
	return nil
}

// Run serves until ctx ends. Then it takes no more streams, waits for those that are open at most for Grace, and returns nil;
// without streams it returns at once. Nothing that a relay says or does not say ends it.
func (c *Connector) Run(ctx context.Context) error {
	c.log.Info("connector starts", "relays", c.cfg.Relays, "slots", c.cfg.Slots)
	var slots sync.WaitGroup
	for i := range c.cfg.Slots {
		s := &slot{c: c, index: i, relay: i, log: c.log.With("slot", i)}
		slots.Go(func() { s.run(ctx) })
	}
	slots.Wait()
	c.log.Info("connector stopped")
	return nil
}

// freshness is how old the last passed probe of a ready connector's best slot may be (docs/behaviours.md, Tunnel40).
const freshness = 15 * time.Second

// Ready reports whether a slot has passed a probe through its relay within the last 15 seconds.
func (c *Connector) Ready() bool {
	_, healthy := c.count(time.Now())
	return healthy > 0
}

// count returns how many slots have a session, and how many of those have passed a probe lately.
func (c *Connector) count(now time.Time) (registered, healthy int) {
	for i := range c.current {
		l := c.current[i].Load()
		if l == nil {
			continue
		}
		registered++
		if at, _ := l.session.Answered(); now.Sub(at) <= freshness {
			healthy++
		}
	}
	return registered, healthy
}

// configure takes the rules of a relay, if they are newer than those in force.
func (c *Connector) configure(_ context.Context, msg *tunnelpb.Configure) *tunnelpb.Configured {
	c.configuring.Lock()
	defer c.configuring.Unlock()
	now := c.ingress.Load()
	if c.local {
		// The rules of the file stay, whatever a relay wants. Unless the file pins keys, those of the relay count.
		verify, err := newVerifier(msg.GetIssuer(), msg.GetKeys())
		if err != nil {
			return &tunnelpb.Configured{Version: now.version, Error: err.Error()}
		}
		if !now.pinned {
			next := *now
			next.verify = verify
			c.ingress.Store(&next)
		} else if !equalKeys(verify, c.told) && !covers(now.verify, verify) {
			c.log.Warn("relays have a key to sign with that the file does not pin; streams that need it will be refused",
				"keys", slices.Sorted(maps.Keys(verify.keys)), "mend", "see: sluice control signing-keys, and pin them in the file")
		}
		c.told = verify
		return &tunnelpb.Configured{Version: msg.GetVersion()}
	}
	if msg.GetVersion() <= now.version {
		// Keys rotate without a new version, and also after a restore of the relays' state from before this one.
		verify, err := newVerifier(msg.GetIssuer(), msg.GetKeys())
		if err == nil && len(verify.keys) > 0 && !equalKeys(verify, now.verify) {
			next := *now
			next.verify = verify
			c.ingress.Store(&next)
		}
		return &tunnelpb.Configured{Version: now.version}
	}
	next, err := parseIngress(msg)
	if err != nil {
		c.log.Error("the relay sent an ingress that is not valid; the previous one stays", "version", msg.GetVersion(), "err", err)
		return &tunnelpb.Configured{Version: now.version, Error: err.Error()}
	}
	c.ingress.Store(next)
	c.metrics.config.Set(float64(next.version))
	c.log.Info("ingress is in force", "version", next.version, "rules", len(msg.GetIngress()))
	return &tunnelpb.Configured{Version: next.version}
}

// mayReport spaces out the reports of a permanent refusal over all slots.
func (c *Connector) mayReport(now time.Time) bool {
	c.reportMu.Lock()
	defer c.reportMu.Unlock()
	if !c.reported.IsZero() && now.Sub(c.reported) < reportEvery {
		return false
	}
	c.reported = now
	return true
}
