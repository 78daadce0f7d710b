package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) queryCommand() *cobra.Command {
	return a.clientCommand(groupCommand("query", "Ask about statements",
		`  sluice query explain --database app 'SELECT * FROM articles WHERE id = 7'`,
		a.queryExplainCommand()))
}

// maxExplained bounds a statement that is read from standard input, in bytes: beyond
// 64 KiB none is cached.
const maxExplained = 1 << 20

func (a *app) queryExplainCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "explain --database NAME|ID STATEMENT",
		Short: "Say whether a statement is answered from the query cache, and why",
		Long: `Say whether a statement is answered from the query cache, and why: what a proxy makes of it by the origin's catalog of now.
The statement is not run. "-" reads it from standard input, where other users of the machine do not see it.`,
		Example: `  sluice query explain --database app 'SELECT * FROM articles WHERE id = 7'
  sluice query explain --database app - < report.sql`,
		Args: exactArgs("STATEMENT"),
	}
	cmd.Flags().StringVar(&name, "database", "", "the database that the statement is for")
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
		if name == "" {
			return usagef("--database is missing: the database that the statement is for")
		}
		sql := args[0]
		if sql == "-" {
			b, err := io.ReadAll(io.LimitReader(a.in, maxExplained+1))
			if err != nil {
				return fmt.Errorf("read statement: %w", err)
			}
			if len(b) > maxExplained {
				return usagef("the statement is longer than 1 MiB: beyond 64 KiB none is cached")
			}
			sql = string(b)
		}
		if strings.TrimSpace(sql) == "" {
			return usagef("the statement is empty")
		}
		database, err := findDatabase(ctx, c, name)
		if err != nil {
			return err
		}
		e, err := c.Explain(ctx, database.ID, sql)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(e)
		}
		return a.printExplanation(e)
	})
	return cmd
}

// printExplanation says it in plain words.
func (a *app) printExplanation(e v4.QueryExplanation) error {
	var fields [][2]string
	if e.Status == "miss" {
		kept := fmt.Sprintf("for %d s, and for %d s more while a new result is fetched", e.MaxAge, e.StaleWhileRevalidate)
		if e.Day {
			kept += "; the result is of one day, in the session's time zone"
		}
		fields = [][2]string{{"cached", "yes"}, {"kept", kept}, {"reads", strings.Join(e.Reads, ", ")},
			{"but", "not inside a transaction, and not while one of these tables is being written to"}}
	} else {
		fields = [][2]string{{"cached", "no"}, {"status", e.Status}, {"because", e.Reason}}
	}
	switch {
	case len(e.Writes) == 0:
	case e.Status == "parseerror":
		fields = append(fields, [2]string{"changes", "the origin gets it as it is; if it runs it, all that is cached of the database is stale after it"})
	case e.Writes[0] == "any":
		fields = append(fields, [2]string{"changes", "it may change any table: all that is cached of the database is stale after it"})
	default:
		fields = append(fields, [2]string{"changes", "what is cached of " + strings.Join(e.Writes, ", ") + " is stale after it"})
	}
	return a.printFields(fields)
}
