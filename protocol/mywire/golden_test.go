package mywire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

var update = flag.Bool("update", false, "record testdata/*.transcript anew, from the servers that `make install` installs")

// A transcript is what was said with one server on connections with different
// capabilities: for each command a line with its bytes, and one for each packet of
// the answer.
//
//	connection <capabilities in hex>
//	greeting <hex>
//	> <hex of a payload>
//	< <hex of a payload>
const (
	lineConnection = "connection "
	lineGreeting   = "greeting "
	lineSent       = "> "
	lineGot        = "< "
)

// said are the commands of a transcript. An execution uses the statement prepared last.
func said() []string {
	query := func(sql string) string { return string(byte(ComQuery)) + sql }
	execute := func(flags byte) string {
		e := Execute{Flags: flags, Params: 1, Nulls: []byte{0}, Bound: true, Types: []byte{byte(TypeLongLong), 0}}
		return string(binary.LittleEndian.AppendUint64(e.Append(nil, false, 0), 2))
	}
	fetch := string(append([]byte{byte(ComStmtFetch)}, 0, 0, 0, 0, 2, 0, 0, 0))
	return []string{
		string(byte(ComPing)),
		query("SET session_track_schema = ON, session_track_system_variables = '*', session_track_state_change = ON, session_track_transaction_info = 'CHARACTERISTICS'"),
		query("CREATE DATABASE IF NOT EXISTS golden"),
		string(byte(ComInitDB)) + "golden",
		query("CREATE TEMPORARY TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20), n BIGINT UNSIGNED, at DATETIME(3))"),
		query("INSERT INTO t (name, n, at) VALUES ('one', 1, '2024-02-29 01:02:03.004'), ('two', NULL, NULL), ('three', 3, NULL)"),
		query("UPDATE t SET n = n + 1 WHERE id < 3"),
		query("SELECT id, name, n, at, 1.50 AS d, x'00ff' AS b FROM t ORDER BY id"),
		query("SELECT 1/0, 'x' + 1"),
		query("SHOW WARNINGS"),
		query("SET sql_mode = CONCAT(@@sql_mode, ',ANSI'), time_zone = '+02:00'"),
		query("SET NAMES utf8mb4, autocommit = 0"),
		query("SET @a = 1"),
		query("SELECT COUNT(*) FROM t"),
		query("COMMIT"),
		query("SET autocommit = 1"),
		query("START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT"),
		query("SELECT name FROM t LIMIT 1"),
		query("ROLLBACK"),
		query("SELECT nothing"),
		query("SELECT 1; SET @b = 2; SELECT 2, 3; SELECT nothing; SELECT 4"),
		query("DROP PROCEDURE IF EXISTS p"),
		query("CREATE PROCEDURE p() BEGIN SELECT 1 AS a; SELECT 2 AS b WHERE 1 = 0; END"),
		query("CALL p()"),
		string(byte(ComStmtPrepare)) + "SELECT id, name, n, at FROM t WHERE id <> ?",
		execute(0),
		execute(CursorReadOnly),
		fetch,
		fetch,
		string(append([]byte{byte(ComStmtReset)}, 0, 0, 0, 0)),
		string(byte(ComStmtPrepare)) + "DO 1",
		string(byte(ComStmtPrepare)) + "SELECT nothing",
		string(byte(ComStatistics)),
		string(byte(ComFieldList)) + "t\x00n%",
		string([]byte{byte(ComSetOption), OptionMultiStatementsOff, 0}),
		query("USE mysql"),
		string(byte(ComInitDB)) + "nowhere",
		string(byte(ComResetConnection)),
		query(""),
		query("DROP DATABASE golden"),
	}
}

// wholeCapabilities are those of a client that asks for everything there is here.
const wholeCapabilities = CapFoundRows | CapLongFlag | CapLocalFiles | CapTransactions | CapMultiStatements | CapMultiResults | CapPSMultiResults

var recordings = []struct {
	name    string
	mariaDB bool
}{{"mysql", false}, {"mariadb", true}}

