package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
	"github.com/sluicedb/sluice/integration/harness"
)

const (
	creators  = 8   // clients that make databases at the same time
	listPage  = 100 // the API's largest page
	apiWindow = 2 * time.Minute
)

// measureControl prints what n databases in one account cost the control plane: making them, listing them, memory, and a start.
func measureControl(ctx context.Context, bin string, n int) (err error) {
	stage, err := harness.NewStage()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	installation, err := stage.NewSluice(bin, "127.0.0.1")
	if err != nil {
		return err
	}
	start := func() (*harness.Process, time.Duration, error) {
		begun := time.Now()
		p, err := installation.StartServer(ctx, "--max-databases", "0")
		return p, time.Since(begun), err
	}
	server, empty, err := start()
	if err != nil {
		return err
	}
	before, err := resident(server)
	if err != nil {
		return err
	}
	client, err := apiOf(installation)
	if err != nil {
		return err
	}
	defer client.Close()
	fmt.Fprintf(os.Stderr, "\nmaking %d databases through the API: 1 to 2 minutes for 10,000\n", n)
	begun := time.Now()
	if err := createDatabases(ctx, client, n); err != nil {
		return fmt.Errorf("make %d databases, after %v: %w", n, time.Since(begun).Round(time.Second), err)
	}
	created := time.Since(begun)
	pages, err := listPages(ctx, client, n)
	if err != nil {
		return err
	}
	after, err := resident(server)
	if err != nil {
		return err
	}
	if err := server.Stop(apiWindow); err != nil {
		return err
	}
	server, full, err := start()
	if err != nil {
		return err
	}
	fresh, err := resident(server)
	if err != nil {
		return err
	}
	slices.Sort(pages)
	fmt.Printf("\nControl plane, %d databases in one account\n\n", n)
	fmt.Printf("  made by %d clients in      %8.1f s    %.0f a second\n", creators, created.Seconds(), float64(n)/created.Seconds())
	fmt.Printf("  one page of %d, median    %8.2f ms   p99 %.2f ms, %d pages\n", listPage, ms(pages[len(pages)/2]), ms(pages[len(pages)*99/100]), len(pages))
	fmt.Printf("  resident, empty            %8.1f MiB\n", before)
	fmt.Printf("  resident, after all of it  %8.1f MiB\n", after)
	fmt.Printf("  resident, started anew     %8.1f MiB  %.1f KiB a database more than empty\n", fresh, (fresh-before)*1024/float64(n))
	fmt.Printf("  start until ready          %8.0f ms   %.0f ms empty\n", ms(full), ms(empty))
	return server.Stop(apiWindow)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// apiOf is a client of an installation's API, as the environment of its command line has it.
func apiOf(installation *harness.Sluice) (*apiclient.Client, error) {
	env := map[string]string{}
	for _, line := range installation.Env() {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	ca, err := os.ReadFile(installation.CAFile)
	if err != nil {
		return nil, err
	}
	return apiclient.New(apiclient.Config{URL: env["SLUICE_API_URL"], Token: env["SLUICE_API_TOKEN"], CA: ca, Timeout: apiWindow})
}

// createDatabases makes n databases of a direct origin that nobody connects to.
func createDatabases(ctx context.Context, client *apiclient.Client, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(creators)
	for i := range n {
		g.Go(func() error {
			text := func(s string) *string { return &s }
			port := 5432
			_, err := client.CreateDatabase(ctx, v4.DatabaseWrite{
				Name: text("db" + strconv.Itoa(i)), SkipTest: true,
				Origin: &v4.OriginWrite{Scheme: text("postgres"), Host: text("10.0.0.5"), Port: &port, Database: text("app"), User: text("app"), Password: text("secret")},
			})
			return err
		})
	}
	return g.Wait()
}

// listPages reads the list once through, and returns how long each page took.
func listPages(ctx context.Context, client *apiclient.Client, n int) ([]time.Duration, error) {
	account, err := client.Account(ctx)
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for seen, page := 0, 1; seen < n; page++ {
		var databases []v4.Database
		begun := time.Now()
		if err := client.Get(ctx, fmt.Sprintf("/accounts/%s/hyperdrive/configs?page=%d&per_page=%d", account, page, listPage), &databases); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
		if len(databases) == 0 {
			return nil, fmt.Errorf("the list ends after %d of %d databases", seen, n)
		}
		seen += len(databases)
	}
	return took, nil
}

// resident is a process's memory in MiB (VmRSS of proc(5)).
func resident(p *harness.Process) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("/proc has no VmRSS")
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	return kib / 1024, err
}
