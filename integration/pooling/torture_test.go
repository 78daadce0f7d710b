package pooling

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// 200 clients on 10 origin connections send random pipelines of everything, cut into
// random packets; each knows what must come back, its own marker in every value.
// SLUICE_SEED repeats a run as far as the scheduler does.
func TestTorture(t *testing.T) {
	w := newWorld(t, maxConns(10))
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("SLUICE_SEED=%d", seed)
	w.wire(t).want("C:CREATE_TABLE Z:I", q("create unlogged table torture (mark text, n int)"))
	stop := time.Now().Add(10 * time.Second)
	var wg sync.WaitGroup
	var rounds atomic.Int64
	for i := range 200 {
		c := &torturer{t: t, w: w, id: i, r: rand.New(rand.NewPCG(seed, uint64(i)))}
		wg.Go(func() {
			for time.Now().Before(stop) && !t.Failed() && c.round() {
				rounds.Add(1)
			}
			if c.x != nil {
				c.x.conn.Close()
			}
		})
	}
	wg.Wait()
	eventually(t, patience, "every connection is back", func() bool { s := w.db.Stats(); return s.Idle == s.Live })
	t.Logf("%d rounds, %+v, %+v", rounds.Load(), w.db.Counts(), w.db.Stats())
	w.wire(t).want("C:DROP_TABLE Z:I", q("drop table torture"))
}

// A torturer is one client of TestTorture with what it knows of its session.
type torturer struct {
	t  *testing.T
	w  *world
	x  *wire
	id int
	n  int
	r  *rand.Rand

	set string // what torture.mark is in its session

	names  map[string]string // of statements, and what follows the marker in what they select
	status string            // I, T or E
	failed bool              // the group has failed
	out    []byte
	want   []string
}

func (c *torturer) mark() string {
	c.n++
	return fmt.Sprintf("c%d.%d", c.id, c.n)
}

func (c *torturer) add(m ...pgproto3.FrontendMessage) { c.out = append(c.out, encode(m...)...) }

func (c *torturer) expect(s string) {
	if !c.failed {
		c.want = append(c.want, s)
	}
}

// fail notes an error of the extended protocol.
func (c *torturer) fail(code string) {
	c.expect("E:" + code)
	c.failed = true
}

func (c *torturer) one(of ...string) string { return of[c.r.IntN(len(of))] }

// round sends a pipeline and checks what comes; false ends the client.
func (c *torturer) round() bool {
	if c.x == nil {
		x, err := c.w.tryWire(c.t)
		if err != nil {
			c.t.Errorf("connect: %v", err)
			return false
		}
		c.x, c.status, c.set, c.names = x, "I", "", map[string]string{}
	}
	c.out, c.want = c.out[:0], c.want[:0]
	for range 1 + c.r.IntN(6) {
		if c.r.IntN(3) == 0 {
			c.simple()
		} else {
			c.group()
		}
	}
	if c.status != "I" && c.r.IntN(4) > 0 { // few transactions outlive a round
		c.out = append(c.out, encode(q("rollback"))...)
		c.want = append(c.want, "C:ROLLBACK Z:I")
		c.status = "I"
	}
	if c.r.IntN(40) == 0 {
		c.vanish()
		return true
	}
	if !c.exchange() {
		return false
	}
	if c.status == "I" && c.r.IntN(60) == 0 {
		return c.canceled()
	}
	return true
}

// exchange writes what was added, in packets of any size, while it reads.
func (c *torturer) exchange() bool {
	cuts := []int{}
	switch c.r.IntN(4) {
	case 0:
		for range 1 + c.r.IntN(4) {
			cuts = append(cuts, c.r.IntN(len(c.out)+1))
		}
	case 1:
		for i := 0; i < len(c.out) && i < 300; i++ {
			cuts = append(cuts, i)
		}
	}
	written := make(chan error, 1)
	x, out := c.x, c.out
	go func() { written <- writeCut(x, out, cuts) }()
	want := strings.Join(c.want, " ")
	got, err := x.tryReady(strings.Count(want, "Z:"))
	if err != nil || got != want {
		dots := regexp.MustCompile(`\.{20,}`)
		c.t.Errorf("client %d: %v\ngot  %s\nwant %s", c.id, err, dots.ReplaceAllString(got, "..."), dots.ReplaceAllString(want, "..."))
		return false
	}
	if err := <-written; err != nil {
		c.t.Errorf("client %d: %v", c.id, err)
		return false
	}
	return true
}

func writeCut(x *wire, out []byte, cuts []int) error {
	_ = x.conn.SetWriteDeadline(time.Now().Add(patience))
	done := 0
	for _, i := range cuts {
		if i > done {
			if _, err := x.conn.Write(out[done:i]); err != nil {
				return err
			}
			done = i
		}
	}
	_, err := x.conn.Write(out[done:])
	return err
}

