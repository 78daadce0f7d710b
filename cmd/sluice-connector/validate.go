package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a file of ingress rules",
		Long: `validate reads a file of ingress rules as run --config does, and reports every fault with its rule and line.

  access:                         # optional: pins what the relay's assertions are checked with
    issuer: sluice-1f0c
    keys: {k1: 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=}
  ingress:
    - hostname: orders.example.com
      service: tcp://10.0.0.5:5432
      connect_timeout: 5s         # 10s when absent, at most 1m
      keepalive: 5s               # idle before TCP probes: 10s when absent, and at most
      proxy_protocol: v2          # the origin learns the driver's address
    - hostname: "*.pg.example.com"
      service: unix:/run/postgresql/.s.PGSQL.5432
      access: required            # a stream needs an assertion for one of the applications
      audiences: [8f0c2f3a-6d1c-4f4e-9a53-0e4a3c1b2d5e]
    - service: refuse             # the last rule has no hostname`,
		Example: "  sluice-connector validate rules.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("validate: want one file of rules")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkRules(args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.out, "the rules are valid")
			return err
		},
	}
}
