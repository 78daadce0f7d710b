package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

// maxPage bounds what is read of the connector that runs: metrics of 16 slots have some 50 KiB.
const maxPage = 4 << 20

// kernelFiles say how the kernel is set for the network; none has a secret.
var kernelFiles = []string{
	"/proc/sys/net/core/rmem_max", "/proc/sys/net/core/wmem_max", "/proc/sys/net/ipv4/ip_local_port_range", "/proc/version",
	"/etc/resolv.conf", "/proc/net/snmp",
}

func (a *app) diagCommand() *cobra.Command {
	var f runFlags
	var output string
	cmd := &cobra.Command{
		Use:   "diag",
		Short: "Write a bundle for a report: checks, metrics, rules, kernel settings; no secrets",
		Long: `diag writes a zip file with what helps to understand a fault: what doctor finds, and, of the connector that runs on this machine,
readiness, rules, metrics and goroutines. Neither the token nor any byte of a stream is in it; hostnames and addresses of origins are.`,
		Example: "  sluice-connector diag --token-file vpc-1.token --output diag.zip",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.patient(cmd, &f)
			if err != nil {
				return err
			}
			out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, os.ErrExist) {
				return usagef("--output %s exists: choose another name", output)
			}
			if err != nil {
				return err
			}
			if err := errors.Join(p.bundle(cmd.Context(), out), out.Close()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, output)
			return err
		},
	}
	a.patientFlags(cmd, &f)
	cmd.Flags().StringVar(&output, "output", "sluice-connector-diag.zip", "file to write; it must not exist")
	return cmd
}

// bundle writes the zip file. What cannot be had is in it as an error.
func (p *patient) bundle(ctx context.Context, w io.Writer) error {
	z := zip.NewWriter(w)
	add := func(name string, content []byte, err error) error {
		if err != nil {
			name, content = name+".error", []byte(err.Error()+"\n")
		}
		f, err := z.Create(name)
		if err == nil {
			_, err = f.Write(content)
		}
		return err
	}
	about, err := json.MarshalIndent(map[string]any{
		"build": buildVersion(), "os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": runtime.NumCPU(), "time": time.Now().UTC(),
		"tunnel": p.token.Tunnel, "relays": p.relays,
	}, "", "  ")
	errs := []error{add("about.json", about, err)}
	found, err := json.MarshalIndent(p.examine(ctx), "", "  ")
	errs = append(errs, add("doctor.json", found, err))
	for _, page := range [][2]string{{"ready.json", "/ready"}, {"config.json", "/config"}, {"metrics.txt", "/metrics"}, {"goroutines.txt", "/goroutines"}} {
		body, err := p.page(ctx, page[1])
		errs = append(errs, add(page[0], body, err))
	}
	for _, path := range kernelFiles {
		body, err := readBounded(path)
		errs = append(errs, add("kernel"+path, body, err))
	}
	return errors.Join(append(errs, z.Close())...)
}

// page reads a page of the connector that runs here.
func (p *patient) page(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no connector answers on this machine (--metrics-listen): %w", err)
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, maxPage))
}

// readBounded reads a small file.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfigFile+1))
}
