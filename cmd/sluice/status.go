package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

const (
	// statusRows is how many tunnels and databases a person is shown: with the rest they fit one screen.
	statusRows = 12
	// statusTests is how many test connections are made at a time.
	statusTests = 8
)

// exitUnwell is what status ends with when something is not well, so that a script can act on it.
const exitUnwell = 3

// unwellError is a status with problems, which have been printed.
type unwellError struct{ problems int }

func (e *unwellError) Error() string {
	if e.problems == 1 {
		return "1 thing is not well"
	}
	return fmt.Sprintf("%d things are not well", e.problems)
}

func (a *app) statusCommand() *cobra.Command {
	var test bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is up, what is not, and what to do",
		Long: `Show on one screen what is up, what is not, and what to do: relays, tunnels with their connectors, databases with
their pools, and what expires within 30 days. With --test a test connection to each database that is shown is
made as well. The exit code is 3 when something is not well.`,
		Example: `  sluice status
  sluice status --test
  sluice status --json | jq '.problems'`,
		Args: exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			status, err := c.Status(ctx)
			if err != nil {
				return err
			}
			var tests map[string]string
			if test {
				tests = testAll(ctx, c, &status)
			}
			if a.json {
				err = a.printJSON(status)
			} else {
				err = a.printStatus(status, tests)
			}
			if err == nil && len(status.Problems) > 0 {
				return &unwellError{len(status.Problems)}
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&test, "test", false, "make a test connection to each database that is shown")
	return a.clientCommand(cmd)
}

// testAll tests the databases of a status, and adds what fails to its problems. It returns a word on each.
func testAll(ctx context.Context, c *apiclient.Client, status *v4.Status) map[string]string {
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		words = map[string]string{}
		slots = make(chan struct{}, statusTests)
	)
	for _, d := range status.Databases {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			_, err := c.TestDatabase(ctx, d.ID)
			mu.Lock()
			defer mu.Unlock()
			words[d.ID] = "ok"
			if err == nil {
				return
			}
			words[d.ID] = "failed"
			if d.State != "failing" { // else it is among the problems
				status.Problems = append(status.Problems, v4.Problem{Kind: "database", Name: d.Name, ID: d.ID,
					Problem: "its test failed: " + err.Error(), Mend: "sluice database test " + d.Name + " tries again"})
			}
		})
	}
	group.Wait()
	return words
}

// printStatus writes the screen: problems first.
func (a *app) printStatus(s v4.Status, tests map[string]string) error {
	if len(s.Problems) == 0 {
		fmt.Fprintln(a.out, "Everything is well.")
	}
	for i, p := range s.Problems {
		if i == statusRows {
			fmt.Fprintf(a.out, "  and %d more; --json has them\n", len(s.Problems)-i)
			break
		}
		fmt.Fprintf(a.out, "! %s: %s\n    %s\n", printable(strings.TrimSpace(strings.ReplaceAll(p.Kind, "_", " ")+" "+p.Name)), printable(p.Problem), printable(p.Mend))
	}
	if len(s.Relays) > 0 {
		fmt.Fprintf(a.out, "\nRelays (%d), proxies (%d)\n", len(s.Relays), len(s.Proxies))
		if err := a.printTable([]string{"  RELAY", "VERSION", "SINCE", "STATE", "SESSIONS", "STREAMS"}, relayRows(s.Relays)); err != nil {
			return err
		}
	}
	if len(s.Tunnels) > 0 {
		fmt.Fprintf(a.out, "\nTunnels (%d)\n", s.TunnelsTotal)
		if err := a.printTable([]string{"  TUNNEL", "STATE", "CONNECTOR", "VERSION", "RELAYS", "PROTOCOL", "SINCE", "STREAMS", "CONFIG"}, tunnelRows(s)); err != nil {
			return err
		}
	}
	if len(s.Databases) > 0 {
		fmt.Fprintf(a.out, "\nDatabases (%d)\n", s.DatabasesTotal)
		header := []string{"  DATABASE", "STATE", "ORIGIN", "OPEN", "IDLE", "MAX", "WAITING"}
		if tests != nil {
			header = append(header, "TEST")
		}
		if err := a.printTable(header, databaseRows(s, tests)); err != nil {
			return err
		}
	}
	if len(s.Expiring) > 0 {
		fmt.Fprintln(a.out, "\nExpiring within 30 days")
		var rows [][]string
		for _, e := range s.Expiring[:min(len(s.Expiring), statusRows)] {
			rows = append(rows, []string{"  " + e.Name, strings.ReplaceAll(e.Kind, "_", " "), when(e.ExpiresOn)})
		}
		return a.printTable([]string{"  NAME", "KIND", "ENDS"}, rows)
	}
	return nil
}

func relayRows(relays []v4.RelayStatus) (rows [][]string) {
	for _, r := range relays[:min(len(relays), statusRows)] {
		state := "up"
		if r.Draining {
			state = "draining"
		}
		rows = append(rows, []string{"  " + r.ID, r.Version, since(r.Since), state, strconv.Itoa(r.Sessions), strconv.Itoa(r.Streams)})
	}
	return rows
}

// tunnelRows has a row for each connector, and one for a tunnel that has none.
func tunnelRows(s v4.Status) (rows [][]string) {
	for _, t := range s.Tunnels[:min(len(s.Tunnels), statusRows)] {
		if len(t.Connectors) == 0 {
			rows = append(rows, []string{"  " + t.Name, t.State, "none"})
		}
		for _, c := range t.Connectors {
			var relays, protocols []string
			streams := 0
			for _, conn := range c.Conns {
				relays = appendNew(relays, conn.ColoName)
				protocols = appendNew(protocols, conn.Protocol)
				streams += conn.Streams
			}
			config := fmt.Sprintf("%d", c.ConfigVersion)
			if c.ConfigVersion < t.ConfigVersion {
				config += fmt.Sprintf(" of %d", t.ConfigVersion)
			}
			rows = append(rows, []string{"  " + t.Name, t.State, c.ID, c.Version, fmt.Sprintf("%s (%d)", strings.Join(relays, " "), len(c.Conns)),
				strings.Join(protocols, " "), since(c.RunAt), strconv.Itoa(streams), config})
		}
	}
	return more(rows, s.TunnelsTotal, "tunnel")
}

func databaseRows(s v4.Status, tests map[string]string) (rows [][]string) {
	for _, d := range s.Databases[:min(len(s.Databases), statusRows)] {
		rows = append(rows, []string{"  " + d.Name, d.State, d.Origin, strconv.Itoa(d.Open), strconv.Itoa(d.Idle), strconv.Itoa(d.Max), strconv.Itoa(d.Waiting), tests[d.ID]})
	}
	return more(rows, s.DatabasesTotal, "database")
}

// more adds a row that says how many are not shown.
func more(rows [][]string, total int, noun string) [][]string {
	if total > statusRows {
		rows = append(rows, []string{fmt.Sprintf("  and %d more: sluice %s list", total-statusRows, noun)})
	}
	return rows
}

func appendNew(list []string, text string) []string {
	for _, has := range list {
		if has == text {
			return list
		}
	}
	return append(list, text)
}

// since is how long ago something began, in its two largest units.
func since(t time.Time) string {
	d := time.Since(t)
	switch {
	case t.IsZero():
		return ""
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
