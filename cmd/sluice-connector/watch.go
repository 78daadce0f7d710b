package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

// watchEvery is how often files are looked at: a change is in force within a second (docs/behaviours.md, Tunnel38). Looking at a
// file is two system calls, and sees what notifications miss: a symlink that is swapped somewhere above, a mount, NFS.
const watchEvery = 500 * time.Millisecond

// maxConfigFile bounds what is read of a file of rules.
const maxConfigFile = 1 << 20

// watched is a file whose content is taken again whenever it changes.
type watched struct {
	what string // for the log
	path string
	max  int64
	take func([]byte) error

	info os.FileInfo // of the content below
	last []byte
}

// look takes the content if it is another than before, or with force in any case. It reports whether it was.
func (w *watched) look(force bool) (changed bool, err error) {
	info, err := os.Stat(w.path) // through symlinks
	if err != nil {
		return false, err
	}
	if !force && w.info != nil && os.SameFile(info, w.info) && info.Size() == w.info.Size() && info.ModTime().Equal(w.info.ModTime()) {
		return false, nil
	}
	f, err := os.Open(w.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, w.max+1))
	if err != nil {
		return false, err
	}
	w.info = info
	if !force && bytes.Equal(data, w.last) {
		return false, nil
	}
	w.last = data
	return true, w.take(data)
}

// watcher takes changes of files until its context ends.
type watcher struct {
	files   []*watched
	log     *slog.Logger
	reloads *prometheus.CounterVec // result
	asked   chan chan error        // takes what comes of it
}

func newWatcher(log *slog.Logger) *watcher {
	return &watcher{log: log, asked: make(chan chan error), reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_connector_reloads_total", Help: "Files that were read again after a change, SIGHUP or reload, by result (ok, error).",
	}, []string{"result"})}
}

// run looks at the files every half second, and at once after SIGHUP and when it is asked.
func (w *watcher) run(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	failing := map[*watched]string{}
	for {
		force := false
		var answer chan error
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			force = true
		case answer = <-w.asked:
			force = true
		case <-tick.C:
		}
		var faults []error
		for _, f := range w.files {
			changed, err := f.look(force)
			if err != nil {
				faults = append(faults, fmt.Errorf("%s is not taken; the previous one stays in force: %s: %w", f.what, f.path, err))
			}
			switch {
			case err != nil && (force || changed || failing[f] != err.Error()):
				failing[f] = err.Error()
				w.reloads.WithLabelValues("error").Inc()
				w.log.Error(f.what+" is not taken; the previous one stays in force", "file", f.path, "err", err)
			case changed && err == nil:
				delete(failing, f)
				w.reloads.WithLabelValues("ok").Inc()
				w.log.Info(f.what+" was read again", "file", f.path)
			}
		}
		if answer != nil {
			answer <- errors.Join(faults...)
		}
	}
}

// reload has the files read now, and returns what is wrong with them.
func (w *watcher) reload(ctx context.Context) error {
	answer := make(chan error, 1) // run does not wait for who has gone
	select {
	case w.asked <- answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rulesOf returns the file of rules for c, taken once.
func rulesOf(c *connector.Connector, path string) (*watched, error) {
	w := &watched{what: "the file of rules", path: path, max: maxConfigFile, take: func(data []byte) error {
		rules, err := connector.ParseRules(data)
		if err == nil {
			c.SetRules(rules)
		}
		return err
	}}
	if _, err := w.look(true); err != nil {
		return nil, fmt.Errorf("read the ingress rules in %s: %w", path, err)
	}
	return w, nil
}

// tokenOf returns the token file for c, which has the token that is in it now.
func tokenOf(c *connector.Connector, path string) *watched {
	first := true
	w := &watched{what: "the token file", path: path, max: maxTokenFile, take: func(data []byte) error {
		if first {
			first = false
			return nil
		}
		token, err := tunnel.ParseToken(string(data))
		if err != nil {
			return err
		}
		return c.SetToken(token)
	}}
	if _, err := w.look(true); err != nil {
		w.info = nil // it is gone since it was read: looked at again
	}
	return w
}

// checkRules reads a file of rules and reports its faults.
func checkRules(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return err
	}
	if _, err := connector.ParseRules(data); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
