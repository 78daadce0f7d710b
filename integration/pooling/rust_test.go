//go:build rust

package pooling

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
)

// TestTokioPostgres builds integration/rust with the compiler and the crates of Debian's
// packages, and runs it against PostgreSQL itself first.
func TestTokioPostgres(t *testing.T) {
	root, err := harness.ModuleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(root, ".cache", "rust")
	build := exec.CommandContext(t.Context(), "/usr/bin/cargo", "build", "--offline", "--target-dir", target,
		"--config", `source.crates-io.replace-with="debian"`, "--config", `source.debian.directory="/usr/share/cargo/registry"`)
	build.Dir = filepath.Join(root, "integration", "rust")
	build.Env = append(os.Environ(), "RUSTC=/usr/bin/rustc")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cargo build: %v\n%s", err, out)
	}
	w := newWorld(t, maxConns(5))
	for name, at := range map[string]harness.Target{
		"direct":         pg.Target(),
		"through Sluice": {Host: "127.0.0.1", Port: w.addr.Port, User: testUser, Password: testPassword, Database: testDatabase},
	} {
		t.Run(name, func(t *testing.T) {
			shop := exec.CommandContext(t.Context(), filepath.Join(target, "debug", "shop"))
			shop.Env = append(os.Environ(), "PGHOST="+at.Host, "PGPORT="+strconv.Itoa(at.Port), "PGUSER="+at.User, "PGPASSWORD="+at.Password, "PGDATABASE="+at.Database)
			out, err := shop.CombinedOutput()
			if t.Logf("\n%s", out); err != nil || strings.Count(string(out), "ok\t") != 7 || strings.Contains(string(out), "not ok") {
				t.Errorf("%v", err)
			}
		})
	}
}
