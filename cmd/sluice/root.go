package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envAnnotation is the annotation of a flag that has an environment variable.
const envAnnotation = "sluice_env"

// rootCommand assembles the tree.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Reach databases in private networks, and make them fast from far away",
		Long: `Sluice reaches databases that live in private networks: a connector beside the database dials out,
a relay joins it with whom an access policy admits, and a proxy speaks PostgreSQL and MySQL to ordinary
drivers.`,
		Example: `  sluice server --data-dir ./data            # control API, relay and proxy in one process
  sluice login --ca-file ./data/ca.pem       # asks for the API token that the server printed
  sluice tunnel create vpc-1
  sluice tunnel token vpc-1 > vpc-1.token    # for sluice-connector run --token-file vpc-1.token
  sluice database create app --tunnel vpc-1 --origin tcp://10.0.0.5:5432 --origin-user app --database app`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE:              groupRun,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.setFromEnvironment(cmd) },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s: %w", cmd.CommandPath(), err)
	})
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "manage", Title: "Manage a server through its API:"},
		&cobra.Group{ID: "other", Title: "Other:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add("run", a.serverCommand(), a.devCommand(), a.controlCommand(), a.relayCommand(), a.proxyCommand())
	add("manage", a.loginCommand(), a.statusCommand(), a.tunnelCommand(), a.accessCommand(), a.databaseCommand(), a.queryCommand(), a.certCommand(),
		a.auditCommand(), a.tokenCommand(), a.accountCommand(), a.caCommand())
	add("other", a.versionCommand(), a.completionCommand())
	root.SetHelpCommand(&cobra.Command{
		Use:     "help [command]",
		Short:   "Show the help of a command",
		Example: "  sluice help database create",
		GroupID: "other",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := root.Find(args)
			if err != nil || target == nil || len(rest) > 0 {
				return usagef("no command %q to help with", strings.Join(args, " "))
			}
			return target.Help()
		},
	})
	a.complete(root)
	return root
}

// groupCommand makes a command that only holds others.
func groupCommand(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: cobra.ArbitraryArgs, RunE: groupRun}
	cmd.AddCommand(commands...)
	return cmd
}

// groupRun answers a group's bare name with its help, and an unknown subcommand with those that are like it.
func groupRun(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	msg := fmt.Sprintf("%s: unknown command %q", cmd.CommandPath(), args[0])
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		msg += fmt.Sprintf("; did you mean %s?", strings.Join(like, " or "))
	}
	return usagef("%s", msg)
}

// withEnv lets the environment variable give the flag's value where the command line does not, and says so in the flag's help.
func withEnv(flags *pflag.FlagSet, name, variable string) {
	flag := flags.Lookup(name)
	flag.Usage += fmt.Sprintf(" (%s)", variable)
	if flag.Annotations == nil {
		flag.Annotations = map[string][]string{}
	}
	flag.Annotations[envAnnotation] = []string{variable}
}

// setFromEnvironment gives flags that the command line left alone the value of their variable.
func (a *app) setFromEnvironment(cmd *cobra.Command) error {
	var faults []error
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		variable := flag.Annotations[envAnnotation]
		if len(variable) == 0 || flag.Changed {
			return
		}
		value := a.getenv(variable[0])
		if value == "" {
			return
		}
		if err := flag.Value.Set(value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", variable[0], err))
			return
		}
		flag.Changed = true
	})
	if err := errors.Join(faults...); err != nil {
		return &usageError{err: err}
	}
	return nil
}
