package pooling

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// The origin's network goes without a word. Who waits for an answer and who asks next,
// on a connection that had been idle, are told long before TCP itself gives up.
func TestPooling74HalfOpen(t *testing.T) {
	t.Parallel()
	stage, err := harness.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stage.Close() })
	near, far := namespace(t, stage), namespace(t, stage)
	here, there := netip.MustParsePrefix("10.79.0.1/30"), netip.MustParsePrefix("10.79.0.2/30")
	link, err := stage.NewLink(near, here, far, there, harness.Conditions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	origin, err := stage.StartPostgres(ctx, harness.PostgresConfig{Addr: there.Addr().String(), Namespace: far})
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(origin.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	target := origin.Target()
	w := newWorld(t, maxConns(2), func(c *postgres.Config) {
		c.Host, c.Database, c.User, c.Password = target.Host, target.Database, target.User, target.Password
		c.TLS = &tls.Config{RootCAs: roots, ServerName: target.Host}
		c.ConnectTimeout, c.QueryTimeout = 5*time.Second, 10*patience // it is not this that ends them
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			return near.DialBy(ctx, stream.Dialer(stream.MaxIdle), "tcp", net.JoinHostPort(target.Host, strconv.Itoa(target.Port)))
		}
	})
	waits, asks := w.wire(t), w.wire(t)
	waits.want("C:BEGIN Z:T", q("begin"))
	asks.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	link.Set(harness.Conditions{Down: true})
	var both sync.WaitGroup
	for _, x := range []*wire{waits, asks} {
		both.Go(func() {
			x.send(q("select 1"))
			_ = x.conn.SetReadDeadline(time.Now().Add(2 * patience)) // TCP by itself waits for a quarter of an hour
			if m, err := x.fe.Receive(); err != nil || note(m) != "E:08006" {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
	both.Wait()
	// With the network back the next one is served.
	link.Set(harness.Conditions{})
	eventually(t, "serves", func() bool {
		x, err := w.tryWire(t)
		if err != nil {
			return false
		}
		x.send(q("select 1"))
		answer, err := x.tryReady(1)
		return err == nil && answer == "T D:1 C:SELECT_1 Z:I"
	})
}

func namespace(t *testing.T, stage *harness.Stage) *harness.Namespace {
	t.Helper()
	ns, err := stage.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	return ns
}
