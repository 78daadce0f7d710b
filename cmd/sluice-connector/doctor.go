package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// The exit codes of doctor: that of the first check that failed, in this order.
const (
	exitDNS         = 10
	exitTCP         = 11
	exitUDP         = 12
	exitCertificate = 13
	exitClock       = 14
	exitOrigin      = 15
)

const (
	// checkTimeout bounds one check: a handshake has 5 s at a relay, and a name server about as much.
	checkTimeout = 8 * time.Second
	// maxSkew is the difference of clocks that assertions and certificates bear (docs/behaviours.md, Tunnel44).
	maxSkew = 60 * time.Second
	// wantBuffer is what quic-go asks of the kernel for a socket, in bytes; Linux reports twice of what it grants.
	wantBuffer = 7 << 20
)

// finding is the outcome of one check.
type finding struct {
	Check  string `json:"check"`
	Target string `json:"target,omitempty"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Mend   string `json:"mend,omitempty"` // when it is not, or not quite, as it should be

	exit int // exit code when it is not OK
}

// patient is what is examined.
type patient struct {
	token  tunnel.Token
	relays []string
	rules  string // file; "" asks the connector that runs
	admin  string // of the connector that runs
}

func (a *app) doctorCommand() *cobra.Command {
	var f runFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what a connector needs: names, network, certificate, clock, origins",
		Long: fmt.Sprintf(`doctor checks, from this machine and without registering: that each relay's name resolves, that UDP and TCP reach it, that its
certificate is good, that the clocks agree, how large the kernel lets UDP buffers be, and that each origin of the ingress accepts
connections. The ingress is that of --config, or of the connector that runs here. Each fault comes with a mend.

Exit codes, of the first check that failed: DNS %d, TCP %d, UDP %d, certificate %d, clock %d, origin %d.`,
			exitDNS, exitTCP, exitUDP, exitCertificate, exitClock, exitOrigin),
		Example: "  sluice-connector doctor --token-file vpc-1.token\n  sluice-connector doctor --token-file vpc-1.token --config rules.yaml --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.patient(cmd, &f)
			if err != nil {
				return err
			}
			found := p.examine(cmd.Context())
			if err := a.printFindings(found, asJSON); err != nil {
				return err
			}
			for _, one := range found {
				if !one.OK {
					return &exitCodeError{code: one.exit, err: fmt.Errorf("%s failed: %s", one.Check, one.Detail)}
				}
			}
			return nil
		},
	}
	a.patientFlags(cmd, &f)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// patientFlags are those of run that say what is examined.
func (a *app) patientFlags(cmd *cobra.Command, f *runFlags) {
	flags := cmd.Flags()
	flags.StringVar(&f.tokenFile, "token-file", "", "file with the tunnel token")
	flags.StringVar(&f.config, "config", "", "file with ingress rules; those of the connector that runs when absent")
	flags.StringSliceVar(&f.relays, "relay", nil, "host:port of a relay, instead of those in the token (repeatable)")
	flags.StringVar(&f.metrics, "metrics-listen", defaultAdmin, "where the connector that runs answers")
	for _, v := range variables {
		if flag := flags.Lookup(v[0]); flag != nil {
			flag.Usage += " (" + v[1] + ")"
		}
	}
}

func (a *app) patient(cmd *cobra.Command, f *runFlags) (*patient, error) {
	if err := a.setFromEnvironment(cmd); err != nil {
		return nil, err
	}
	log, err := a.logger(runFlags{logLevel: "warn", logFormat: "text"})
	if err != nil {
		return nil, err
	}
	token, err := a.token(f.tokenFile, log)
	if err != nil {
		return nil, err
	}
	p := &patient{token: token, relays: f.relays, rules: f.config, admin: f.metrics}
	if len(p.relays) == 0 {
		p.relays = token.Relays
	}
	return p, nil
}

func (a *app) printFindings(found []finding, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		return e.Encode(found)
	}
	for _, f := range found {
		mark := "ok  "
		if !f.OK {
			mark = "FAIL"
		} else if f.Mend != "" {
			mark = "warn"
		}
		if _, err := fmt.Fprintf(a.out, "%s  %-11s %s  %s\n", mark, f.Check, f.Target, f.Detail); err != nil {
			return err
		}
		if f.Mend != "" {
			if _, err := fmt.Fprintf(a.out, "      %s\n", f.Mend); err != nil {
				return err
			}
		}
	}
	return nil
}

// examine runs every check, one after the other.
func (p *patient) examine(ctx context.Context) []finding {
	var found []finding
	conf, err := p.tls()
	if err != nil {
		return []finding{{Check: "certificate", Detail: err.Error(), Mend: "take a new token: sluice tunnel token <tunnel>", exit: exitCertificate}}
	}
	for _, relay := range p.relays {
		name := p.checkName(ctx, relay)
		found = append(found, name)
		if !name.OK {
			continue
		}
		tcp := p.checkCarrier(ctx, relay, conf, tunnel.CarrierWebSocket)
		found = append(found, tcp, p.checkCarrier(ctx, relay, conf, tunnel.CarrierQUIC))
		if tcp.OK {
			found = append(found, p.checkClock(ctx, relay, conf))
		}
	}
	found = append(found, checkBuffers())
	return append(found, p.checkOrigins(ctx)...)
}

func (p *patient) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if p.token.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(p.token.CA)) {
			return nil, errors.New("the token's certificate authority is not PEM")
		}
	}
	return conf, nil
}

func (p *patient) checkName(ctx context.Context, relay string) finding {
	f := finding{Check: "dns", Target: relay, exit: exitDNS}
	host, _, err := net.SplitHostPort(relay)
	if err != nil {
		f.Detail, f.Mend = err.Error(), "give --relay host:port"
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		f.Detail, f.Mend = err.Error(), "mend DNS here, or give --relay with an address"
		return f
	}
	f.OK, f.Detail = true, strings.Join(addrs, ", ")
	return f
}

var errConnected = errors.New("connected")

// checkCarrier connects over one carrier and stops before the Hello: it registers nothing.
func (p *patient) checkCarrier(ctx context.Context, relay string, conf *tls.Config, carrier tunnel.Carrier) finding {
	f := finding{Check: "tcp", Target: relay, exit: exitTCP}
	if carrier == tunnel.CarrierQUIC {
		f.Check, f.exit = "udp", exitUDP
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	d := tunnel.Dialer{
		Addr: relay, Carrier: carrier, TLS: conf, Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR},
		Commit: func(context.Context) error { return errConnected },
	}
	start := time.Now()
	s, err := d.Dial(ctx)
	if err == nil {
		s.Close(0, "")
	}
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case err == nil, errors.Is(err, errConnected):
		f.OK, f.Detail = true, fmt.Sprintf("%s in %v", carrier, time.Since(start).Round(time.Millisecond))
	case errors.As(err, &authority), errors.As(err, &name), errors.As(err, &invalid), errors.As(err, &verification):
		f.Check, f.exit, f.Detail = "certificate", exitCertificate, err.Error()
		f.Mend = "the relay's certificate is not the token's: take a new token, or start the relay with --public-host for this name"
	case carrier == tunnel.CarrierQUIC:
		f.Detail, f.Mend = err.Error(), "let UDP out to this port; until then the connector uses WebSocket"
	default:
		f.Detail, f.Mend = err.Error(), "let TCP out to this port, or set HTTPS_PROXY"
	}
	return f
}

// checkClock compares with the Date of any answer of the relay.
func (p *patient) checkClock(ctx context.Context, relay string, conf *tls.Config) finding {
	f := finding{Check: "clock", Target: relay, OK: true, exit: exitClock}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+relay+"/", nil)
	if err != nil {
		f.Detail = "not checked: " + err.Error()
		return f
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf.Clone(), DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		f.Detail = "not checked: " + err.Error()
		return f
	}
	response.Body.Close()
	theirs, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		f.Detail = "not checked: the relay does not say its time"
		return f
	}
	skew := time.Since(theirs).Round(time.Second)
	f.Detail = fmt.Sprintf("%v apart", skew)
	if skew.Abs() > maxSkew {
		f.OK, f.Mend = false, "set this machine's clock (chrony, systemd-timesyncd)"
	}
	return f
}

// checkBuffers asks for the receive buffer that QUIC wants. A small one costs throughput, nothing else.
func checkBuffers() finding {
	f := finding{Check: "udp buffer", OK: true}
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		f.Detail = "not checked: " + err.Error()
		return f
	}
	defer c.Close()
	if err := c.SetReadBuffer(wantBuffer); err != nil {
		f.Detail = "not checked: " + err.Error()
		return f
	}
	got := tunnel.ReceiveBuffer(c)
	if runtime.GOOS == "linux" {
		got /= 2
	}
	f.Detail = fmt.Sprintf("%d KiB of %d KiB", got>>10, wantBuffer>>10)
	if got < wantBuffer {
		f.Mend = fmt.Sprintf("for throughput over QUIC: sysctl -w net.core.rmem_max=%d net.core.wmem_max=%d", wantBuffer, wantBuffer)
	}
	return f
}

// checkOrigins dials each service of the ingress.
func (p *patient) checkOrigins(ctx context.Context) []finding {
	services, err := p.services(ctx)
	if err != nil {
		return []finding{{Check: "origin", OK: true, Detail: "not checked: " + err.Error(), Mend: "give --config, or run doctor where the connector runs"}}
	}
	var found []finding
	for _, s := range services {
		f := finding{Check: "origin", Target: s.Hostname + " -> " + s.Service, exit: exitOrigin}
		start := time.Now()
		dialing, cancel := context.WithTimeout(ctx, checkTimeout)
		err := connector.CheckService(dialing, s.Service)
		cancel()
		if err == nil {
			f.OK, f.Detail = true, fmt.Sprintf("accepted in %v", time.Since(start).Round(time.Millisecond))
		} else {
			f.Detail, f.Mend = err.Error(), "is the database up, and does it listen where the rule says, for this machine?"
		}
		found = append(found, f)
	}
	return found
}

// services are those of the file, or of the connector that runs.
func (p *patient) services(ctx context.Context) ([]connector.RuleSummary, error) {
	if p.rules != "" {
		data, err := readBounded(p.rules)
		if err != nil {
			return nil, err
		}
		rules, err := connector.ParseRules(data)
		if err != nil {
			return nil, err
		}
		return rules.Summary(), nil
	}
	body, err := p.page(ctx, "/config")
	if err != nil {
		return nil, err
	}
	var config connector.ConfigSummary
	if err := json.Unmarshal(body, &config); err != nil {
		return nil, err
	}
	return config.Rules, nil
}
