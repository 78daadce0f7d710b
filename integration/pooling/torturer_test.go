package pooling

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A fate is what a client knows of a transfer that it has sent.
type fate byte

const (
	unknown fate = iota // the answer did not come
	committed
	rolledBack
	found // in the ledger, by the audit
)

// A torturer is one client of TestTorture with what it knows of its session.
type torturer struct {
	m  *torture
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

	transfers []fate       // by number
	sent      map[int]fate // of those in out: what becomes of them if the answer is what is wanted
}

// run goes on until the time is over or something is wrong.
func (c *torturer) run() {
	for time.Now().Before(c.m.until) && !c.t.Failed() && c.round() {
		c.m.rounds.Add(1)
	}
	if c.x != nil {
		c.x.conn.Close()
	}
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

// connect logs in, for as long as it takes where something is wrong with the way.
func (c *torturer) connect() bool {
	begun := time.Now()
	for c.x == nil {
		x, err := c.w.tryWire(c.t)
		if err != nil && !c.m.mayLose(begun) {
			c.t.Errorf("client %d: connect: %v", c.id, err)
			return false
		}
		c.x, c.status, c.set, c.names = x, "I", "", map[string]string{}
	}
	return true
}

// round sends a pipeline and checks what comes; false ends the client.
func (c *torturer) round() bool {
	if c.x == nil && !c.connect() {
		return false
	}
	c.clear()
	for n := 1 + c.r.IntN(6); n > 0 && c.x != nil; n-- {
		switch c.r.IntN(8) {
		case 0, 1:
			c.simple()
		case 2:
			c.transfer()
		default:
			c.group()
		}
	}
	if c.x == nil {
		return !c.t.Failed()
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
	if c.exchange() && c.status == "I" && c.r.IntN(60) == 0 {
		c.canceled()
	}
	return !c.t.Failed()
}

func (c *torturer) clear() {
	c.out, c.want, c.sent = c.out[:0], c.want[:0], nil
}

// exchange writes what was added, in packets of any size, while it reads. It reports
// false where the connection was lost, or the test has failed.
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
	begun := time.Now()
	written := make(chan error, 1)
	x, out := c.x, c.out
	go func() { written <- writeCut(x, out, cuts) }()
	got, err := x.tryReady(strings.Count(strings.Join(c.want, " "), "Z:"))
	if !c.check(got, err, begun) {
		x.conn.Close()
		<-written
		return false
	}
	if err := <-written; err != nil {
		c.t.Errorf("client %d: %v", c.id, err)
		return false
	}
	for n, fate := range c.sent {
		c.transfers[n] = fate
	}
	return true
}

// losses are the SQLSTATEs that a client may be told while the way to the origin is
// disturbed: the origin's own goodbyes, and the proxy's words for a connection that
// it has lost, or cannot make.
var losses = regexp.MustCompile(`^E:(57P0[123]|08006|58000|53300)$`)

// check compares what has come with what is wanted. What has come of a connection
// that was lost is a part of that, up to the word of it.
func (c *torturer) check(got string, err error, begun time.Time) bool {
	want := strings.Join(c.want, " ")
	if err == nil && got == want {
		return true
	}
	gone := strings.Fields(got)
	wanted := strings.Fields(want)
	i := 0
	for i < len(gone) && i < len(wanted) && gone[i] == wanted[i] {
		i++
	}
	switch lost := i < len(gone) && losses.MatchString(gone[i]) || i == len(gone) && err != nil && !isTimeout(err); {
	case !lost, !c.m.mayLose(begun):
	default:
		for _, g := range gone[i:] { // where it goes on, it is of others' no more
			if v, ok := strings.CutPrefix(g, "D:"); ok && !c.own(v) {
				c.t.Errorf("client %d: got another's row %s, behind %v", c.id, v, gone[i])
			}
		}
		c.m.lost.Add(1)
		c.x, c.failed = nil, false
		return false
	}
	dots := regexp.MustCompile(`\.{20,}`)
	c.t.Errorf("client %d: %v\ngot  %s\nwant %s", c.id, err, dots.ReplaceAllString(got, "..."), dots.ReplaceAllString(want, "..."))
	return false
}

// own reports whether a value can be one of this client's.
func (c *torturer) own(v string) bool {
	return v == "" || v == "0" || v == "t" || v == "f" || strings.Contains(v, fmt.Sprintf("c%d.", c.id))
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
		begun := time.Now()
		go func(conn net.Conn, out []byte) { _, _ = conn.Write(out) }(c.x.conn, encodeEnd(c.out))
		if _, err := io.Copy(io.Discard, c.x.conn); err != nil && !c.m.mayLose(begun) {
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
func (c *torturer) canceled() {
	x, begun := c.x, time.Now()
	_, _ = x.conn.Write(encode(q("select pg_sleep(30)"))) // the answer tells
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
	c.clear()
	c.want = []string{"T E:57014 Z:I"}
	if got == "E:57014 Z:I" {
		c.want[0] = got
	}
	if !c.check(got, err, begun) {
		x.conn.Close()
	}
}
