package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/deps.golden anew")

// TestDependencies holds the program to the list of packages that somebody has looked at: every package outside the standard
// library that it is made of.
func TestDependencies(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-mod=readonly")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	golden := filepath.Join("testdata", "deps.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(b))
	for _, p := range got {
		if !slices.Contains(want, p) {
			t.Errorf("new dependency: %s", p)
		}
	}
	for _, p := range want {
		if !slices.Contains(got, p) {
			t.Errorf("no dependency any more: %s", p)
		}
	}
	if t.Failed() {
		t.Log("if that is meant: go test ./cmd/sluice-connector -update")
	}
	for _, p := range got {
		for _, room := range []string{"access", "control", "relay", "proxy"} {
			own := "github.com/sluicedb/sluice/" + room
			if p == own || strings.HasPrefix(p, own+"/") {
				t.Errorf("the connector is made of %s: it must know nothing of that", p)
			}
		}
	}
}
