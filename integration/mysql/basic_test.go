package mysql

import (
	"testing"
)

func TestPoolingBasic(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.connect(t), w.connect(t)
		want(t, a, "SELECT 1", "1")
		want(t, b, "SELECT ?", "x", "x")
		exec(t, a, "DROP TABLE IF EXISTS basic")
		exec(t, a, "CREATE TABLE basic (id int primary key auto_increment, v text)")
		for range 3 {
			exec(t, a, "INSERT INTO basic (v) VALUES ('a')")
			exec(t, b, "INSERT INTO basic (v) VALUES (?)", "b")
		}
		want(t, a, "SELECT COUNT(*) FROM basic", "6")
	})
}
