package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// setup is what a process is told, as JSON in a file: it may have secrets.
type setup struct {
	Listen string // where TCP connections come in
	To     string // where they go
	Ready  string // a file that the process makes when it is ready

	// Of relays, connectors and clients.
	Relay       string // address of the relay
	Dir         string // a relay's data
	Protocol    string // of a connector or client
	Slots       int    // of a connector
	Credentials string // a file that the relay writes and the others read
	Profile     string // a file for the processor profile, "" is none

	Load load // of a load
}

// credentials let connectors and clients in.
type credentials struct {
	Tunnel       string // a connector's token
	ClientID     string
	ClientSecret string
	CA           []byte
}

// roles are the programs that this one is besides the benchmark.
var roles = map[string]func(context.Context, setup) error{
	"target":    runTarget,
	"plain":     runPlain,
	"relay":     runRelay,
	"connector": runConnector,
	"client":    runClient,
	"load":      runLoad,
}

// runRole runs until the process is asked to end.
func runRole(role func(context.Context, setup) error, args []string) error {
	flags := flag.NewFlagSet("role", flag.ContinueOnError)
	path := flags.String("setup", "", "file with what to do")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var s setup
	if err := readJSON(*path, &s); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if s.Profile != "" {
		f, err := os.Create(s.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return role(ctx, s)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// ready says that the process is.
func (s setup) ready() error { return os.WriteFile(s.Ready, nil, 0o600) }
