package api

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func TestKeysAndBackup(t *testing.T) {
	w := newWorld(t)
	must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name":"vpc"}`)
	const keys = "/client/v4/installation/keys"
	before := must[v4.KeyRotation](w, "GET", keys, "")
	if before.State != "none" || len(before.KeyID) != 8 || before.StartedOn != nil {
		t.Errorf("before any rotation: %+v", before)
	}
	if begun := must[v4.KeyRotation](w, "POST", keys+"/rotate", ""); begun.KeyID == before.KeyID || begun.StartedOn == nil {
		t.Errorf("begun: %+v", begun)
	}
	for changed := w.control.Changed(); ; changed = w.control.Changed() {
		state := must[v4.KeyRotation](w, "GET", keys, "")
		if state.State == "finished" && state.FinishedOn != nil && state.Resealed > 0 {
			break
		}
		if state.State != "sealing" {
			t.Fatalf("while it goes on: %+v", state)
		}
		<-changed
	}
	got := w.request("GET", "/client/v4/installation/backup", "")
	if got.status != 200 || got.header.Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("backup: %d %v", got.status, got.header)
	}
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, []byte(got.body), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.CheckBackup(file); err != nil {
		t.Error(err)
	}
}