// vanish sends a part of the round and goes, one way or the other.
func (c *torturer) vanish() {
	_ = c.x.conn.SetDeadline(time.Now().Add(patience))
	part := c.out[:c.r.IntN(len(c.out)+1)]
	switch c.r.IntN(3) {
	case 0:
		_, _ = c.x.conn.Write(part)
		c.x.reset()
	case 1:
		_, _ = c.x.conn.Write(part)
		c.x.conn.Close()
	case 2:
		go func(conn net.Conn, out []byte) { _, _ = conn.Write(out) }(c.x.conn, encodeEnd(c.out))
		if _, err := io.Copy(io.Discard, c.x.conn); err != nil {
			c.t.Errorf("client %d: goodbye: %v", c.id, err)
		}
		c.x.conn.Close()
	}
	c.x, c.failed = nil, false
}

func encodeEnd(out []byte) []byte {
	return append(append([]byte(nil), out...), encode(&pgproto3.Terminate{})...)
}

// canceled runs something long and cancels it until that works.
func (c *torturer) canceled() bool {
	x := c.x
	x.send(q("select pg_sleep(30)"))
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				c.w.cancel(c.t, x.pid, x.secret)
			}
		}
	})
	got, err := x.tryReady(1)
	close(done)
	wg.Wait()
	// Canceled in line, or while it ran.
	if err != nil || got != "T E:57014 Z:I" && got != "E:57014 Z:I" {
		c.t.Errorf("client %d: canceled: %s, %v", c.id, got, err)
		return false
	}
	return true
}

// simple adds one simple query.
func (c *torturer) simple() {
	m := c.mark()
	bad := func(sql, good string) { // in a failed transaction
		c.add(q(sql))
		if c.status == "E" {
			good = "E:25P02"
		}
		c.want = append(c.want, good+" Z:"+c.status)
	}
	switch c.r.IntN(14) {
	case 0:
		tag := "C:BEGIN"
		if c.status == "E" {
			tag = "E:25P02"
		} else {
			c.status = "T"
		}
		c.add(q("begin"))
		c.want = append(c.want, tag+" Z:"+c.status)
	case 1:
		tag := "C:COMMIT"
		if c.status == "E" {
			tag = "C:ROLLBACK"
		}
		c.add(q("commit"))
		c.want, c.status = append(c.want, tag+" Z:I"), "I"
	case 2:
		c.add(q("rollback"))
		c.want, c.status = append(c.want, "C:ROLLBACK Z:I"), "I"
	case 3:
		code := "E:42703"
		if c.status == "E" {
			code = "E:25P02"
		} else if c.status == "T" {
			c.status = "E"
		}
		c.add(q("select nope"))
		c.want = append(c.want, code+" Z:"+c.status)
	case 4:
		bad(fmt.Sprintf("select '%s'; select '%s'", m, m), fmt.Sprintf("T D:%s C:SELECT_1 T D:%s C:SELECT_1", m, m))
	case 5:
		bad(fmt.Sprintf("select '%s' /* %s */", m, strings.Repeat("x", 20000+c.r.IntN(20000))), "T D:"+m+" C:SELECT_1")
	case 6:
		bad("", "I")
		if c.status == "E" {
			c.want[len(c.want)-1] = "I Z:E" // allowed even then
		}
	case 7, 8:
		c.copyIn(m)
	case 9:
		bad(fmt.Sprintf("copy (select '%s') to stdout", m), "H d c C:COPY_1")
	case 10: // a setting, to stay the client's own, or to be gone when the transaction is
		bad("select set_config('torture.mark', '"+m+"', false)", "T D:"+m+" C:SELECT_1")
		if c.status == "T" {
			bad("select current_setting('torture.mark')", "T D:"+m+" C:SELECT_1")
		}
		if c.status == "I" {
			c.set = m
		}
		c.add(q("rollback"))
		c.want, c.status = append(c.want, "C:ROLLBACK Z:I"), "I"
	case 11:
		if c.status == "I" {
			c.add(q("create temp table torture_temp (a int)"), q("rollback"), q("drop table torture_temp"))
			c.want = append(c.want, "C:CREATE_TABLE Z:I C:ROLLBACK Z:I C:DROP_TABLE Z:I")
			c.mustBeClean()
		}
	default:
		bad(fmt.Sprintf("select '%s'", m), "T D:"+m+" C:SELECT_1")
	}
}

// mustBeClean waits for what was sent so far, so that the next query has an origin
// connection of its own, on which nobody's dirt may be.
func (c *torturer) mustBeClean() {
	if !c.exchange() {
		return
	}
	c.out, c.want = c.out[:0], c.want[:0]
	c.add(q("select coalesce(current_setting('torture.mark', true), '') || coalesce(to_regclass('pg_temp.torture_temp')::text, '') || '" + c.mark() + "'"))
	c.want = append(c.want, fmt.Sprintf("T D:%sc%d.%d C:SELECT_1 Z:I", c.set, c.id, c.n))
}

