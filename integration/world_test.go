package integration

import (
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// world is everything one test needs.
type world struct {
	stage  *harness.Stage
	pg     *harness.Postgres
	target harness.Target // what a driver connects to
}

// newWorld raises a world and takes it down at the test's end, when no secret may be in a log.
func newWorld(t *testing.T) *world {
	t.Helper()
	stage, err := harness.NewStage()
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(stage.Logs())
		}
		if err := stage.CheckLogs(); err != nil {
			t.Error(err)
		}
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{stage: stage}
	w.pg, err = stage.StartPostgres(within(t, 2*time.Minute), harness.PostgresConfig{Addr: "127.0.0.1"})
	must(t, err)
	w.target = w.pg.Target()
	return w
}
