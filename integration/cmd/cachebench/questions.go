package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/pgwire"
)

// A question is what all ways are asked: the body of a row, by its key.
type question struct {
	size     int  // of the body in bytes, and its key
	extended bool // by the extended protocol, or by a prepared statement of MySQL's
	mysql    bool // asked by MySQL's protocol
	reply    int  // bytes of the database's answer
}

// The sizes of the bodies, which are their keys too.
const (
	smallBody = 200
	largeBody = 10_000
)

func (q question) String() string {
	switch {
	case q.mysql && q.extended:
		return fmt.Sprintf("%d bytes, prepared", q.size)
	case q.mysql:
		return fmt.Sprintf("%d bytes, text", q.size)
	case q.extended:
		return fmt.Sprintf("%d bytes, extended", q.size)
	}
	return fmt.Sprintf("%d bytes, simple", q.size)
}

// query is the message, or the messages, that ask the database.
func (q question) query() []byte {
	if q.mysql {
		return q.mysqlQuery()
	}
	if !q.extended {
		return pgwire.AppendQuery(nil, fmt.Sprintf("SELECT id, body FROM bodies WHERE id = %d", q.size))
	}
	return extended("SELECT id, body FROM bodies WHERE id = $1", fmt.Sprint(q.size))
}

// extended is a group of the extended protocol with one parameter in text.
func extended(sql, parameter string) []byte {
	b := pgwire.AppendMessage(nil, pgwire.MsgParse, append(append([]byte{0}, sql...), 0, 0, 0)...)
	bind := []byte{0, 0, 0, 0, 0, 1}
	bind = binary.BigEndian.AppendUint32(bind, uint32(len(parameter)))
	bind = append(append(bind, parameter...), 0, 0)
	b = pgwire.AppendMessage(b, pgwire.MsgBind, bind...)
	b = pgwire.AppendMessage(b, pgwire.MsgDescribe, 'P', 0)
	b = pgwire.AppendMessage(b, pgwire.MsgExecute, 0, 0, 0, 0, 0)
	return pgwire.AppendMessage(b, pgwire.MsgSync)
}

// echoQuestion has the sizes of PostgreSQL's question and answer.
func echoQuestion(q question) (greeting, ask []byte) {
	ask = make([]byte, len(q.query()))
	greeting = binary.BigEndian.AppendUint32(nil, uint32(len(ask)))
	return binary.BigEndian.AppendUint32(greeting, uint32(q.reply)), ask
}

func redisCommand(args ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return []byte(b.String())
}

func redisQuestion(q question) (greeting, ask []byte) {
	return nil, redisCommand("GET", fmt.Sprint(q.size))
}

// fillRedis stores the bodies by their keys.
func fillRedis(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)
	for _, size := range []int{smallBody, largeBody} {
		if _, err := conn.Write(redisCommand("SET", fmt.Sprint(size), strings.Repeat("x", size))); err != nil {
			return err
		}
		if line, err := replies.ReadString('\n'); err != nil || line != "+OK\r\n" {
			return fmt.Errorf("answer to SET: %q %w", line, err)
		}
	}
	return nil
}

// open connects to a way, logged in, and returns what to ask there.
func (w way) open(ctx context.Context, q question) (net.Conn, []byte, error) {
	if w.speak != nil {
		greeting, ask := w.speak(q)
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.addr)
		if err == nil && len(greeting) > 0 {
			_, err = conn.Write(greeting)
		}
		return conn, ask, err
	}
	if w.mysql {
		return w.openMySQL(ctx, q)
	}
	pc, err := pgconn.Connect(ctx, w.target.URL())
	if err != nil {
		return nil, nil, errors.New("a PostgreSQL server refused: " + w.name) // pgconn's text may show the password
	}
	h, err := pc.Hijack()
	if err != nil {
		return nil, nil, err
	}
	// Where a write took pgconn longer than 15 ms it reads in the background, and would go on with that. A read through it, past
	// its deadline, waits for the end of that.
	_ = h.Conn.SetReadDeadline(time.Unix(1, 0))
	if m, err := h.Frontend.Receive(); err == nil {
		return nil, nil, fmt.Errorf("%s: %T behind the login", w.name, m)
	}
	return h.Conn, q.query(), h.Conn.SetReadDeadline(time.Time{})
}

// maxReply bounds an answer in bytes.
const maxReply = 64 << 10

// answerSize asks once and returns how many bytes the answer has: up to ReadyForQuery of PostgreSQL, to the end of a string of
// Redis's. An echo server's is known.
func (w way) answerSize(conn net.Conn, q question, ask []byte) (int, error) {
	if w.mysql {
		cmd := mywire.ComQuery
		if q.extended {
			cmd = mywire.ComStmtExecute
		}
		answer, err := readMySQL(conn, cmd, ask)
		return len(answer), err
	}
	if _, err := conn.Write(ask); err != nil {
		return 0, err
	}
	switch {
	case w.target.Port == 0 && w.name == "echo":
		_, err := io.ReadFull(conn, make([]byte, q.reply))
		return q.reply, err
	case w.target.Port == 0:
		n := len(fmt.Sprintf("$%d\r\n\r\n", q.size)) + q.size
		_, err := io.ReadFull(conn, make([]byte, n))
		return n, err
	}
	b := make([]byte, maxReply)
	for n := 0; n < len(b); {
		m, err := conn.Read(b[n:])
		if err != nil {
			return 0, err
		}
		n += m
		if n > 6 && string(b[n-6:n]) == "Z\x00\x00\x00\x05I" {
			if !strings.Contains(string(b[:n]), "SELECT 1\x00") {
				return 0, fmt.Errorf("%s: not one row", w.name)
			}
			return n, nil
		}
	}
	return 0, errors.New("the answer is too long")
}
