package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
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
			section, starts := "", 0
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
			if starts != 1 {
				t.Errorf("%d lines of ExecStart", starts)
			}
		})
	}
}
