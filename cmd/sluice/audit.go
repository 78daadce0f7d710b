package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

const (
	// auditPage is the most records that the API gives at once.
	auditPage = 100
	// auditMost is the most that one command lists.
	auditMost = 10_000
	// auditPoll is how often tail asks for more.
	auditPoll = time.Second
	// auditFail is how often in a row tail may fail, a restart of the server being some seconds of it.
	auditFail = 30
)

func (a *app) auditCommand() *cobra.Command {
	return a.clientCommand(groupCommand("audit", "See who changed what, and whom access admitted or refused",
		"  sluice audit list --outcome denied\n  sluice audit tail", a.auditListCommand(), a.auditTailCommand()))
}

// auditFlags select records.
type auditFlags struct {
	actor, action, target, outcome string
	since                          time.Duration
}

func (f *auditFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.actor, "actor", "", "only of this actor: the id of an API token or tunnel, or a client id")
	flags.StringVar(&f.action, "action", "", "only this action, such as access.decide or tunnel.create; 'tunnel.*' for all on tunnels")
	flags.StringVar(&f.target, "target", "", "only on this target: a hostname, name or id")
	flags.StringVar(&f.outcome, "outcome", "", "only this outcome: ok, error, allowed, denied or unauthenticated")
	flags.DurationVar(&f.since, "since", 0, "only the last while, such as 1h; 0 for all that is kept")
}

func (f *auditFlags) query() (url.Values, error) {
	query := url.Values{}
	for name, value := range map[string]string{"actor": f.actor, "action": f.action, "target": f.target, "outcome": f.outcome} {
		if value != "" {
			query.Set(name, value)
		}
	}
	switch outcomes := []string{"", "ok", "error", "allowed", "denied", "unauthenticated"}; {
	case f.since < 0:
		return nil, usagef("--since must not be negative")
	case !slices.Contains(outcomes, f.outcome):
		return nil, usagef("--outcome: %q is not ok, error, allowed, denied or unauthenticated", f.outcome)
	case f.since > 0:
		query.Set("since", time.Now().Add(-f.since).UTC().Format(time.RFC3339))
	}
	return query, nil
}

func (a *app) auditListCommand() *cobra.Command {
	var flags auditFlags
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List audit records, newest first",
		Long:  `List audit records, newest first. With --json each record of a change has what was there before and after.`,
		Example: `  sluice audit list
  sluice audit list --outcome denied --since 1h
  sluice audit list --action 'tunnel.*' --json
  sluice audit list --action access.decide --target db.internal.example --json`,
		Args: exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			if limit < 1 || limit > auditMost {
				return usagef("--limit must be from 1 to %d", auditMost)
			}
			query, err := flags.query()
			if err != nil {
				return err
			}
			records, err := auditRecords(ctx, c, query, limit)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(records)
			}
			return a.printTable(auditHeader, auditRows(records))
		}),
	}
	flags.register(cmd.Flags())
	cmd.Flags().IntVar(&limit, "limit", 100, fmt.Sprintf("most records to list, up to %d", auditMost))
	return cmd
}

// auditRecords reads the newest records, page by page.
func auditRecords(ctx context.Context, c *apiclient.Client, query url.Values, limit int) ([]v4.AuditRecord, error) {
	records := []v4.AuditRecord{}
	for len(records) < limit {
		query.Set("per_page", strconv.Itoa(min(auditPage, limit-len(records))))
		part, info, err := c.AuditRecords(ctx, query)
		if err != nil {
			return nil, err
		}
		records = append(records, part...)
		if info == nil || info.Cursor == "" {
			break
		}
		query.Set("cursor", info.Cursor)
	}
	return records, nil
}

var auditHeader = []string{"WHEN", "OUTCOME", "ACTION", "TARGET", "ACTOR", "REMOTE", "REASON"}

func auditRows(records []v4.AuditRecord) [][]string {
	var rows [][]string
	for _, r := range records {
		actor := r.Actor
		if r.ActorName != "" {
			actor = r.ActorName
		}
		rows = append(rows, []string{when(r.When), r.Outcome, r.Action, r.Target, actor, r.Remote, r.Reason})
	}
	return rows
}

func (a *app) auditTailCommand() *cobra.Command {
	var flags auditFlags
	var lines int
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the last audit records, and each new one as it comes, until interrupted",
		Long: `Show the last audit records, oldest first, and each new one within about a second, until interrupted. With --json each
record is one line.`,
		Example: `  sluice audit tail
  sluice audit tail --outcome unauthenticated
  sluice audit tail --lines 0 --json | jq -r .target`,
		Args: exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			if lines < 0 || lines > auditMost {
				return usagef("--lines must be from 0 to %d", auditMost)
			}
			query, err := flags.query()
			if err != nil {
				return err
			}
			return a.tail(ctx, c, query, lines)
		}),
	}
	flags.register(cmd.Flags())
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "how many records of before to show")
	return cmd
}

// tail prints records until ctx ends. A server that is away for a moment is asked again.
func (a *app) tail(ctx context.Context, c *apiclient.Client, query url.Values, lines int) error {
	newest, err := auditHead(ctx, c)
	if err != nil {
		return err
	}
	records, err := auditRecords(ctx, c, query, lines)
	if err != nil {
		return err
	}
	newest = later(newest, records)
	if err := a.printTail(records); err != nil {
		return err
	}
	tick := time.NewTicker(auditPoll)
	defer tick.Stop()
	for failed := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// The head first: a record that comes after it is either read now or is newer than what is read from next time.
		head, err := auditHead(ctx, c)
		if err == nil {
			query.Del("cursor")
			query.Set("after", strconv.FormatUint(max(newest, 1), 10))
			records, err = auditRecords(ctx, c, query, auditMost)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if failed++; failed >= auditFail {
				return err
			}
			continue
		}
		failed = 0
		newest = later(head, records)
		if err := a.printTail(records); err != nil {
			return err
		}
	}
}

// auditHead returns the id of the newest record of all; 0 when there is none.
func auditHead(ctx context.Context, c *apiclient.Client) (uint64, error) {
	records, err := auditRecords(ctx, c, url.Values{}, 1)
	return later(0, records), err
}

// later returns the greater of an id and that of the first, and newest, of records.
func later(id uint64, records []v4.AuditRecord) uint64 {
	if len(records) == 0 {
		return id
	}
	first, err := strconv.ParseUint(records[0].ID, 10, 64)
	if err != nil {
		return id
	}
	return max(id, first)
}

// printTail prints records, which come newest first, oldest first and a line for each.
func (a *app) printTail(records []v4.AuditRecord) error {
	for _, r := range slices.Backward(records) {
		var err error
		if a.json {
			err = json.NewEncoder(a.out).Encode(r)
		} else {
			row := auditRows([]v4.AuditRecord{r})[0]
			_, err = fmt.Fprintf(a.out, "%s  %-15s  %-22s  %s  %s  %s  %s\n", row[0], row[1], row[2], printable(row[3]), printable(row[4]), row[5], printable(row[6]))
		}
		if err != nil {
			return err
		}
	}
	return nil
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
