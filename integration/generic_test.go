package integration

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
)

// startBridge starts a generic client and returns the port that it listens on.
func (w *world) startBridge(ctx context.Context, t *testing.T, name string, token accessToken) (*harness.Process, int) {
	t.Helper()
	p, err := w.stage.Start(harness.Command{Name: name, Path: "node", Args: []string{nodeModules(t) + "/bridge.mjs"}, Env: []string{
		"RELAY=" + net.JoinHostPort(w.sluice.Host, strconv.Itoa(w.sluice.RelayPort)), "HOSTNAME=" + hostname, "CA_FILE=" + w.sluice.CAFile,
		"CLIENT_ID=" + token.clientID, "CLIENT_SECRET=" + token.secret,
	}})
	must(t, err)
	listening := regexp.MustCompile(`listening (\d+)`)
	var port int
	must(t, p.WaitFor(ctx, "the bridge", func(context.Context) error {
		m := listening.FindStringSubmatch(p.Log())
		if m == nil {
			return fmt.Errorf("it does not listen yet")
		}
		var err error
		port, err = strconv.Atoi(m[1])
		return err
	}))
	return p, port
}

// testGenericClient reaches the origin itself with psql, through an independent WebSocket client and the relay: TLS runs from psql to
// the database, and messages are cut anyhow.
func testGenericClient(t *testing.T, w *world) {
	ctx := within(t)
	_, port := w.startBridge(ctx, t, "bridge", w.token)
	target := w.pg.Target()
	target.Port = port
	testPsqlCopy(t, w.stage, target)
	got, err := psql(ctx, w.stage, target, "select length(repeat('x', 1048577)), md5(repeat('y', 1048576));\n")
	must(t, err)
	if want := "1048577|"; !strings.HasPrefix(got, want) {
		t.Errorf("psql says %q", got)
	}
	// A secret that is wrong is refused before anything is reached.
	wrong := w.token
	wrong.secret = strings.Repeat("0", len(wrong.secret))
	p, port := w.startBridge(ctx, t, "stranger", wrong)
	target.Port = port
	if out, err := psql(ctx, w.stage, target, "select 1;\n"); err == nil {
		t.Errorf("with a wrong secret psql says %q", out)
	}
	must(t, p.WaitFor(ctx, "the refusal", func(context.Context) error {
		if !strings.Contains(p.Log(), "refused 401") {
			return fmt.Errorf("the log says: %s", p.Log())
		}
		return nil
	}))
}
