package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

const (
	// codeConflict is the API's code for "changed by somebody else at the same time" (control/api/API.md).
	codeConflict = 1004
	// routeAttempts is how often a change of ingress is tried against others who change it at the same time.
	routeAttempts = 5
)

func (a *app) tunnelCommand() *cobra.Command {
	return a.clientCommand(groupCommand("tunnel", "Make tunnels into private networks, and route hostnames through them",
		`  sluice tunnel create vpc-1
  sluice tunnel route vpc-1 db.internal.example tcp://10.0.0.5:5432
  sluice tunnel token vpc-1 > vpc-1.token`,
		a.tunnelCreateCommand(), a.tunnelListCommand(), a.tunnelGetCommand(), a.tunnelRenameCommand(), a.tunnelDeleteCommand(),
		a.tunnelTokenCommand(), a.tunnelRotateCommand(), a.tunnelRouteCommand(), a.tunnelUnrouteCommand(),
		a.tunnelConnectionsCommand(), a.tunnelCleanupCommand()))
}

func (a *app) tunnelCreateCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a tunnel",
		Example: "  sluice tunnel create vpc-1",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			tunnel, err := c.CreateTunnel(ctx, v4.TunnelCreate{Name: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(tunnel)
			}
			fmt.Fprintf(a.out, "Tunnel %s made, id %s.\n", tunnel.Name, tunnel.ID)
			fmt.Fprintf(a.out, "\nNext, save its token and start a connector with it in the private network:\n\n  sluice tunnel token %s > %s.token\n  sluice-connector run --token-file %s.token\n",
				tunnel.Name, tunnel.Name, tunnel.Name)
			return nil
		}),
	}
}

func (a *app) tunnelListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List tunnels",
		Example: "  sluice tunnel list\n  sluice tunnel list --json",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			tunnels, err := c.Tunnels(ctx, "")
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(tunnels)
			}
			var rows [][]string
			for _, t := range tunnels {
				rows = append(rows, []string{t.Name, t.ID, t.Status, strconv.Itoa(len(t.Connections)), strconv.Itoa(t.Hostnames), when(t.CreatedAt)})
			}
			return a.printTable([]string{"NAME", "ID", "STATUS", "CONNECTIONS", "HOSTNAMES", "CREATED"}, rows)
		}),
	}
}

func (a *app) tunnelGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "get NAME|ID",
		Aliases: []string{"info"},
		Short:   "Show a tunnel, the hostnames that lead through it, and the connectors that are connected",
		Example: "  sluice tunnel get vpc-1",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			tunnel, err := findTunnel(ctx, c, args[0])
			if err != nil {
				return err
			}
			configuration, err := c.TunnelConfiguration(ctx, tunnel.ID)
			if err != nil {
				return err
			}
			connectors, err := c.Connectors(ctx, tunnel.ID)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					v4.Tunnel
					Configuration v4.TunnelConfiguration `json:"configuration"`
					Connectors    []v4.Connector         `json:"connectors"`
				}{tunnel, configuration, connectors})
			}
			if err := a.printFields([][2]string{
				{"name", tunnel.Name}, {"id", tunnel.ID}, {"created", when(tunnel.CreatedAt)}, {"status", describeStatus(tunnel)},
				{"configuration", "version " + strconv.FormatInt(configuration.Version, 10)},
				{"token", "version " + strconv.Itoa(tunnel.TokenVersion)},
			}); err != nil {
				return err
			}
			fmt.Fprintln(a.out)
			if err := a.printIngress(configuration); err != nil {
				return err
			}
			fmt.Fprintln(a.out)
			return a.printConnectors(connectors)
		}),
	}
}

func routed(configuration v4.TunnelConfiguration) []v4.IngressRule {
	return slices.DeleteFunc(slices.Clone(configuration.Config.Ingress), func(rule v4.IngressRule) bool { return rule.Hostname == "" })
}

// printDeleted confirms a delete.
func (a *app) printDeleted(noun, name, id string) error {
	if a.json {
		return a.printJSON(map[string]string{"id": id, "name": name})
	}
	_, err := fmt.Fprintf(a.out, "%s %s deleted.\n", noun, printable(name))
	return err
}

func (a *app) tunnelTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "token NAME|ID",
		Short: "Print the token, a secret, that a tunnel's connectors are started with",
		Example: `  sluice tunnel token vpc-1 > vpc-1.token
  sluice-connector run --token-file vpc-1.token`,
		Args: exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			tunnel, err := findTunnel(ctx, c, args[0])
			if err != nil {
				return err
			}
			token, err := c.TunnelToken(ctx, tunnel.ID)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"id": tunnel.ID, "token": token})
			}
			_, err = fmt.Fprintln(a.out, token)
			return err
		}),
	}
}

func (a *app) tunnelUnrouteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "unroute NAME HOSTNAME",
		Short:   "Stop leading a hostname through a tunnel",
		Example: "  sluice tunnel unroute vpc-1 db.internal.example",
		Args:    exactArgs("NAME", "HOSTNAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			hostname := strings.ToLower(args[1])
			return a.changeIngress(ctx, c, args[0], func(rules []v4.IngressRule) ([]v4.IngressRule, error) {
				kept := slices.DeleteFunc(rules, func(rule v4.IngressRule) bool { return rule.Hostname == hostname })
				if len(kept) == len(rules) {
					return nil, fmt.Errorf("tunnel %s has no hostname %q; 'sluice tunnel get %s' shows those that it has", args[0], hostname, args[0])
				}
				return kept, nil
			})
		}),
	}
}

// changeIngress changes a tunnel's rules, again if somebody else changed them meanwhile, and shows the outcome.
func (a *app) changeIngress(ctx context.Context, c *apiclient.Client, name string, change func([]v4.IngressRule) ([]v4.IngressRule, error)) error {
	tunnel, err := findTunnel(ctx, c, name)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		configuration, err := c.TunnelConfiguration(ctx, tunnel.ID)
		if err != nil {
			return err
		}
		rules, err := change(routed(configuration))
		if err != nil {
			return err
		}
		updated, err := c.UpdateTunnelConfiguration(ctx, tunnel.ID, v4.TunnelConfigurationUpdate{
			Config: &v4.TunnelIngress{Ingress: rules}, Version: &configuration.Version,
		})
		var refused *apiclient.Error
		if errors.As(err, &refused) && refused.HasCode(codeConflict) && attempt < routeAttempts {
			continue
		}
		if err != nil {
			return ofRule(err, rules)
		}
		if a.json {
			return a.printJSON(updated)
		}
		return a.printIngress(updated)
	}
}

// ofRule names the rule that an error is about by its hostname: whoever routes one hostname has counted no rules.
func ofRule(err error, rules []v4.IngressRule) error {
	var refused *apiclient.Error
	if !errors.As(err, &refused) {
		return err
	}
	for i := range refused.Errors {
		message := &refused.Errors[i].Message
		rest, ok := strings.CutPrefix(*message, "ingress[")
		number, rest, closed := strings.Cut(rest, "]")
		n, wrong := strconv.Atoi(number)
		if !ok || !closed || wrong != nil || n < 0 || n >= len(rules) {
			continue
		}
		switch field, of := strings.CutPrefix(rest, "."); {
		case !of: // a sentence that names the hostname
			*message = strings.TrimPrefix(rest, ": ")
		case strings.HasPrefix(field, "service"):
			*message = fmt.Sprintf("%s (%q for %s)", field, rules[n].Service, rules[n].Hostname)
		default:
			*message = fmt.Sprintf("%s (%q)", field, rules[n].Hostname)
		}
	}
	return err
}
