package control

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The tests that kill run what they kill in processes of its own: the test
// binary again, told by this variable what to be.
const childVariable = "SLUICE_TEST_CHILD"

// childJob is what a child does.
type childJob struct {
	Role  string // writer or server
	Dir   string
	From  int // writer: the number of its first database
	Name  string
	Ports []int // server: client port, cluster port, all cluster ports
}

func TestMain(m *testing.M) {
	text := os.Getenv(childVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var job childJob
	err := json.Unmarshal([]byte(text), &job)
	if err == nil {
		switch job.Role {
		case "writer":
			err = writeUntilKilled(job)
		case "server":
			err = serveUntilKilled(job)
		}
	}
	fmt.Fprintln(os.Stderr, "child:", err)
	os.Exit(1)
}

// child starts a child and returns it with its output.
func child(t testing.TB, job childJob) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // ends with this process, however that ends
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close() })
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// kill ends a child with SIGKILL.
func kill(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
}

// writeUntilKilled makes managed databases and names each when it is
// acknowledged.
func writeUntilKilled(job childJob) error {
	ctx := context.Background()
	c, err := Open(ctx, Config{DataDir: job.Dir, Logger: quiet()})
	if err != nil {
		return err
	}
	tunnel, ok := c.Snapshot().TunnelByName(DefaultAccountID, "vpc")
	if !ok {
		if tunnel, err = c.CreateTunnel(ctx, DefaultAccountID, "vpc"); err != nil {
			return err
		}
	}
	for i := job.From; ; i++ {
		made, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.1:5432", managed(fmt.Sprintf("db-%d-%d", job.From, i)), nil)
		if err != nil {
			return err
		}
		if _, err := fmt.Println(made.Database.ID); err != nil {
			return err
		}
	}
}

// serveUntilKilled is one node of a NATS cluster.
func serveUntilKilled(job childJob) error {
	opts := &server.Options{
		ServerName: job.Name, Host: "127.0.0.1", Port: job.Ports[0],
		JetStream: true, StoreDir: job.Dir, SyncAlways: true, NoLog: true, NoSigs: true,
		Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: job.Ports[1]},
	}
	for _, port := range job.Ports[2:] {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	srv.Start()
	_, err = io.Copy(io.Discard, os.Stdin) // until the test ends
	srv.Shutdown()
	return err
}

// TestKillLosesNothingAcknowledged kills a writer at random points of 200
// writes, restarts it, and looks for every write that was acknowledged.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	const writes, most = 200, 40
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	kills := 0
	for len(acknowledged) < writes {
		cmd, out := child(t, childJob{Role: "writer", Dir: dir, From: len(acknowledged)})
		for n := 1 + rand.N(most); n > 0 && out.Scan(); n-- {
			acknowledged[out.Text()] = true
		}
		timer := time.NewTimer(rand.N(3 * time.Millisecond)) // into the middle of the next write
		<-timer.C
		kill(t, cmd)
		for out.Scan() { // what it said before it died
			acknowledged[out.Text()] = true
		}
		if kills++; kills > writes {
			t.Fatal("the writer does not get on")
		}
	}
	c := open(t, dir)
	snap := c.Snapshot()
	for id := range acknowledged {
		if _, ok := snap.DatabaseByID(id); !ok {
			t.Errorf("database %s was acknowledged and is lost", id)
		}
	}
	// Acknowledged or not, everything is there whole or not at all.
	databases := snap.Databases(DefaultAccountID)
	for _, d := range databases {
		_, token := snap.ServiceTokenByID(d.Managed.ServiceTokenID)
		_, app := snap.Application(d.Managed.Hostname)
		_, named := snap.DatabaseByName(DefaultAccountID, d.Name)
		if !token || !app || !named {
			t.Errorf("database %s is there in part: token %v, application %v, name %v", d.Name, token, app, named)
		}
	}
	tunnel, _ := snap.TunnelByName(DefaultAccountID, "vpc")
	if len(tunnel.Ingress) != len(databases) || len(snap.ServiceTokens(DefaultAccountID)) != len(databases) || snap.hostnames.size != len(databases) {
		t.Errorf("%d databases, %d hostnames, %d claims, %d service tokens", len(databases), len(tunnel.Ingress),
			snap.hostnames.size, len(snap.ServiceTokens(DefaultAccountID)))
	}
	t.Logf("%d writes acknowledged over %d kills, %d databases there", len(acknowledged), kills, len(databases))
}
