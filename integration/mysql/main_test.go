package mysql

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
)

// A server is an origin of the tests.
type server struct {
	name, addr     string
	user, password string
	caFile         string
	socket         string
	process        *harness.MySQL
}

// servers are those of the tests, each of which runs on every one.
var servers []server

// otherDatabase is a second one at the origin.
const otherDatabase = "other"

func TestMain(m *testing.M) {
	os.Exit(func() int {
		stage, err := harness.NewStage()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer stage.Close()
		if err := makeCertificate(stage); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
		defer cancel()
		for _, mariadb := range []bool{true, false} {
			s, err := start(ctx, stage, mariadb)
			if err != nil {
				fmt.Fprintln(os.Stderr, err, stage.Logs())
				return 1
			}
			servers = append(servers, s)
		}
		return max(m.Run(), leaks())
	}())
}

// The proxies' certificate, and the file of the authority that it leads to.
var (
	certificate tls.Certificate
	driverCA    string
)

func makeCertificate(stage *harness.Stage) error {
	ca, err := harness.NewCA("proxy")
	if err != nil {
		return err
	}
	cert, key, err := ca.Issue("127.0.0.1", "localhost")
	if err != nil {
		return err
	}
	if certificate, err = tls.X509KeyPair(cert, key); err != nil {
		return err
	}
	driverCA = stage.Path("proxy-ca.crt")
	return os.WriteFile(driverCA, ca.PEM, 0o644)
}

func start(ctx context.Context, stage *harness.Stage, mariadb bool) (server, error) {
	m, err := stage.StartMySQL(ctx, harness.MySQLConfig{MariaDB: mariadb, Addr: "127.0.0.1", Settings: map[string]string{"max-connections": "300"}})
	if err != nil {
		return server{}, err
	}
	s := server{
		name: "mysql", addr: net.JoinHostPort(m.Addr, strconv.Itoa(m.Port)), user: harness.MySQLUser, password: m.Password, caFile: m.CAFile, socket: m.Socket, process: m,
	}
	if mariadb {
		s.name = "mariadb"
	}
	admin := m.Admin()
	defer admin.Close()
	for _, text := range []string{"CREATE DATABASE " + otherDatabase, "GRANT ALL ON *.* TO " + s.user + "@'%'"} {
		if _, err := admin.ExecContext(ctx, text); err != nil {
			return s, err
		}
	}
	return s, nil
}

// leaks is 1 if the proxies of the tests left goroutines or read buffers behind.
func leaks() int {
	deadline := time.Now().Add(patience)
	for {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		n := bytes.Count(stacks, []byte("sluice/proxy/")) + bytes.Count(stacks, []byte("protocol/mywire."))
		if buffers := bufconn.BuffersInUse(); n > 0 || buffers > 0 {
			if time.Now().Before(deadline) {
				runtime.Gosched()
				continue
			}
			fmt.Fprintf(os.Stderr, "%d read buffers are held after the end; goroutines:\n%s\n", buffers, stacks)
			return 1
		}
		return 0
	}
}
