package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	keep := flag.Bool("keep", false, "leave everything running at the end")
	noNamespace := flag.Bool("no-namespace", false, "do as on a machine that allows no network namespace")
	bin := flag.String("bin", "", "directory of the programs, bin/ of the checkout when absent")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // it takes seconds
	defer cancel()

	if *bin == "" {
		root, err := harness.ModuleRoot(ctx)
		if err != nil {
			return err
		}
		*bin = filepath.Join(root, "bin")
	}
	stage, err := harness.NewStage()
	if err != nil {
		return err
	}
	d := &demo{stage: stage, bin: *bin, noNamespace: *noNamespace, show: newPrinter(os.Stdout)}
	if *keep {
		if err := stage.Detach(); err != nil {
			return errors.Join(err, stage.Close())
		}
	}
	err = d.run(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w\n%s", err, stage.Logs())
	}
	if *keep && err == nil {
		return d.leave()
	}
	return errors.Join(err, stage.Close())
}
