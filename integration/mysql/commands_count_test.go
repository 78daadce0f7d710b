package mysql

import (
	"strconv"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// asked is how many commands an origin connection has had, by what the server counts of its session.
func asked(t *testing.T, r *raw) map[string]int {
	t.Helper()
	r.send(t, mywire.ComQuery, "SHOW SESSION STATUS WHERE Variable_name IN ('Questions', 'Com_stmt_prepare', 'Com_stmt_reset', 'Com_admin_commands')")
	rows, _, failed := r.rows(t, mywire.ComQuery)
	if failed != nil {
		t.Fatal(failed)
	}
	counts := map[string]int{}
	for _, row := range rows {
		name, rest, err1 := mywire.LenencString(row)
		value, _, err2 := mywire.LenencString(rest)
		n, err3 := strconv.Atoi(string(value))
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatalf("status %q", row)
		}
		counts[string(name)] = n
	}
	if len(counts) != 4 {
		t.Fatalf("got %v", counts)
	}
	return counts
}

// TestPoolingCommands: transactions of clients that take turns on one origin connection cost the
// origin what the clients send and nothing more, prepared or not.
func TestPoolingCommands(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		setup := w.connect(t)
		for _, text := range []string{"DROP TABLE IF EXISTS counted", "CREATE TABLE counted (id INT PRIMARY KEY, n INT)", "INSERT INTO counted VALUES (1, 0), (2, 0)"} {
			exec(t, setup, text)
		}
		type client struct {
			*raw
			read, write uint32
		}
		var clients []client
		for range 2 {
			c := client{raw: w.raw(t, mywire.CapDeprecateEOF)}
			c.read, _ = c.prepare(t, "SELECT n FROM counted WHERE id = ?")
			c.write, _ = c.prepare(t, "UPDATE counted SET n = n + 1 WHERE id = ?")
			clients = append(clients, c)
		}
		commands := 0
		do := func(c client, cmd mywire.Command, text string) {
			c.send(t, cmd, text)
			if _, _, failed := c.rows(t, cmd); failed != nil {
				t.Fatal(failed)
			}
			commands++
		}
		one := "\x00\x01\x00\x00\x00\x00\x01\x08\x00\x01\x00\x00\x00\x00\x00\x00\x00" // a LONGLONG
		turn := func() {
			for _, c := range clients {
				do(c, mywire.ComQuery, "BEGIN")
				do(c, mywire.ComStmtExecute, id32(c.read)+one)
				do(c, mywire.ComStmtExecute, id32(c.write)+one)
				do(c, mywire.ComQuery, "SELECT n FROM counted WHERE id = 2")
				do(c, mywire.ComQuery, "DELETE FROM counted WHERE id = 3")
				do(c, mywire.ComQuery, "INSERT INTO counted VALUES (3, 0)")
				do(c, mywire.ComQuery, "COMMIT")
				do(c, mywire.ComStmtExecute, id32(c.read)+one)
			}
		}
		turn()
		before := asked(t, clients[0].raw)
		commands = 0
		for range 10 {
			turn()
		}
		after := asked(t, clients[0].raw)
		if n := after["Questions"] - before["Questions"] - 1; n != commands { // one is what asks
			t.Errorf("the origin was asked %d times, the clients asked %d times", n, commands)
		}
		for _, name := range []string{"Com_stmt_prepare", "Com_stmt_reset", "Com_admin_commands"} {
			if n := after[name] - before[name]; n != 0 {
				t.Errorf("%s rose by %d", name, n)
			}
		}
	})
}
