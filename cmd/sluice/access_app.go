package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) accessAppCreateCommand() *cobra.Command {
	var name, hostname string
	cmd := &cobra.Command{
		Use:   "create --hostname HOSTNAME",
		Short: "Guard a hostname; until it has a policy, nobody reaches it",
		Example: `  sluice access app create --hostname db.internal.example
  sluice access app create --hostname '*.internal.example' --name databases`,
		Args: exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			if hostname == "" {
				return usagef("--hostname is missing: the name that 'sluice tunnel route' leads to the database")
			}
			if name == "" {
				name = hostname
			}
			application, err := c.CreateApplication(ctx, v4.ApplicationWrite{Name: name, Domain: hostname})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(application)
			}
			fmt.Fprintf(a.out, "Application %s made, id %s. Nobody reaches %s yet.\n", application.Name, application.ID, application.Domain)
			fmt.Fprintf(a.out, "\nNext, admit a service token:\n\n  sluice access policy create --app %s --decision non_identity --include-token NAME\n", application.Domain)
			return nil
		}),
	}
	cmd.Flags().StringVar(&hostname, "hostname", "", "the hostname to guard; a leading *. covers every name below")
	cmd.Flags().StringVar(&name, "name", "", "name of the application; the hostname when absent")
	return cmd
}

func (a *app) accessAppListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List applications",
		Example: "  sluice access app list\n  sluice access app list --json",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			applications, err := c.Applications(ctx, nil)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(applications)
			}
			var rows [][]string
			for _, app := range applications {
				rows = append(rows, []string{app.Domain, app.Name, app.ID, strconv.Itoa(len(app.Policies))})
			}
			return a.printTable([]string{"HOSTNAME", "NAME", "ID", "POLICIES"}, rows)
		}),
	}
}

func (a *app) accessAppDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete HOSTNAME|NAME|ID",
		Short:   "Delete an application with its policies; nobody reaches its hostname any more",
		Example: "  sluice access app delete db.internal.example",
		Args:    exactArgs("HOSTNAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			application, err := findApplication(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := c.DeleteApplication(ctx, application.ID); err != nil {
				return err
			}
			return a.printDeleted("Application", application.Name, application.ID)
		}),
	}
}

func (a *app) printApplication(app v4.Application) error {
	if a.json {
		return a.printJSON(app)
	}
	if err := a.printFields([][2]string{
		{"name", app.Name}, {"id", app.ID}, {"hostname", app.Domain}, {"created", when(app.CreatedAt)}, {"updated", when(app.UpdatedAt)},
	}); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	return a.printPolicies(app.Policies)
}

func (a *app) accessAppGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "get HOSTNAME|NAME|ID",
		Short:   "Show an application with its policies",
		Example: "  sluice access app get db.internal.example",
		Args:    exactArgs("HOSTNAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			app, err := findApplication(ctx, c, args[0])
			if err != nil {
				return err
			}
			return a.printApplication(app)
		}),
	}
}

func (a *app) accessAppUpdateCommand() *cobra.Command {
	var name, hostname string
	cmd := &cobra.Command{
		Use:     "update HOSTNAME|NAME|ID",
		Short:   "Change an application's name or hostname; its policies stay",
		Example: "  sluice access app update db.internal.example --hostname '*.internal.example'",
		Args:    exactArgs("HOSTNAME"),
	}
	cmd.Flags().StringVar(&name, "name", "", "another name")
	cmd.Flags().StringVar(&hostname, "hostname", "", "another hostname to guard; a leading *. covers every name below")
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
		if !cmd.Flags().Changed("name") && !cmd.Flags().Changed("hostname") {
			return usagef("nothing to change: pass --name or --hostname")
		}
		app, err := findApplication(ctx, c, args[0])
		if err != nil {
			return err
		}
		body := v4.ApplicationWrite{Name: app.Name, Domain: app.Domain}
		if cmd.Flags().Changed("name") {
			body.Name = name
		}
		if cmd.Flags().Changed("hostname") {
			body.Domain = hostname
		}
		if app, err = c.UpdateApplication(ctx, app.ID, body); err != nil {
			return err
		}
		return a.printApplication(app)
	})
	return cmd
}
