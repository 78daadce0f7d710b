package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// reloadHeader must be on a request to reload: no page in a browser of this machine can send it to another origin unasked (Fetch
// standard, "CORS-preflight request").
const reloadHeader = "Sluice-Reload"

func (a *app) reloadCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the connector that runs on this machine read its files again, and say what is wrong with them",
		Long: `reload has the connector that runs on this machine read its token file and its file of rules again, as SIGHUP does, and waits for
the outcome. Of a file that is not valid it prints every fault, and exits with 1; the previous one stays in force.`,
		Example: "  sluice-connector reload\n  sluice-connector reload --metrics-listen 127.0.0.1:20242",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.setFromEnvironment(cmd); err != nil {
				return err
			}
			if err := askReload(cmd.Context(), f.metrics); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.out, "the files are in force")
			return err
		},
	}
	cmd.Flags().StringVar(&f.metrics, "metrics-listen", defaultAdmin, "where the connector that runs answers (SLUICE_METRICS_LISTEN)")
	return cmd
}

// askReload asks the connector that answers at admin.
func askReload(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+admin+"/reload", nil)
	if err != nil {
		return usagef("--metrics-listen %q: want host:port", admin)
	}
	request.Header.Set(reloadHeader, "1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("no connector answers on this machine (--metrics-listen): %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(body)))
	}
	return nil
}

// serveReload answers askReload.
func (w *watcher) serveReload(rw http.ResponseWriter, r *http.Request) {
	if r.Header.Get(reloadHeader) == "" {
		http.Error(rw, "the header "+reloadHeader+" is missing", http.StatusForbidden)
		return
	}
	if err := w.reload(r.Context()); err != nil {
		http.Error(rw, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	rw.WriteHeader(http.StatusOK)
}
