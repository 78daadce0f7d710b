package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

// TestUnitsCallWhatThereIs: the programs take what the systemd units give them.
func TestUnitsCallWhatThereIs(t *testing.T) {
	root, err := harness.ModuleRoot(t.Context())
	must(t, err)
	units, err := filepath.Glob(filepath.Join(root, "deploy", "*.service"))
	must(t, err)
	if len(units) == 0 {
		t.Fatal("no units in deploy/")
	}
	for _, unit := range units {
		t.Run(filepath.Base(unit), func(t *testing.T) {
			text, err := os.ReadFile(unit)
			must(t, err)
			section, starts, tireless := "", 0, false
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				switch {
				case line == "" || strings.HasPrefix(line, "#"):
					continue
				case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
					section = line
					continue
				}
				key, value, ok := strings.Cut(line, "=")
				if !ok || section == "" {
					t.Errorf("malformed line %q", line)
				}
				// By default systemd gives up after five starts in ten seconds.
				tireless = tireless || section == "[Unit]" && line == "StartLimitIntervalSec=0"
				if key == "ExecStart" {
					starts++
					args := strings.Fields(value)
					// --help comes last: what stands before it is parsed, and an unknown flag refused.
					out, err := exec.CommandContext(t.Context(), filepath.Join(bin, filepath.Base(args[0])), append(args[1:], "--help")...).CombinedOutput()
					if err != nil || !strings.Contains(string(out), "Usage:") {
						t.Errorf("%s: %v\n%s", value, err, out)
					}
				}
			}
			if !tireless {
				t.Error("systemd gives up when the store or the network is away for long")
			}
			if starts != 1 {
				t.Errorf("%d lines of ExecStart", starts)
			}
		})
	}
}

// TestInstalledServiceIsSound: systemd itself finds no fault in what install-service writes, and little that it leaves open.
func TestInstalledServiceIsSound(t *testing.T) {
	root := t.TempDir()
	token := filepath.Join(root, "token")
	must(t, os.WriteFile(token, []byte(tunnel.Token{Account: "a", Tunnel: "t", Secret: "s", Relays: []string{"relay.example:7844"}}.Encode()), 0o600))
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "sluice-connector"), "install-service", "--token-file", token, "--root", root).CombinedOutput()
	if err != nil {
		t.Fatalf("install-service: %v\n%s", err, out)
	}
	unit := filepath.Join(root, "etc/systemd/system/sluice-connector.service")
	for _, args := range [][]string{
		{"verify", "--man=no", unit},
		{"security", "--offline=true", "--threshold=20", unit}, // of 100; it has 17
	} {
		if out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput(); err != nil || args[0] == "verify" && strings.Contains(string(out), "sluice") { // it tells of other units too
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}
