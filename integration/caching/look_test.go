package caching

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/proxy/query"
)

// BenchmarkLook is what a look at a catalog that has not changed takes of the origin, and a
// reading of it, by how many tables of ten columns there are: processor time of the origin's process
// (10 ms at the finest, of all of a run).
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("tables%d", n), func(b *testing.B) { look(b, n) })
	}
}

func look(b *testing.B, n int) {
	var sql []string
	for i := range n {
		sql = append(sql, fmt.Sprintf("create table NAME.t%d (id bigint primary key, a int, b int, c int, d int, e text, f text, g text, h text, i text)", i))
	}
	_, direct := tables(b, sql...)
	pid := strings.TrimSpace(rows(b, direct, "select pg_backend_pid()"))
	for _, what := range []struct {
		name string
		sql  []string
	}{{"look", []string{query.FingerprintSQL}}, {"reading", query.CatalogSQL[:]}} {
		b.Run(what.name, func(b *testing.B) {
			before := processorTicks(b, pid)
			for b.Loop() {
				for _, sql := range what.sql {
					if _, err := direct.PgConn().Exec(b.Context(), sql).ReadAll(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(processorTicks(b, pid)-before)*10/float64(b.N), "cpu-ms/op")
		})
	}
}

// processorTicks is what a process has taken of the processor so far, in hundredths of a second
// (proc_pid_stat(5), utime and stime).
func processorTicks(b *testing.B, pid string) int {
	b.Helper()
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		b.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	user, err1 := strconv.Atoi(string(fields[11]))
	system, err2 := strconv.Atoi(string(fields[12]))
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return user + system
}
