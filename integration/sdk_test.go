package integration

import (
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
)

// TestCloudflareSDK drives tunnels, hostnames, connections, service tokens, applications and policies with Cloudflare's own SDK for
// Node, unmodified, while a connector is connected.
func TestCloudflareSDK(t *testing.T) {
	stage := newStage(t)
	ctx := within(t)
	sluice, err := stage.NewSluice(bin, "127.0.0.1")
	must(t, err)
	_, err = sluice.StartServer(ctx)
	must(t, err)
	token, err := sluice.Tunnel(ctx, tunnelName)
	must(t, err)
	_, err = sluice.StartConnector(ctx, "connector", token, nil)
	must(t, err)
	out, err := stage.Output(ctx, harness.Command{Name: "sdk", Path: "node", Env: append(sluice.Env(), "NODE_EXTRA_CA_CERTS="+sluice.CAFile),
		Args: []string{"--test", "--test-reporter=tap", nodeModules(t) + "/sdk.test.mjs"}}, "")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
