package pooling

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// notified waits for one notification.
func (x *wire) notified() string {
	x.t.Helper()
	m, err := x.next()
	if err != nil {
		x.t.Fatalf("waiting for a notification: %v", err)
	}
	n, ok := m.(*pgproto3.NotificationResponse)
	if !ok {
		x.t.Fatalf("instead of a notification: %T", m)
	}
	return n.Channel + "=" + n.Payload
}

// listeners counts the backends that listen.
func listeners(t testing.TB, app string) string {
	t.Helper()
	admin, err := pg.Admin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	var n string
	if err := admin.QueryRow(t.Context(), "select count(*)::text from pg_stat_activity where query ilike 'listen%' and query like $1", "%"+app+"%").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPooling32(t *testing.T) {
	t.Parallel()
	const many = 1000
	w := newWorld(t, maxConns(2))
	clients := make([]*wire, many)
	for i := range clients {
		clients[i] = w.wire(t)
		clients[i].want("C:LISTEN Z:I", q("listen ch32"))
	}
	if got := w.db.Stats(); got.Live > 2 || got.Pinned != 0 {
		t.Errorf("%+v", got)
	}
	n := w.wire(t)
	// One of them is in a transaction: it hears nothing before that ends.
	busy := clients[7]
	busy.want("C:BEGIN Z:T", q("begin"))
	for i := range 3 {
		n.want("C:NOTIFY Z:I", q(fmt.Sprintf("notify ch32, 'n%d'", i)))
	}
	n.want("C:BEGIN C:NOTIFY C:ROLLBACK Z:I", q("begin; notify ch32, 'never'; rollback"))
	for i, x := range clients {
		if x == busy {
			continue
		}
		for j := range 3 {
			if got := x.notified(); got != fmt.Sprintf("ch32=n%d", j) {
				t.Fatalf("client %d heard %s as number %d", i, got, j)
			}
		}
	}
	busy.want("T D:1 C:SELECT_1 Z:T", q("select 1 as a"))
	busy.send(q("commit"))
	if got := busy.ready(1); got != "C:COMMIT Z:I" && !strings.HasPrefix(got, "C:COMMIT") {
		t.Errorf("in the transaction: %s", got)
	}
	for j := range 3 {
		if got := busy.notified(); got != fmt.Sprintf("ch32=n%d", j) {
			t.Errorf("after the transaction: %s", got)
		}
	}
	if got := listeners(t, "ch32"); got != "1" {
		t.Errorf("%s origin connections listen", got)
	}
	// Those who go leave the others alone.
	for _, x := range clients[10:] {
		x.conn.Close()
	}
	n.want("C:NOTIFY Z:I", q("notify ch32, 'last'"))
	for _, x := range clients[:10] {
		if got := x.notified(); got != "ch32=last" {
			t.Errorf("heard %s", got)
		}
	}
}

// LISTEN counts from its commit, in whatever form it comes.
func TestListenForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, n := w.wire(t), w.wire(t)
	tell := func(channel, payload string) {
		t.Helper()
		n.value(fmt.Sprintf("select pg_notify('%s', '%s')", channel, payload))
	}
	x.want("1 2 C:LISTEN Z:I", parse("", `listen "Form A"`), bind(""), execute, syncMsg)
	tell("Form A", "1")
	if got := x.notified(); got != "Form A=1" {
		t.Error(got)
	}
	x.want("C:BEGIN C:LISTEN C:ROLLBACK Z:I", q("begin; listen form_b; rollback"))
	x.want("C:BEGIN C:LISTEN C:UNLISTEN C:COMMIT Z:I", q(`begin; listen form_c; unlisten "Form A"; commit`))
	x.want("C:BEGIN C:UNLISTEN C:ROLLBACK Z:I", q("begin; unlisten form_c; rollback"))
	x.want("C:DO Z:I", q("do $$ begin execute 'listen form_d'; end $$"))
	x.value("select 1") // behind the answer to which channels there are
	tell("form_b", "never")
	tell("Form A", "never")
	tell("form_c", "2")
	if got := x.notified(); got != "form_c=2" {
		t.Error(got)
	}
	eventually(t, "a function's LISTEN is heard", func() bool {
		tell("form_d", "3")
		_ = x.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		m, err := x.fe.Receive()
		n, ok := m.(*pgproto3.NotificationResponse)
		return err == nil && ok && n.Channel == "form_d"
	})
	x.want("C:UNLISTEN Z:I", q("unlisten *"))
	tell("form_c", "never")
	// One's own, and while a connection is kept.
	x.want("C:LISTEN Z:I", q("listen form_e"))
	x.value("select pg_advisory_lock(3201)")
	x.want("C:NOTIFY Z:I", q("notify form_e, 'own'"))
	if got := x.notified(); got != "form_e=own" {
		t.Error(got)
	}
	x.want("C:DISCARD_ALL Z:I", q("discard all"))
	tell("form_e", "never")
	if got := x.value("select 2"); got != "2" {
		t.Error(got)
	}
}

// When the connection that listens is lost, those who listen are told, and hear on.
func TestListenLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, n := w.wire(t), w.wire(t)
	x.want("C:LISTEN Z:I", q("listen ch_lost"))
	admin, err := pg.Admin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	if _, err := admin.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where query = 'LISTEN "ch_lost"'`); err != nil {
		t.Fatal(err)
	}
	for {
		_ = x.conn.SetReadDeadline(time.Now().Add(patience))
		m, err := x.fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if notice, ok := m.(*pgproto3.NoticeResponse); ok && notice.Severity == "WARNING" {
			break
		}
	}
	n.want("C:NOTIFY Z:I", q("notify ch_lost, 'again'"))
	if got := x.notified(); got != "ch_lost=again" {
		t.Error(got)
	}
}

// A standby refuses LISTEN: the driver is told so in its words, and the proxy does
// not log in again and again to hear the same. Once it is the primary, all is well.
func TestListenOnStandby(t *testing.T) {
	t.Parallel()
	stage, err := harness.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	standby, err := stage.StartPostgres(ctx, harness.PostgresConfig{Addr: "127.0.0.1", HBA: []string{"host all all all trust"}})
	if err == nil {
		err = standby.Demote(ctx)
	}
	if err != nil {
		t.Fatal(err, stage.Logs())
	}
	var primary atomic.Bool
	var dials atomic.Int64
	w := newWorld(t, maxConns(1), func(c *postgres.Config) {
		c.TLS.InsecureSkipVerify = true // two servers, two authorities
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			dials.Add(1)
			if primary.Load() {
				return dial(ctx)
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", standby.Port))
		}
	})
	x := w.wire(t)
	for range 3 {
		x.want("E:25006 Z:I", q("listen ch_standby"))
	}
	if n := dials.Load(); n > 12 {
		t.Errorf("%d logins", n)
	}
	primary.Store(true)
	w.db.Renew() // as the first refusal in ten seconds makes the proxy do
	n := w.wire(t)
	eventually(t, "x listens", func() bool { // when it has let go of its connection of before
		x.send(q("listen ch_standby"))
		return x.ready(1) == "C:LISTEN Z:I"
	})
	n.want("C:NOTIFY Z:I", q("notify ch_standby, 'now'"))
	if got := x.notified(); got != "ch_standby=now" {
		t.Error(got)
	}
}
