package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/dialect"
	"github.com/sluicedb/sluice/proxy/mysql"
)

// mysqlCaps are those of the clients.
const mysqlCaps = mywire.CapLongPassword | mywire.CapTransactions | mywire.CapProtocol41 | mywire.CapDeprecateEOF

// mysqlHits measures hits of the MySQL proxy beside an echo server and MySQL itself.
func mysqlHits(ctx context.Context, o options) (err error) {
	m := &lab{options: o}
	if m.stage, err = harness.NewStage(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.stage.Close()) }()
	my, err := m.stage.StartMySQL(ctx, harness.MySQLConfig{Addr: "127.0.0.1"})
	if err != nil {
		return err
	}
	if err := fillMySQL(ctx, my); err != nil {
		return err
	}
	echo, err := m.startEcho(ctx, nil)
	if err != nil {
		return err
	}
	echo.name = "echo"
	own, err := m.startProxy(ctx, my.Target(), true)
	if err != nil {
		return err
	}
	m.ways = []way{echo, {name: "origin", target: my.Target(), mysql: true}, own}
	for _, size := range []int{smallBody, largeBody} {
		for _, prepared := range []bool{false, true} {
			q := question{size: size, extended: prepared, mysql: true}
			if err := m.replySize(ctx, &q); err != nil {
				return err
			}
			fmt.Printf("\nMySQL, %v: %d bytes of question, %d of answer\n", q, len(q.query()), q.reply)
			out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(out, hitsHeading)
			for _, clients := range o.clients {
				if err := m.compare(ctx, out, q, clients); err != nil {
					return err
				}
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillMySQL makes the table that is asked, and logs in over TLS, after which the server asks for less without it.
func fillMySQL(ctx context.Context, my *harness.MySQL) error {
	db := my.Connect()
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE TABLE bodies (id BIGINT PRIMARY KEY, body TEXT NOT NULL)"); err != nil {
		return err
	}
	for _, size := range []int{smallBody, largeBody} {
		if _, err := db.ExecContext(ctx, "INSERT INTO bodies VALUES (?, ?)", size, strings.Repeat("x", size)); err != nil {
			return err
		}
	}
	return nil
}

// mysqlQuery is the packet that asks MySQL. Of a prepared statement it has the first number that a server gives.
func (q question) mysqlQuery() []byte {
	payload := append([]byte{byte(mywire.ComQuery)}, fmt.Sprintf("SELECT id, body FROM bodies WHERE id = %d", q.size)...)
	if q.extended {
		payload = []byte{byte(mywire.ComStmtExecute), 1, 0, 0, 0, 0, 1, 0, 0, 0} // number, no cursor, once
		payload = append(payload, 0, 1, byte(mywire.TypeLongLong), 0)            // no NULL, types follow
		payload = binary.LittleEndian.AppendUint64(payload, uint64(q.size))
	}
	b, _ := mywire.AppendPacket(nil, 0, payload)
	return b
}

// openMySQL connects, logged in, and prepares the question where it is to be.
func (w way) openMySQL(ctx context.Context, q question) (net.Conn, []byte, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(w.target.Host, strconv.Itoa(w.target.Port)))
	if err != nil {
		return nil, nil, err
	}
	c, err := mywire.Connect(ctx, nc, &mywire.ConnectConfig{User: w.target.User, Password: w.target.Password, Schema: w.target.Database,
		Capabilities: mysqlCaps, Collation: 45}) // utf8mb4_general_ci
	if err != nil {
		return nil, nil, err
	}
	ask := q.query()
	if !q.extended {
		return c.Conn, ask, nil
	}
	prepare, _ := mywire.AppendPacket(nil, 0, append([]byte{byte(mywire.ComStmtPrepare)}, "SELECT id, body FROM bodies WHERE id = ?"...))
	reply, err := readMySQL(c.Conn, mywire.ComStmtPrepare, prepare)
	if err != nil {
		return nil, nil, errors.Join(err, c.Conn.Close())
	}
	copy(ask[mywire.HeaderSize+1:], reply[mywire.HeaderSize+1:mywire.HeaderSize+5])
	return c.Conn, ask, nil
}

// readMySQL asks once and returns the answer.
func readMySQL(conn net.Conn, cmd mywire.Command, ask []byte) (answer []byte, err error) {
	if _, err := conn.Write(ask); err != nil {
		return nil, err
	}
	var reply mywire.Reply
	reply.Begin(cmd, mysqlCaps)
	for !reply.Done() {
		payload, seq, err := mywire.ReadPacket(conn, maxReply)
		if err != nil {
			return nil, err
		}
		part, err := reply.Next(payload, len(payload))
		if err == nil && part == mywire.PartError {
			err = errors.New("MySQL refused the question")
		}
		if err != nil {
			return nil, err
		}
		b, _ := mywire.AppendPacket(nil, seq, payload)
		answer = append(answer, b...)
	}
	return answer, nil
}

// serveMySQL is the MySQL proxy of a process of its own.
func (p *proxy) serveMySQL(ctx context.Context, results *cache.Cache, run func(func(context.Context)), ln net.Listener) error {
	verifiers := map[string]*mywire.Verifier{p.Origin.User: mywire.NewVerifier(p.Origin.Password)}
	databases := map[string]*mysql.Database{}
	for name, policy := range map[string]cache.Policy{cachedName: {MaxAge: time.Hour}, uncachedName: {}} {
		databases[name] = mysql.NewDatabase(name, mysql.Config{
			Database: p.Origin.Database, User: p.Origin.User, Password: p.Origin.Password,
			Limits: dialect.Limits{MaxConns: poolSize}, Cache: results, Caching: policy, Dial: p.dial,
		}, verifiers)
		run(databases[name].Run)
	}
	server := &mysql.Server{Lookup: func(name string) (*mysql.Database, bool) { db, ok := databases[name]; return db, ok }, AllowPlaintext: true, Logger: slog.Default()}
	return server.Serve(ctx, ln)
}
