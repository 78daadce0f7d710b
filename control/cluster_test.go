package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startServer starts one real NATS server on a free port.
func startServer(t testing.TB) *server.Server {
	t.Helper()
	return start(t, &server.Options{
		ServerName: "node", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: filepath.Join(t.TempDir(), "js"), SyncAlways: true,
		NoLog: true, NoSigs: true,
	})
}

// startCluster starts three real NATS servers as processes of their own, and
// returns them by name, and the URL of all.
func startCluster(t *testing.T) (map[string]*exec.Cmd, string) {
	t.Helper()
	const nodes = clusterReplicas
	ports := freePorts(t, 2*nodes)
	servers := map[string]*exec.Cmd{}
	var urls []string
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i)
		cmd, _ := child(t, childJob{
			Role: "server", Name: name, Dir: t.TempDir(),
			Ports: append([]int{ports[i], ports[nodes+i]}, ports[nodes:]...),
		})
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		servers[name] = cmd
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	return servers, strings.Join(urls, ",")
}

// openCluster opens a node as soon as the cluster has a leader.
func openCluster(t *testing.T, dir, url, node string) *Control {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	for attempt := 0; ; attempt++ {
		c, err := Open(ctx, nodeConfig(dir, url, node))
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if pause(ctx, attempt) != nil {
			t.Fatal(err)
		}
	}
}

// start starts one server, which ends with the test.
func start(t testing.TB, opts *server.Options) *server.Server {
	t.Helper()
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(testWait) {
		t.Fatal("the server does not start")
	}
	return srv
}

// restartable stops a server, and returns what starts it again on the same port
// and files.
func restartable(t testing.TB, srv *server.Server) func() {
	t.Helper()
	addr, ok := srv.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("the server has no TCP address")
	}
	// The server puts its files into a directory named jetstream.
	dir := filepath.Dir(srv.JetStreamConfig().StoreDir)
	srv.Shutdown()
	srv.WaitForShutdown()
	return func() {
		start(t, &server.Options{
			ServerName: srv.Name(), Host: "127.0.0.1", Port: addr.Port,
			JetStream: true, StoreDir: dir, SyncAlways: true, NoLog: true, NoSigs: true,
		})
	}
}

// freePorts returns ports that were free a moment ago.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// nodeConfig is the configuration of one node of an external store; nodes of
// one dir share the keyset.
func nodeConfig(dir, url, node string) Config {
	return Config{DataDir: filepath.Join(dir, node), StoreURL: url, KeysetFile: filepath.Join(dir, "keyset.json"), Logger: quiet()}
}

func openAt(t testing.TB, dir, url, node string) *Control {
	t.Helper()
	c, err := Open(t.Context(), nodeConfig(dir, url, node))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestClusterSurvivesANode writes to a cluster of three while its leader is
// killed.
func TestClusterSurvivesANode(t *testing.T) {
	t.Parallel()
	servers, urls := startCluster(t)
	dir := t.TempDir()
	writer := openCluster(t, dir, urls, "writer")
	reader := openCluster(t, dir, urls, "reader")
	run(t, writer)
	run(t, reader)
	info, err := writer.store.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Config.Replicas != clusterReplicas {
		t.Fatalf("the stream has %d replicas, want %d", info.Config.Replicas, clusterReplicas)
	}
	leader := info.Cluster.Leader

	tunnel, err := writer.CreateTunnel(t.Context(), DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	const writes, dies = 60, 20
	var acknowledged []*NewDatabase
	var longest time.Duration
	for i := range writes {
		if i == dies {
			kill(t, servers[leader])
		}
		start := time.Now()
		made, err := writer.CreateManagedDatabase(t.Context(), tunnel.ID, "tcp://10.0.0.1:5432", managed(fmt.Sprintf("db%d", i)), nil)
		longest = max(longest, time.Since(start))
		if err != nil {
			// Whoever asks may try again; what was not acknowledged is not counted.
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("write %d: %v", i, err)
			}
			continue
		}
		acknowledged = append(acknowledged, made)
	}
	t.Logf("%d of %d writes acknowledged with the leader killed, the longest took %v", len(acknowledged), writes, longest)
	if len(acknowledged) < writes-5 {
		t.Errorf("only %d of %d writes acknowledged", len(acknowledged), writes)
	}
	late := openCluster(t, dir, urls, "late")
	for name, c := range map[string]*Control{"writer": writer, "reader": reader, "late": late} {
		last := acknowledged[len(acknowledged)-1]
		await(t, c, "the last write at the "+name, func(s *Snapshot) bool { _, ok := s.DatabaseByID(last.Database.ID); return ok })
		for _, made := range acknowledged {
			if _, ok := c.Snapshot().DatabaseByID(made.Database.ID); !ok {
				t.Errorf("%s: database %s was acknowledged and is lost", name, made.Database.Name)
			}
			if _, _, ok := c.Snapshot().TunnelByHostname(made.Hostname); !ok {
				t.Errorf("%s: hostname %s was acknowledged and is lost", name, made.Hostname)
			}
		}
	}
}

// TestClusterTakesManyCreates: creates of one account at the same time, from two nodes of a cluster, are all made: each depends on the
// account's revision, and none is refused for another that does.
func TestClusterTakesManyCreates(t *testing.T) {
	t.Parallel()
	_, urls := startCluster(t)
	dir := t.TempDir()
	nodes := []*Control{openCluster(t, dir, urls, "a"), openCluster(t, dir, urls, "b")}
	const creators, creates = 8, 5
	var wg sync.WaitGroup
	for i := range creators {
		wg.Go(func() {
			for j := range creates {
				if _, err := nodes[i%2].CreateTunnel(t.Context(), DefaultAccountID, fmt.Sprintf("vpc-%d-%d", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
