package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) signingKeysCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "signing-keys",
		Short: "List the keys that sign assertions",
		Long: `List the public keys that relays sign assertions with, in the order in which they sign, and the issuer that assertions name.
Connectors learn of them by themselves; one whose rules are in a file may pin them there (access.issuer, access.keys).`,
		Example: "  sluice control signing-keys",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			keys, err := c.SigningKeys(ctx)
			if err != nil {
				return err
			}
			return a.printSigningKeys(keys)
		}),
	})
}

func (a *app) rotateSigningKeyCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "rotate-signing-key",
		Short: "Have another key sign assertions",
		Long: `Make another key, tell relays and connectors of it, and sign assertions with it from a minute later on. What the former keys
have signed is accepted for three minutes more; nothing is cut. Connectors that pin keys in a file refuse streams that need an
assertion until the new key is in the file. Without this the server does the same every six weeks, with a week's notice
(--signing-key-life).`,
		Example: "  sluice control rotate-signing-key",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			keys, err := c.RotateSigningKey(ctx)
			if err != nil {
				return err
			}
			return a.printSigningKeys(keys)
		}),
	})
}

func (a *app) printSigningKeys(keys v4.SigningKeys) error {
	if a.json {
		return a.printJSON(keys)
	}
	at := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return when(*t)
	}
	var rows [][]string
	for _, k := range keys.Keys {
		rows = append(rows, []string{k.ID, k.State, at(k.SignsFrom), at(k.AcceptedUntil), base64.StdEncoding.EncodeToString(k.PublicKey)})
	}
	fmt.Fprintf(a.out, "issuer: %s\n\n", printable(keys.Issuer))
	return a.printTable([]string{"ID", "STATE", "SIGNS FROM", "ACCEPTED UNTIL", "PUBLIC KEY"}, rows)
}
