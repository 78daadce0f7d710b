package mywire

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// pkt is one packet of a reply.
func pkt(b ...byte) []byte { return b }

var (
	okIdle  = (&OK{Status: StatusAutocommit}).Append(nil, 0)
	okMore  = (&OK{Status: StatusAutocommit | StatusMoreResults}).Append(nil, 0)
	okEnd   = (&OK{EOF: true, Status: StatusAutocommit}).Append(nil, 0)
	okFatE  = append((&OK{EOF: true, Status: StatusInTrans}).Append(nil, 0), bytes.Repeat([]byte{'x'}, 30)...)
	eofIdle = EOF{Status: StatusAutocommit}.Append(nil)
	eofMore = EOF{Status: StatusAutocommit | StatusMoreResults}.Append(nil)
	eofCurs = EOF{Status: StatusCursorExists}.Append(nil)
	errPkt  = Errorf(CodeParse, "no").Append(nil)
	column  = (&Column{Catalog: []byte("def"), Name: []byte("a")}).Append(nil)
	row     = pkt(1, '1')
	binRow  = pkt(0, 0, 1, 0, 0, 0)
	// a row whose first column has 2^24 bytes or more begins like an EOF packet
	longRow = append(pkt(0xfe, 0, 0, 0, 1, 0, 0, 0, 0), make([]byte, MaxPayload-9)...)
)

func TestReply(t *testing.T) {
	const eof, no = Capabilities(0), CapDeprecateEOF
	for _, tt := range []struct {
		name    string
		cmd     Command
		caps    Capabilities
		packets [][]byte
		want    []Part
	}{
		{"ping", ComPing, no, [][]byte{okIdle}, []Part{PartOK}},
		{"quit", ComQuit, no, nil, nil},
		{"close", ComStmtClose, eof, nil, nil},
		{"long data", ComStmtSendLongData, eof, nil, nil},
		{"error", ComQuery, no, [][]byte{errPkt}, []Part{PartError}},
		{"rows", ComQuery, no, [][]byte{pkt(1), column, row, row, okEnd}, []Part{PartColumnCount, PartColumn, PartRow, PartRow, PartEOF}},
		{"an OK that is long", ComQuery, no, [][]byte{pkt(1), column, row, okFatE}, []Part{PartColumnCount, PartColumn, PartRow, PartEOF}},
		{"rows, EOF", ComQuery, eof, [][]byte{pkt(2), column, column, eofIdle, row, eofIdle},
			[]Part{PartColumnCount, PartColumn, PartColumn, PartColumnsEnd, PartRow, PartEOF}},
		{"an error amid rows", ComQuery, eof, [][]byte{pkt(1), column, eofIdle, row, errPkt}, []Part{PartColumnCount, PartColumn, PartColumnsEnd, PartRow, PartError}},
		{"binary rows", ComStmtExecute, no, [][]byte{pkt(1), column, binRow, okEnd}, []Part{PartColumnCount, PartColumn, PartRow, PartEOF}},
		{"two results", ComQuery, eof, [][]byte{pkt(1), column, eofIdle, eofMore, okMore, okIdle},
			[]Part{PartColumnCount, PartColumn, PartColumnsEnd, PartEOF, PartOK, PartOK}},
		{"an error in the second", ComQuery, no, [][]byte{okMore, errPkt}, []Part{PartOK, PartError}},
		{"a cursor, EOF", ComStmtExecute, eof, [][]byte{pkt(1), column, eofCurs}, []Part{PartColumnCount, PartColumn, PartEOF}},
		{"a cursor", ComStmtExecute, no, [][]byte{pkt(1), column, okEnd}, []Part{PartColumnCount, PartColumn, PartEOF}},
		{"fetch", ComStmtFetch, eof, [][]byte{binRow, binRow, eofCurs}, []Part{PartRow, PartRow, PartEOF}},
		{"prepare", ComStmtPrepare, no, [][]byte{Prepared{1, 1, 2, 0}.Append(nil), column, column, column}, []Part{PartPrepared, PartColumn, PartColumn, PartColumn}},
		{"prepare, EOF", ComStmtPrepare, eof, [][]byte{Prepared{1, 1, 1, 0}.Append(nil), column, eofIdle, column, eofIdle},
			[]Part{PartPrepared, PartColumn, PartColumnsEnd, PartColumn, PartColumnsEnd}},
		{"prepare, no columns", ComStmtPrepare, eof, [][]byte{Prepared{1, 0, 1, 0}.Append(nil), column, eofIdle}, []Part{PartPrepared, PartColumn, PartColumnsEnd}},
		{"prepare, nothing", ComStmtPrepare, eof, [][]byte{Prepared{1, 0, 0, 0}.Append(nil)}, []Part{PartPrepared}},
		{"field list", ComFieldList, eof, [][]byte{column, column, eofIdle}, []Part{PartColumn, PartColumn, PartEOF}},
		{"statistics", ComStatistics, eof, [][]byte{[]byte("Uptime: 1")}, []Part{PartText}},
		{"set option", ComSetOption, eof, [][]byte{eofIdle}, []Part{PartEOF}},
		{"set option without EOF", ComSetOption, no, [][]byte{okEnd}, []Part{PartEOF}},
		{"a long row", ComQuery, no, [][]byte{pkt(1), column, longRow, pkt(1, 2), okEnd}, []Part{PartColumnCount, PartColumn, PartRow, PartMore, PartEOF}},
		{"a long row, EOF", ComQuery, eof, [][]byte{pkt(1), column, eofIdle, longRow, pkt(), eofIdle},
			[]Part{PartColumnCount, PartColumn, PartColumnsEnd, PartRow, PartMore, PartEOF}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Reply
			r.Begin(tt.cmd, tt.caps)
			var got []Part
			for i, p := range tt.packets {
				if r.Done() {
					t.Fatalf("done before packet %d", i)
				}
				part, err := r.Next(p[:min(len(p), ReplyPeek)], len(p))
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, part)
			}
			if !slices.Equal(got, tt.want) || !r.Done() {
				t.Errorf("got %v, done %v, want %v", got, r.Done(), tt.want)
			}
			if _, err := r.Next(okIdle, len(okIdle)); !errors.Is(err, ErrProtocol) {
				t.Errorf("a packet behind the end: %v", err)
			}
		})
	}
}

func TestReplyInfile(t *testing.T) {
	var r Reply
	r.Begin(ComQuery, CapDeprecateEOF)
	if part, err := r.Next([]byte("\xfb/tmp/file"), 10); part != PartInfile || err != nil || !r.Infile() || r.Done() {
		t.Fatalf("%v, %v", part, err)
	}
	if _, err := r.Next(okIdle, len(okIdle)); !errors.Is(err, ErrProtocol) {
		t.Errorf("an answer before the file: %v", err)
	}
	r.InfileSent()
	if part, err := r.Next(okIdle, len(okIdle)); part != PartOK || err != nil || !r.Done() {
		t.Errorf("%v, %v", part, err)
	}
	// It answers nothing but a query.
	r.Begin(ComPing, 0)
	if _, err := r.Next([]byte("\xfb/etc/passwd"), 12); !errors.Is(err, ErrProtocol) {
		t.Errorf("asked for a file after a ping: %v", err)
	}
}

func TestReplyAllocatesNothing(t *testing.T) {
	var r Reply
	packets := [][]byte{pkt(1), column, eofIdle, row, eofIdle}
	if n := testing.AllocsPerRun(100, func() {
		r.Begin(ComQuery, 0)
		for _, p := range packets {
			if _, err := r.Next(p[:min(len(p), ReplyPeek)], len(p)); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
