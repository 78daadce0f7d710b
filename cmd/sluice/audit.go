package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// auditPage is the most records that the API gives at once.
const auditPage = 100

func (a *app) auditCommand() *cobra.Command {
	return a.clientCommand(groupCommand("audit", "See who changed what, and whom access admitted or refused",
		"  sluice audit list --outcome denied", a.auditListCommand()))
}

func (a *app) auditListCommand() *cobra.Command {
	var (
		actor, action, target, outcome string
		since                          time.Duration
		limit                          int
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List audit records, newest first",
		Example: `  sluice audit list
  sluice audit list --outcome denied --since 1h
  sluice audit list --action access.decide --target db.internal.example --json`,
		Args: exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			if limit < 1 || limit > 1000 {
				return usagef("--limit must be from 1 to 1000")
			}
			query := url.Values{}
			for name, value := range map[string]string{"actor": actor, "action": action, "target": target, "outcome": outcome} {
				if value != "" {
					query.Set(name, value)
				}
			}
			if since > 0 {
				query.Set("since", time.Now().Add(-since).UTC().Format(time.RFC3339))
			}
			records, err := auditRecords(ctx, c, query, limit)
			if err != nil {
				return err
			}
			return a.printAudit(records)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&actor, "actor", "", "only of this actor: the id of an API token or tunnel, or a client id")
	flags.StringVar(&action, "action", "", "only this action, such as access.decide or tunnel.create")
	flags.StringVar(&target, "target", "", "only on this target: a hostname, name or id")
	flags.StringVar(&outcome, "outcome", "", "only this outcome: ok, error, allowed, denied or unauthenticated")
	flags.DurationVar(&since, "since", 0, "only the last while, such as 1h; 0 for all that is kept")
	flags.IntVar(&limit, "limit", 100, "most records to list, up to 1000")
	return cmd
}

func auditRecords(ctx context.Context, c *apiclient.Client, query url.Values, limit int) ([]v4.AuditRecord, error) {
	records := []v4.AuditRecord{}
	query.Set("per_page", strconv.Itoa(auditPage))
	for page := 1; len(records) < limit; page++ {
		query.Set("page", strconv.Itoa(page))
		part, info, err := c.AuditRecords(ctx, query)
		if err != nil {
			return nil, err
		}
		records = append(records, part...)
		if info == nil || page >= info.TotalPages {
			break
		}
	}
	return records[:min(limit, len(records))], nil
}

func (a *app) printAudit(records []v4.AuditRecord) error {
	if a.json {
		return a.printJSON(records)
	}
	var rows [][]string
	for _, r := range records {
		rows = append(rows, []string{when(r.When), r.Outcome, r.Action, r.Target, r.Actor, r.Remote, r.Reason})
	}
	return a.printTable([]string{"WHEN", "OUTCOME", "ACTION", "TARGET", "ACTOR", "REMOTE", "REASON"}, rows)
}

func (a *app) caCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "ca",
		Short: "Print the CA certificate that drivers verify the proxy with",
		Long: `Print the CA certificate, in PEM, that drivers verify the proxy with (sslrootcert). The connection to the
server is verified as that of every command, with --ca-file.`,
		Example: "  sluice ca > ca.pem",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := a.target()
			if err != nil {
				return err
			}
			client, err := newClient(target)
			if err != nil {
				return err
			}
			defer client.Close()
			pem, err := client.CA(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"ca": string(pem)})
			}
			_, err = fmt.Fprint(a.out, string(pem))
			return err
		},
	})
}
