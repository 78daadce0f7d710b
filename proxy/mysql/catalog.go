package mysql

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/mysql/verdict"
	"github.com/sluicedb/sluice/proxy/query"
	"github.com/sluicedb/sluice/proxy/results"
)

const (
	// catalogTimeout bounds one look at the catalog.
	catalogTimeout = 20 * time.Second
	// maxCatalog bounds what is read of a catalog, in bytes: 100,000 tables of 64
	// bytes of names and more.
	maxCatalog = 32 << 20
)

var errCatalogSize = errors.New("catalog is too large")

// A reader reads the catalog by an origin connection of the pool's.
type reader struct {
	*origin
	rows [][][]string
}

func (d *Database) openCatalog() (results.Origin, error) {
	p := d.pools[classChanged]
	o, err := p.Get(p.Waiter(""))
	if err != nil {
		return nil, err
	}
	if o.state.id != "" { // a client's settings must not decide what is seen
		err = o.reset()
	}
	if err == nil {
		err = o.SetDeadline(time.Now().Add(catalogTimeout))
	}
	if err != nil {
		p.Discard(o)
		return nil, err
	}
	return &reader{origin: o}, nil
}

// Done implements results.Origin.
func (r *reader) Done(err error) {
	o := r.origin
	if err == nil {
		err = o.SetDeadline(noDeadline)
	}
	if err != nil {
		o.pool().Discard(o)
		return
	}
	o.Release()
	o.pool().Put(o)
}

// Fingerprint implements results.Origin: a hash of all of the catalog that matters.
func (r *reader) Fingerprint() (string, error) {
	h := sha256.New()
	total := 0
	r.rows = make([][][]string, len(verdict.SQL))
	for i, sql := range verdict.SQL {
		rows, err := r.ask(sql, &total)
		if err != nil {
			return "", err
		}
		r.rows[i] = rows
		fmt.Fprintf(h, "%q", rows)
	}
	return string(h.Sum(nil)), nil
}

// Load implements results.Origin.
func (r *reader) Load() (query.Source, error) {
	c, err := verdict.NewCatalog(r.rows)
	if err != nil {
		return nil, err
	}
	return verdict.Source(c), nil
}

// ask runs a query of the proxy's own and returns its rows in text, NULL as "". total
// is how many bytes have been read.
func (o *origin) ask(sql string, total *int) ([][]string, error) {
	if _, err := o.Write(appendCommand(nil, mywire.ComQuery, sql)); err != nil {
		return nil, err
	}
	var rows [][]string
	var r mywire.Reply
	r.Begin(mywire.ComQuery, originCaps)
	columns := 0
	for !r.Done() {
		payload, err := o.packet()
		if err != nil {
			return nil, err
		}
		part, err := r.Next(payload, len(payload))
		if err != nil {
			return nil, err
		}
		switch part {
		case mywire.PartError:
			e, err := mywire.ParseError(payload)
			if err != nil {
				return nil, err
			}
			return nil, e
		case mywire.PartColumn:
			columns++
		case mywire.PartRow:
			if *total += len(payload); *total > maxCatalog {
				return nil, errCatalogSize
			}
			row, err := textRow(payload, columns)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// textRow takes a row of the text protocol apart.
func textRow(payload []byte, columns int) ([]string, error) {
	row := make([]string, columns)
	for i := range row {
		if len(payload) > 0 && payload[0] == nullValue {
			payload = payload[1:]
			continue
		}
		value, rest, err := mywire.LenencString(payload)
		if err != nil {
			return nil, err
		}
		row[i], payload = string(value), rest
	}
	return row, nil
}

// nullValue stands for NULL in a row of the text protocol.
const nullValue = 0xfb
