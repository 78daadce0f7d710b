package mysql

import "testing"

// What a procedure changes of the catalog is known before a write that it matters to.
func TestCache39CallChangesCatalog(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newCached(t, s)
		a, b := w.connect(t), w.connect(t)
		w.table(t, a, "called", "id INT PRIMARY KEY", "(1)")
		w.table(t, a, "calledchild", "id INT PRIMARY KEY, parent INT", "(1,1)")
		exec(t, a, "CREATE PROCEDURE calledp() ALTER TABLE calledchild ADD FOREIGN KEY (parent) REFERENCES called (id) ON DELETE CASCADE")
		defer exec(t, a, "DROP PROCEDURE calledp")
		w.known(t, "calledchild")
		exec(t, a, "CALL calledp()")
		for range 3 {
			want(t, b, "SELECT COUNT(*) FROM calledchild", "1")
		}
		exec(t, a, "DELETE FROM called")
		want(t, b, "SELECT COUNT(*) FROM calledchild", "0")
	})
}