func TestGoldenTranscripts(t *testing.T) {
	for _, r := range recordings {
		t.Run(r.name, func(t *testing.T) {
			file := filepath.Join("testdata", r.name+".transcript")
			if *update {
				record(t, file, r.mariaDB)
			}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var told bytes.Buffer
			replay(t, bufio.NewScanner(f), &told)
			golden := filepath.Join("testdata", r.name+".golden")
			if *update {
				if err := os.WriteFile(golden, told.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(told.Bytes(), want) {
				t.Errorf("%s is read differently, now:\n%s", file, told.Bytes())
			}
		})
	}
}

// replay reads a transcript with the package's decoders, tells what it says, and
// checks that the encoders give the same bytes.
func replay(t *testing.T, lines *bufio.Scanner, told *bytes.Buffer) {
	var caps Capabilities
	var reply Reply
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, lineConnection); ok {
			if _, err := fmt.Sscanf(rest, "%x", (*uint64)(&caps)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(told, line)
			continue
		}
		kind, text, _ := strings.Cut(line, " ")
		payload, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		switch kind + " " {
		case lineGreeting:
			g, err := ParseGreeting(payload)
			if err != nil {
				t.Fatal(err)
			}
			same(t, payload, g.Append(nil))
			fmt.Fprintf(told, "greeting %q id=%d capabilities=%x collation=%d status=%x plugin=%s mariadb=%v\n",
				g.Version, g.ID, uint64(g.Capabilities), g.Collation, g.Status, g.Plugin, g.MariaDB())
		case lineSent:
			if !reply.Done() {
				t.Fatalf("the reply before %q is not complete", payload)
			}
			fmt.Fprintf(told, "> %q\n", payload)
			reply.Begin(Command(payload[0]), caps)
		case lineGot:
			fmt.Fprintf(told, "< %s\n", describe(t, &reply, payload, caps))
		}
	}
}

func same(t *testing.T, got, again []byte) {
	t.Helper()
	if !bytes.Equal(got, again) {
		t.Errorf("%x becomes %x", got, again)
	}
}

// describe tells what a packet of a reply is.
func describe(t *testing.T, reply *Reply, payload []byte, caps Capabilities) string {
	part, err := reply.Next(payload[:min(len(payload), ReplyPeek)], len(payload))
	if err != nil {
		t.Fatalf("%x: %v", payload, err)
	}
	switch {
	case part == PartOK, part == PartEOF && caps.Has(CapDeprecateEOF):
		ok, err := ParseOK(payload, caps)
		if err != nil {
			t.Fatalf("%x: %v", payload, err)
		}
		same(t, payload, ok.Append(nil, caps))
		s := fmt.Sprintf("OK eof=%v rows=%d id=%d status=%x warnings=%d info=%q", ok.EOF, ok.AffectedRows, ok.LastInsertID, ok.Status, ok.Warnings, ok.Info)
		var state []byte
		for c, err := range Changes(ok.State) {
			if err != nil {
				t.Fatalf("%x: %v", payload, err)
			}
			state = AppendChange(state, c)
			s += fmt.Sprintf(" [%d %s=%q]", c.Kind, c.Name, c.Value)
		}
		same(t, ok.State, state)
		return s
	case part == PartEOF, part == PartColumnsEnd:
		e, err := ParseEOF(payload)
		if err != nil {
			t.Fatal(err)
		}
		same(t, payload, e.Append(nil))
		return fmt.Sprintf("EOF columns=%v status=%x warnings=%d", part == PartColumnsEnd, e.Status, e.Warnings)
	case part == PartError:
		e, err := ParseError(payload)
		if err != nil {
			t.Fatal(err)
		}
		same(t, payload, e.Append(nil))
		return "ERR " + e.Error()
	case part == PartColumn:
		c, err := ParseColumn(payload)
		if err != nil {
			t.Fatalf("%x: %v", payload, err)
		}
		same(t, payload, c.Append(nil))
		return fmt.Sprintf("column %s.%s.%s(%s) %s(%s) collation=%d length=%d type=%x flags=%x decimals=%d default=%q",
			c.Catalog, c.Schema, c.Table, c.OrgTable, c.Name, c.OrgName, c.Collation, c.Length, c.Type, c.Flags, c.Decimals, c.Default)
	case part == PartPrepared:
		p, err := ParsePrepared(payload)
		if err != nil {
			t.Fatal(err)
		}
		same(t, payload, p.Append(nil))
		return fmt.Sprintf("prepared %+v", p)
	case part == PartColumnCount:
		return fmt.Sprintf("columns %d", payload[0])
	case part == PartRow:
		return fmt.Sprintf("row %q", payload)
	case part == PartText:
		return "text"
	}
	t.Fatalf("part %d: %x", part, payload)
	return ""
}

// record says everything to a new server.
func record(t *testing.T, file string, mariaDB bool) {
	stage, err := harness.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	server, err := stage.StartMySQL(ctx, harness.MySQLConfig{MariaDB: mariaDB, Addr: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, caps := range []Capabilities{0, CapDeprecateEOF, CapSessionTrack, CapSessionTrack | CapDeprecateEOF} {
		recordConnection(t, &out, server.Socket, wholeCapabilities|caps)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func recordConnection(t *testing.T, out *bytes.Buffer, socket string, caps Capabilities) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	spy := &spy{Conn: nc}
	c, err := Connect(t.Context(), spy, &ConnectConfig{User: "root", Capabilities: caps, Collation: 45})
	if err != nil {
		t.Fatal(err)
	}
	n, _ := Header(spy.read)
	fmt.Fprintf(out, "%s%x\n%s%x\n", lineConnection, uint64(c.Capabilities), lineGreeting, spy.read[HeaderSize:HeaderSize+n])
	var statement uint32
	for _, text := range said() {
		sent := []byte(text)
		switch Command(sent[0]) {
		case ComStmtExecute, ComStmtFetch, ComStmtReset:
			SetStatementID(sent, statement)
		}
		fmt.Fprintf(out, "%s%x\n", lineSent, sent)
		b, _ := AppendPacket(nil, 0, sent)
		if _, err := nc.Write(b); err != nil {
			t.Fatal(err)
		}
		var reply Reply
		reply.Begin(Command(sent[0]), c.Capabilities)
		for !reply.Done() {
			payload, _, err := ReadPacket(nc, 1<<16)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(out, "%s%x\n", lineGot, payload)
			part, err := reply.Next(payload, len(payload))
			if err != nil {
				t.Fatalf("%q: %x: %v", sent, payload, err)
			}
			if part == PartPrepared {
				p, err := ParsePrepared(payload)
				if err != nil {
					t.Fatal(err)
				}
				statement = p.ID
			}
		}
	}
}

// spy keeps what was read.
type spy struct {
	net.Conn
	read []byte
}

func (s *spy) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.read = append(s.read, p[:n]...)
	return n, err
}
