package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// routeFlags are the options of a rule.
type routeFlags struct {
	connectTimeout, keepAlive time.Duration
	proxyProtocol             string
	requireAccess             []string // applications
}

func (a *app) tunnelRouteCommand() *cobra.Command {
	var f routeFlags
	cmd := &cobra.Command{
		Use:   "route NAME HOSTNAME SERVICE",
		Short: "Lead a hostname through a tunnel to a service in the private network",
		Long: `Lead a hostname through a tunnel to a service in the private network: tcp://HOST:PORT, as the connector
reaches it, or unix:/PATH. The hostname need not exist in the DNS. A hostname that is routed already
gets the new service, and keeps the options that are not given. Nobody reaches it until an application
with a policy admits them.`,
		Example: `  sluice tunnel route vpc-1 db.internal.example tcp://10.0.0.5:5432
  sluice tunnel route vpc-1 local.internal.example unix:/run/postgresql/.s.PGSQL.5432
  sluice tunnel route vpc-1 db.internal.example tcp://10.0.0.5:5432 --connect-timeout 3s --require-access db`,
		Args: exactArgs("NAME", "HOSTNAME", "SERVICE"),
	}
	flags := cmd.Flags()
	flags.DurationVar(&f.connectTimeout, "connect-timeout", 0, "how long the service has to accept, in whole seconds, at most 1m; 0 for the connector's 10s")
	flags.DurationVar(&f.keepAlive, "keepalive", 0, "how long a TCP connection to the service is idle when it is probed, in whole seconds, 10s at most; 0 for the connector's 10s")
	flags.StringVar(&f.proxyProtocol, "proxy-protocol", "", `v2 to tell the service with a PROXY header who connects; "" for none`)
	flags.StringSliceVar(&f.requireAccess, "require-access", nil, `application by whose policies a stream must be admitted, as the connector checks for itself (repeatable); "" for none`)
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
		hostname, service := strings.ToLower(args[1]), args[2]
		options, err := f.options(ctx, c, flags)
		if err != nil {
			return err
		}
		return a.changeIngress(ctx, c, args[0], func(rules []v4.IngressRule) ([]v4.IngressRule, error) {
			i := slices.IndexFunc(rules, func(rule v4.IngressRule) bool { return rule.Hostname == hostname })
			if i < 0 {
				i, rules = len(rules), append(rules, v4.IngressRule{Hostname: hostname})
			}
			rules[i].Service = service
			options(&rules[i])
			return rules, nil
		})
	})
	return cmd
}

// options is what the flags that were given change of a rule.
func (f *routeFlags) options(ctx context.Context, c *apiclient.Client, given *pflag.FlagSet) (func(*v4.IngressRule), error) {
	seconds := func(flag string, d time.Duration) (int, error) {
		if d%time.Second != 0 {
			return 0, usagef("--%s %v: want whole seconds", flag, d)
		}
		return int(d / time.Second), nil
	}
	connect, err := seconds("connect-timeout", f.connectTimeout)
	if err != nil {
		return nil, err
	}
	keepAlive, err := seconds("keepalive", f.keepAlive)
	if err != nil {
		return nil, err
	}
	var access *v4.OriginAccess
	for _, name := range f.requireAccess {
		app, err := findApplication(ctx, c, name)
		if err != nil {
			return nil, err
		}
		if access == nil {
			access = &v4.OriginAccess{Required: true}
		}
		access.AudTag = append(access.AudTag, app.AUD)
	}
	return func(rule *v4.IngressRule) {
		var options v4.OriginRequest
		if rule.OriginRequest != nil {
			options = *rule.OriginRequest
		}
		for flag, set := range map[string]func(){
			"connect-timeout": func() { options.ConnectTimeout = connect },
			"keepalive":       func() { options.TCPKeepAlive = keepAlive },
			"proxy-protocol":  func() { options.ProxyProtocol = f.proxyProtocol },
			"require-access":  func() { options.Access = access },
		} {
			if given.Changed(flag) {
				set()
			}
		}
		rule.OriginRequest = &options
	}, nil
}

// printIngress shows the rules with a hostname; the last one, which has none, says nothing.
func (a *app) printIngress(configuration v4.TunnelConfiguration) error {
	var rows [][]string
	header := []string{"HOSTNAME", "SERVICE"}
	for _, rule := range routed(configuration) {
		if rule.OriginRequest != nil {
			header = []string{"HOSTNAME", "SERVICE", "OPTIONS"}
		}
	}
	for _, rule := range routed(configuration) {
		rows = append(rows, []string{rule.Hostname, rule.Service, describeOptions(rule.OriginRequest)}[:len(header)])
	}
	return a.printTable(header, rows)
}

// describeOptions shows what a rule's options are, but for those that are the connector's defaults.
func describeOptions(o *v4.OriginRequest) string {
	if o == nil {
		return ""
	}
	var list []string
	if o.ConnectTimeout > 0 {
		list = append(list, fmt.Sprintf("connect timeout %d s", o.ConnectTimeout))
	}
	if o.TCPKeepAlive > 0 {
		list = append(list, fmt.Sprintf("keepalive %d s", o.TCPKeepAlive))
	}
	if o.ProxyProtocol != "" {
		list = append(list, "PROXY protocol "+o.ProxyProtocol)
	}
	if o.Access != nil && o.Access.Required {
		list = append(list, "access required: "+strings.Join(o.Access.AudTag, " "))
	}
	return strings.Join(list, ", ")
}
