package integration

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/integration/harness"
)

const copyRows = 300_000

// copyRow is one line of COPY's text format.
func copyRow(i int) string { return fmt.Sprintf("%d\trow number %d\n", i, i) }

func testCopyIn(t *testing.T, _ *harness.Stage, target harness.Target) {
	ctx := within(t)
	conn := connect(ctx, t, target)
	mustExec(ctx, t, conn, "create table copy_in (id int, v text)")
	defer mustExec(ctx, t, conn, "drop table copy_in")
	var data strings.Builder
	for i := range copyRows {
		data.WriteString(copyRow(i))
	}
	tag, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(data.String()), "copy copy_in from stdin")
	if err != nil || tag.RowsAffected() != copyRows {
		t.Fatalf("got %v, %v", tag, err)
	}
	var sum string
	want := md5.Sum([]byte(data.String()))
	err = conn.QueryRow(ctx, `select md5(string_agg(id || e'\t' || v || e'\n', '' order by id)) from copy_in`).Scan(&sum)
	if err != nil || sum != hex.EncodeToString(want[:]) {
		t.Errorf("the table's sum is %s, %v, want %x", sum, err, want)
	}
	// and in binary
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"copy_in"}, []string{"id", "v"}, pgx.CopyFromSlice(1000, func(i int) ([]any, error) { return []any{i, "binary"}, nil }))
	if err != nil || n != 1000 {
		t.Errorf("binary: %d rows, %v", n, err)
	}
}

func testCopyOut(t *testing.T, _ *harness.Stage, target harness.Target) {
	ctx := within(t)
	conn := connect(ctx, t, target)
	got, want := md5.New(), md5.New()
	for i := range copyRows {
		want.Write([]byte(copyRow(i)))
	}
	tag, err := conn.PgConn().CopyTo(ctx, got, fmt.Sprintf("copy (select i, 'row number ' || i from generate_series(0, %d) i) to stdout", copyRows-1))
	if err != nil || tag.RowsAffected() != copyRows || !sameSum(got, want) {
		t.Errorf("got %v, %v, same bytes %v", tag, err, sameSum(got, want))
	}
}

// testFailedCopy: a COPY that the server refuses half-way leaves the connection in order.
func testFailedCopy(t *testing.T, _ *harness.Stage, target harness.Target) {
	ctx := within(t)
	conn := connect(ctx, t, target)
	mustExec(ctx, t, conn, "create table failed_copy (id int)")
	defer mustExec(ctx, t, conn, "drop table failed_copy")
	data := strings.Repeat("1\n", 50_000) + "not a number\n" + strings.Repeat("2\n", 500_000)
	if _, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(data), "copy failed_copy from stdin"); code(err) != "22P02" {
		t.Errorf("got %v, want 22P02", err)
	}
	broken := &failingReader{data: strings.NewReader(strings.Repeat("3\n", 50_000))}
	if _, err := conn.PgConn().CopyFrom(ctx, broken, "copy failed_copy from stdin"); code(err) != "57014" { // CopyFail
		t.Errorf("a client's own failure: got %v, want 57014", err)
	}
	var n int
	if err := conn.QueryRow(ctx, "select count(*) from failed_copy").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows, %v", n, err)
	}
}

type failingReader struct{ data *strings.Reader }

func (r *failingReader) Read(p []byte) (int, error) {
	if r.data.Len() == 0 {
		return 0, fmt.Errorf("the client's source is broken")
	}
	return r.data.Read(p)
}

// testManyRows reads 100 MB in 100,000 rows, each in every byte.
func testManyRows(t *testing.T, target harness.Target) {
	ctx := within(t)
	conn := connect(ctx, t, target)
	const rows = 100_000
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		result, err := conn.Query(ctx, fmt.Sprintf("select repeat(md5(i::text), 32) from generate_series(1, %d) i", rows), mode)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for result.Next() {
			n++
			sum := md5.Sum(fmt.Append(nil, n))
			if want := bytes.Repeat(hex.AppendEncode(nil, sum[:]), 32); !bytes.Equal(result.RawValues()[0], want) {
				t.Fatalf("%v: row %d differs", mode, n)
			}
		}
		if err := result.Err(); err != nil || n != rows {
			t.Errorf("%v: %d rows, %v", mode, n, err)
		}
	}
}

// testLargeRow sends 100 MB as one parameter's worth of row, and gets them back.
func testLargeRow(t *testing.T, target harness.Target) {
	ctx := within(t)
	conn := connect(ctx, t, target)
	const size = 100 << 20
	var got []byte
	if err := conn.QueryRow(ctx, "select repeat('0123456789abcdef', $1)::bytea", size/16).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bytes.Repeat([]byte("0123456789abcdef"), size/16)) {
		t.Errorf("%d other bytes", len(got))
	}
	var length int
	if err := conn.QueryRow(ctx, "select length($1::bytea)", got).Scan(&length); err != nil || length != size {
		t.Errorf("the way there: %d bytes, %v", length, err)
	}
	if err := conn.Ping(context.WithoutCancel(ctx)); err != nil {
		t.Error(err)
	}
}

func sameSum(a, b hash.Hash) bool { return bytes.Equal(a.Sum(nil), b.Sum(nil)) }