// copyIn adds a COPY FROM STDIN with its data right behind, sometimes with a bad row.
func (c *torturer) copyIn(m string) {
	n := 1 + c.r.IntN(50)
	wrong := c.r.IntN(3) == 0
	c.add(q("copy torture from stdin"))
	for i := range n {
		row := fmt.Sprintf("%s\t%d\n", m, i)
		if wrong && i == n/2 {
			row = m + "\tx\n"
		}
		c.add(copyData(row))
	}
	switch {
	case c.status == "E":
		c.want = append(c.want, "E:25P02 Z:E")
		c.add(copyDone)
		return
	case wrong:
		c.want = append(c.want, "G E:22P02")
	case c.r.IntN(4) == 0:
		c.add(&pgproto3.CopyFail{Message: "enough"})
		c.want = append(c.want, "G E:57014")
		wrong = true
	default:
		c.want = append(c.want, fmt.Sprintf("G C:COPY_%d", n))
	}
	if wrong && c.status == "T" {
		c.status = "E"
	}
	c.add(copyDone)
	c.want = append(c.want, "Z:"+c.status)
}

// tortureTexts are shared by all clients; each selects its argument and a suffix.
var tortureSuffixes = []string{"-a", "-b", "-c", "-d", "-e"}

func tortureText(suffix string) string { return "select $1::text || '" + suffix + "'" }

// group adds a group of the extended protocol.
func (c *torturer) group() {
	for range 1 + c.r.IntN(5) {
		c.extended()
		if c.r.IntN(10) == 0 {
			c.add(flush)
		}
	}
	c.add(syncMsg)
	if c.failed && c.status == "T" {
		c.status = "E"
	}
	c.failed = false
	c.want = append(c.want, "Z:"+c.status)
}

// known adds Bind and Execute of a statement that is known to exist.
func (c *torturer) known(name, suffix string) {
	m := c.mark()
	arg, want := m, m+suffix
	if c.r.IntN(8) == 0 { // a long one
		arg += strings.Repeat(".", 16000+c.r.IntN(20000))
		want = arg + suffix
	}
	c.add(bind(name, arg))
	if c.status == "E" {
		c.fail("25P02")
	}
	c.expect("2")
	if c.r.IntN(3) == 0 {
		c.add(describePortal(""))
		c.expect("T")
	}
	c.add(execute)
	c.expect("D:" + want + " C:SELECT_1")
}

func (c *torturer) parse(name, sql string) bool {
	if c.r.IntN(10) == 0 {
		sql += " /* " + strings.Repeat("long ", 4000) + "*/"
	}
	c.add(parse(name, sql))
	if c.status == "E" {
		c.fail("25P02")
	}
	c.expect("1")
	return !c.failed
}

func (c *torturer) extended() {
	name := fmt.Sprint("s", c.r.IntN(8))
	suffix, exists := c.names[name]
	switch c.r.IntN(12) {
	case 0, 1, 2: // unnamed
		suffix = c.one(tortureSuffixes...)
		c.parse("", tortureText(suffix))
		c.known("", suffix)
	case 3:
		if c.status != "E" { // which of two errors it is then depends on what is known when
			c.add(parse("", "bad"))
			c.fail("42601")
		}
	case 4:
		if exists {
			c.add(closeStatement(name))
			if c.expect("3"); !c.failed {
				delete(c.names, name)
			}
		}
	case 5:
		if !exists {
			c.add(bind(name, "x"))
			c.fail("26000")
		} else if c.status != "E" {
			c.add(parse(name, "select 1"))
			c.fail("42P05")
		}
	case 6:
		if c.status != "E" {
			m := c.mark()
			c.add(parse("", "select '"+m+"' from generate_series(1, 5)"), bindTo("p", ""), rows("p", 2), rows("p", 2), closePortal("p"))
			c.expect(fmt.Sprintf("1 2 D:%s D:%s s D:%s D:%s s 3", m, m, m, m))
		}
	case 7:
		if c.status != "E" {
			c.add(parse("", "select 1/(random()*0)::int"), bind(""), execute)
			c.expect("1 2")
			c.fail("22012")
		}
	case 8:
		if exists {
			c.add(describe(name))
			if c.status == "E" {
				c.fail("25P02")
			}
			c.expect("t T")
		}
	default:
		if !exists {
			suffix = c.one(tortureSuffixes...)
			if c.parse(name, tortureText(suffix)) {
				c.names[name] = suffix
			}
		}
		c.known(name, suffix)
	}
}
