package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// answerMax bounds the line that answers a question, in bytes: a name, with room.
const answerMax = 1 << 10

func (a *app) tunnelDeleteCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "delete NAME|ID",
		Short: "Delete a tunnel with its hostnames; its connectors can no longer register",
		Long: `Delete a tunnel with its hostnames; its connectors can no longer register. Where databases are reached through it they
are named, and it is asked for the tunnel's name first: no driver reaches them afterwards. Without a terminal --force is needed.`,
		Example: "  sluice tunnel delete vpc-1\n  sluice tunnel delete vpc-1 --force",
		Args:    exactArgs("NAME"),
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete it even if databases are reached through it")
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
		tunnel, err := findTunnel(ctx, c, args[0])
		if err != nil {
			return err
		}
		if !force {
			databases, err := reachedThrough(ctx, c, tunnel)
			if err != nil {
				return err
			}
			if err := a.confirmDelete(tunnel.Name, databases); err != nil {
				return err
			}
		}
		if err := c.DeleteTunnel(ctx, tunnel.ID); err != nil {
			return err
		}
		return a.printDeleted("Tunnel", tunnel.Name, tunnel.ID)
	})
	return cmd
}

// reachedThrough returns the names of the databases whose origin is one of a tunnel's hostnames.
func reachedThrough(ctx context.Context, c *apiclient.Client, tunnel v4.Tunnel) ([]string, error) {
	configuration, err := c.TunnelConfiguration(ctx, tunnel.ID)
	if err != nil {
		return nil, err
	}
	databases, err := c.Databases(ctx, "")
	if err != nil {
		return nil, err
	}
	rules := routed(configuration)
	var names []string
	for _, database := range databases {
		leads := func(rule v4.IngressRule) bool { return covers(rule.Hostname, strings.ToLower(database.Origin.Host)) }
		if database.Origin.AccessClientID != "" && slices.ContainsFunc(rules, leads) {
			names = append(names, printable(database.Name))
		}
	}
	return names, nil
}

// covers reports whether a rule's hostname is host, or a wildcard above it.
func covers(rule, host string) bool {
	below, wild := strings.CutPrefix(rule, "*")
	return rule == host || wild && strings.HasSuffix(host, below)
}

// confirmDelete asks whether a tunnel is to be deleted that databases are reached through.
func (a *app) confirmDelete(tunnel string, databases []string) error {
	if len(databases) == 0 {
		return nil
	}
	what := fmt.Sprintf("tunnel %s is how these databases are reached: %s", printable(tunnel), strings.Join(databases, ", "))
	if a.readPassword == nil { // no terminal
		return fmt.Errorf("%s; no driver reaches them without it, and --force deletes it all the same", what)
	}
	fmt.Fprintf(a.err, "T%s.\nNo driver reaches them without it. The tunnel's name deletes it: ", strings.TrimPrefix(what, "t"))
	answer, err := bufio.NewReader(io.LimitReader(a.in, answerMax)).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(answer) != tunnel {
		return fmt.Errorf("tunnel %s is not deleted", printable(tunnel))
	}
	return nil
}
