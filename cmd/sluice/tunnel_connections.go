package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// describeStatus says what a tunnel's status means for people.
func describeStatus(t v4.Tunnel) string {
	switch {
	case t.ConnsActiveAt != nil:
		return fmt.Sprintf("%s, %d connections since %s", t.Status, len(t.Connections), when(*t.ConnsActiveAt))
	case t.ConnsInactiveAt != nil:
		return fmt.Sprintf("%s: no connector is connected, the last one was about %s", t.Status, when(*t.ConnsInactiveAt))
	}
	return t.Status + ": no connector was ever connected"
}

// printConnectors shows one row for each connection.
func (a *app) printConnectors(connectors []v4.Connector) error {
	var rows [][]string
	for _, c := range connectors {
		for _, conn := range c.Conns {
			rows = append(rows, []string{c.ID, c.Version, strconv.FormatUint(uint64(conn.Slot), 10), conn.Protocol, conn.ColoName, conn.OriginIP,
				when(conn.OpenedAt), strconv.Itoa(conn.Streams), strconv.FormatInt(conn.ConfigVersion, 10)})
		}
	}
	return a.printTable([]string{"CONNECTOR", "VERSION", "SLOT", "PROTOCOL", "RELAY", "FROM", "SINCE", "STREAMS", "CONFIG"}, rows)
}

func (a *app) tunnelConnectionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "connections NAME|ID",
		Short: "List the connectors of a tunnel that are connected, with each of their connections",
		Long: `List the connectors of a tunnel that are connected, with each of their connections to relays. A relay that dies
without a word is gone from the list within six seconds.`,
		Example: "  sluice tunnel connections vpc-1\n  sluice tunnel connections vpc-1 --json",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			tunnel, err := findTunnel(ctx, c, args[0])
			if err != nil {
				return err
			}
			connectors, err := c.Connectors(ctx, tunnel.ID)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(connectors)
			}
			return a.printConnectors(connectors)
		}),
	}
}

func (a *app) tunnelCleanupCommand() *cobra.Command {
	var connector string
	cmd := &cobra.Command{
		Use:   "cleanup NAME|ID",
		Short: "End the connections of a tunnel's connectors; those that run come back",
		Long: `End the connections of a tunnel's connectors, or of one of them. Their streams are cut. Connectors that run, and whose
token is still good, connect again at once: to keep them out, rotate the token.`,
		Example: `  sluice tunnel cleanup vpc-1
  sluice tunnel cleanup vpc-1 --connector-id 3f2a9c10d4`,
		Args: exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			tunnel, err := findTunnel(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := c.Disconnect(ctx, tunnel.ID, connector); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"id": tunnel.ID, "connector_id": connector})
			}
			whose := "its connectors"
			if connector != "" {
				whose = "connector " + connector
			}
			_, err = fmt.Fprintf(a.out, "Every relay was told to end the connections of %s to tunnel %s.\n", printable(whose), printable(tunnel.Name))
			return err
		}),
	}
	cmd.Flags().StringVar(&connector, "connector-id", "", "only this connector, by the id that 'sluice tunnel connections' shows")
	return cmd
}

func (a *app) tunnelRenameCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rename NAME|ID NEW-NAME",
		Short:   "Give a tunnel another name; its token and hostnames stay",
		Example: "  sluice tunnel rename vpc-1 frankfurt",
		Args:    exactArgs("NAME", "NEW-NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			tunnel, err := findTunnel(ctx, c, args[0])
			if err != nil {
				return err
			}
			renamed, err := c.UpdateTunnel(ctx, tunnel.ID, v4.TunnelUpdate{Name: &args[1]})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(renamed)
			}
			_, err = fmt.Fprintf(a.out, "Tunnel %s is now %s.\n", printable(tunnel.Name), printable(renamed.Name))
			return err
		}),
	}
}

func (a *app) tunnelRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-token NAME|ID",
		Short: "Give a tunnel another token, print it, and disconnect every connector that has the old one",
		Long: `Give a tunnel another token, a secret, and print it. Relays end the connections of connectors that came with the old
one within a second; they stay out until they are started with the new one.`,
		Example: `  sluice tunnel rotate-token vpc-1 > vpc-1.token
  sluice-connector run --token-file vpc-1.token`,
		Args: exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			tunnel, err := findTunnel(ctx, c, args[0])
			if err != nil {
				return err
			}
			token, err := c.RotateTunnelToken(ctx, tunnel.ID)
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
