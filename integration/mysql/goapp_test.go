package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"
)

// TestPooling50Go: go-sql-driver with its defaults, over TLS, a pool of twenty connections on few of the origin's.
func TestPooling50Go(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		for name, change := range map[string]func(*driver.Config){
			"defaults": func(*driver.Config) {}, "interpolated": func(c *driver.Config) { c.InterpolateParams = true },
			"rows found": func(c *driver.Config) { c.ClientFoundRows = true }, "several statements": func(c *driver.Config) { c.MultiStatements = true },
		} {
			t.Run(name, func(t *testing.T) {
				db := newWorld(t, s, maxConns(3)).open(t, change)
				goShop(t, db)
			})
		}
	})
}

// open is a pool of a program's.
func (w *world) open(t *testing.T, change func(*driver.Config)) *sql.DB {
	t.Helper()
	pem, err := os.ReadFile(driverCA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := driver.NewConfig()
	config.User, config.Passwd, config.DBName, config.Net, config.Addr = testUser, testPassword, testDatabase, "tcp", w.addr
	config.ParseTime, config.TLS = true, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
	change(config)
	connector, err := driver.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(20)
	t.Cleanup(func() { db.Close() })
	return db
}

// goShop does what programs do, twenty at a time.
func goShop(t *testing.T, db *sql.DB) {
	for _, text := range []string{"DROP TABLE IF EXISTS goshop", "CREATE TABLE goshop (id BIGINT AUTO_INCREMENT PRIMARY KEY, buyer INT NOT NULL, at DATETIME(6) NOT NULL, note TEXT)"} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2024, 2, 29, 12, 34, 56, 789_000, time.UTC)
	find, err := db.PrepareContext(t.Context(), "SELECT id, at, note FROM goshop WHERE buyer = ? ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer find.Close()
	g, ctx := errgroup.WithContext(t.Context())
	for buyer := range 20 {
		g.Go(func() error {
			for range 5 {
				if err := goBuy(ctx, db, find, buyer, at); err != nil {
					return fmt.Errorf("buyer %d: %w", buyer, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM goshop").Scan(&n); err != nil || n != 100 {
		t.Errorf("%d rows, %v", n, err)
	}
}

var errChanged = errors.New("what comes back is not what was written")

// goBuy commits one row, rolls one back, and reads what there is by a statement that was prepared on another connection.
func goBuy(ctx context.Context, db *sql.DB, find *sql.Stmt, buyer int, at time.Time) error {
	const insert = "INSERT INTO goshop (buyer, at, note) VALUES (?, ?, ?)"
	res, err := db.ExecContext(ctx, insert, buyer, at, nil)
	if err != nil {
		return err
	}
	id, err := res.LastInsertId()
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, insert, buyer, at, "never"); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Rollback(); err != nil {
		return err
	}
	rows, err := find.QueryContext(ctx, buyer)
	if err != nil {
		return err
	}
	defer rows.Close()
	var last int64
	for rows.Next() {
		var when time.Time
		var note sql.NullString
		if err := rows.Scan(&last, &when, &note); err != nil {
			return err
		}
		if !when.Equal(at) || note.Valid {
			return errChanged
		}
	}
	if last != id {
		return errors.Join(errChanged, rows.Err())
	}
	return rows.Err()
}
