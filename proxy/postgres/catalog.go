package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
	"github.com/sluicedb/sluice/proxy/results"
)

const (
	// catalogTimeout bounds one look at the catalog.
	catalogTimeout = 20 * time.Second
	// maxCatalog bounds what is read of a catalog, in bytes: 100,000 tables of
	// ten columns.
	maxCatalog = 64 << 20
)

var errCatalogSize = errors.New("catalog is too large")

// A reader reads the catalog by an origin connection of the pool's.
type reader struct{ *origin }

func (d *Database) openCatalog() (results.Origin, error) {
	o, err := d.pool.Get(d.pool.Waiter(""))
	if err != nil {
		return nil, err
	}
	if err = o.plain(); err == nil { // a client's settings must not decide what is seen
		err = o.SetDeadline(time.Now().Add(catalogTimeout))
	}
	if err != nil {
		d.pool.Discard(o)
		return nil, err
	}
	return reader{o}, nil
}

// Done implements results.Origin.
func (r reader) Done(err error) {
	o := r.origin
	if err == nil {
		err = o.SetDeadline(time.Time{})
	}
	if err != nil {
		o.db.pool.Discard(o)
		return
	}
	o.unnamed = unnamedOwner{} // which any simple query destroys
	o.Release()
	o.db.pool.Put(o)
}

// Fingerprint implements results.Origin.
func (r reader) Fingerprint() (string, error) {
	rows, err := r.ask(query.FingerprintSQL)
	if err == nil && (len(rows) != 1 || len(rows[0]) != 1) {
		err = fmt.Errorf("%w: fingerprint", pgwire.ErrProtocol)
	}
	if err != nil {
		return "", err
	}
	return rows[0][0], nil
}

// Load implements results.Origin.
func (r reader) Load() (query.Source, error) {
	rows := make([][][]string, len(query.CatalogSQL))
	for i, sql := range query.CatalogSQL {
		var err error
		if rows[i], err = r.ask(sql); err != nil {
			return nil, err
		}
	}
	c, err := query.NewCatalog(rows)
	if err != nil {
		return nil, err
	}
	return query.Postgres(c), nil
}

// ask runs a query of the proxy's own and returns its rows in text, NULL as "".
func (o *origin) ask(sql string) ([][]string, error) {
	if _, err := o.Write(pgwire.AppendQuery(nil, sql)); err != nil {
		return nil, err
	}
	var rows [][]string
	var failed error
	total := 0
	for {
		typ, body, err := o.message(maxCatalog)
		if err != nil {
			return nil, err
		}
		if total += len(body); total > maxCatalog {
			return nil, errCatalogSize
		}
		switch typ {
		case pgwire.MsgDataRow:
			row, err := dataRow(body)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		case pgwire.MsgErrorResponse:
			f := pgwire.ParseErrorFields(body)
			failed = &pgwire.Error{Code: f.Code, Message: f.Message}
		case pgwire.MsgReadyForQuery:
			if len(body) != 1 || body[0] != pgwire.TxIdle {
				return nil, fmt.Errorf("%w: ReadyForQuery", pgwire.ErrProtocol)
			}
			return rows, failed
		}
	}
}

// message reads one whole message.
func (o *origin) message(limit int) (byte, []byte, error) {
	for len(o.Bytes()) < pgwire.HeaderSize {
		if err := o.Fill(); err != nil {
			return 0, nil, err
		}
	}
	typ, n, err := pgwire.Header(o.Bytes())
	if err != nil {
		return 0, nil, err
	}
	if n > limit {
		return 0, nil, errCatalogSize
	}
	o.Discard(pgwire.HeaderSize)
	body := make([]byte, 0, min(n, pgwire.BufferSize))
	for len(body) < n {
		if len(o.Bytes()) == 0 {
			if err := o.Fill(); err != nil {
				return 0, nil, err
			}
		}
		b := o.Bytes()
		b = b[:min(len(b), n-len(body))]
		body = append(body, b...)
		o.Discard(len(b))
	}
	return typ, body, nil
}

func dataRow(b []byte) ([]string, error) {
	bad := fmt.Errorf("%w: DataRow", pgwire.ErrProtocol)
	if len(b) < 2 {
		return nil, bad
	}
	row := make([]string, binary.BigEndian.Uint16(b))
	b = b[2:]
	for i := range row {
		if len(b) < 4 {
			return nil, bad
		}
		n := int32(binary.BigEndian.Uint32(b))
		b = b[4:]
		if n < 0 {
			continue
		}
		if int(n) > len(b) {
			return nil, bad
		}
		row[i], b = string(b[:n]), b[n:]
	}
	return row, nil
}
