package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/protocol/tunnel"
)

// Where the service keeps what it needs, below the root.
const (
	unitName  = "sluice-connector.service"
	unitPath  = "/etc/systemd/system/" + unitName
	tokenPath = "/etc/sluice/connector.token"
)

// unit is the systemd service; deploy/sluice-connector.service is the same for who installs by hand. The user is made when it
// starts and gone when it ends, and has no capability; the token is given to it by systemd and is readable by root alone.
const unit = `[Unit]
Description=Sluice connector
Documentation=https://github.com/sluicedb/sluice
Wants=network-online.target
After=network-online.target
# For as long as it takes: what it needs may be away for longer than five starts.
StartLimitIntervalSec=0

[Service]
ExecStart=PROGRAM run --token-file ${CREDENTIALS_DIRECTORY}/token
LoadCredential=token:TOKEN
Restart=always
RestartSec=1
# Streams that are open may finish: the connector waits for 30 seconds at most.
TimeoutStopSec=45
KillMode=mixed

DynamicUser=yes
UMask=0077
LimitNOFILE=1048576

CapabilityBoundingSet=
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
`

func unitFor(program string) string {
	return strings.NewReplacer("PROGRAM", program, "TOKEN", tokenPath).Replace(unit)
}

func (a *app) installCommand() *cobra.Command {
	var tokenFile, root string
	cmd := &cobra.Command{
		Use:   "install-service",
		Short: "Install and start a systemd service that runs this program",
		Long: `install-service writes the token to ` + tokenPath + `, which root alone may read, and a systemd service to
` + unitPath + `, and starts it: without privileges, as a user of its own. Done again, it takes a new token or a
new program. It needs root.`,
		Example: "  sluice-connector install-service --token-file vpc-1.token",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			if err := a.install(tokenFile, root, program); err != nil {
				return err
			}
			if root != "" {
				_, err := fmt.Fprintf(a.out, "installed below %s; nothing was started\n", root)
				return err
			}
			if err := systemctl(cmd.Context(), []string{"daemon-reload"}, []string{"enable", unitName}, []string{"restart", unitName}); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "the service runs; its log: journalctl -u %s\n", unitName)
			return err
		},
	}
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "file with the tunnel token (required)")
	cmd.Flags().StringVar(&root, "root", "", "directory to install below, as for an image; nothing is started then")
	return cmd
}

// install writes the token and the unit.
func (a *app) install(tokenFile, root, program string) error {
	if tokenFile == "" {
		return usagef("--token-file is missing: the file that sluice tunnel token has printed")
	}
	text, err := readBounded(tokenFile)
	if err != nil {
		return fmt.Errorf("read the tunnel token: %w", err)
	}
	if _, err := tunnel.ParseToken(string(text)); err != nil {
		return fmt.Errorf("read the tunnel token: %w", err)
	}
	if strings.ContainsAny(program, " \t\n%$\"'\\") {
		return usagef("the program's path %q has characters that a systemd unit gives a meaning: move it", program)
	}
	if err := place(filepath.Join(root, tokenPath), text, 0o700, 0o600); err != nil {
		return err
	}
	return place(filepath.Join(root, unitPath), []byte(unitFor(program)), 0o755, 0o644)
}

// place writes a file in one step, so that nobody reads half of it.
func place(path string, content []byte, dirMode, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when it was renamed
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (a *app) uninstallCommand() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:     "uninstall-service",
		Short:   "Stop and remove the systemd service, and its copy of the token",
		Example: "  sluice-connector uninstall-service",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(filepath.Join(root, unitPath)); errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("no service is installed: %s does not exist", filepath.Join(root, unitPath))
			}
			if root == "" {
				if err := systemctl(cmd.Context(), []string{"disable", "--now", unitName}); err != nil {
					return err
				}
			}
			for _, path := range []string{unitPath, tokenPath} {
				if err := os.Remove(filepath.Join(root, path)); err != nil && !errors.Is(err, os.ErrNotExist) {
					return err
				}
			}
			if root == "" {
				if err := systemctl(cmd.Context(), []string{"daemon-reload"}); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintln(a.out, "the service is removed")
			return err
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "directory that it was installed below")
	return cmd
}

// systemctl runs commands one after the other.
func systemctl(ctx context.Context, commands ...[]string) error {
	for _, args := range commands {
		out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
