package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

const (
	// minPoll and maxPoll bound the time between two looks at the catalog, which
	// is half of the results' age: a change is seen before a result that it makes
	// wrong has ended by itself.
	minPoll = time.Second
	maxPoll = 30 * time.Second
	// catalogTimeout bounds one look at it.
	catalogTimeout = 20 * time.Second
	// maxCatalog bounds what is read of a catalog, in bytes: 100,000 tables of
	// ten columns.
	maxCatalog = 64 << 20
)

var errCatalogSize = errors.New("catalog is too large")

// keep looks at the catalog as long as it is asked for, until ctx ends.
func (r *results) keep(ctx context.Context, d *Database) {
	var fingerprint string
	for {
		p := r.space.Policy()
		wait := min(max(p.MaxAge/2, minPoll), maxPoll)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-r.poke:
			t.Stop()
		case <-t.C:
			if !r.on.Load() || r.now().UnixNano()-r.used.Load() > int64(p.MaxAge+p.Stale+wait) {
				r.known.Store(false) // nobody has asked for as long as a result lives
				continue
			}
		}
		if !r.on.Load() {
			continue
		}
		if err := r.look(d, &fingerprint); err != nil {
			r.known.Store(false)
			fingerprint = ""
			select { // not again at once, however many ask
			case <-ctx.Done():
				return
			case <-time.After(minPoll):
			}
		}
	}
}

// look compares the catalog with its fingerprint and loads it where that is
// another. What is in doubt while it looks stays in doubt.
func (r *results) look(d *Database, fingerprint *string) error {
	o, err := d.pool.Get(d.pool.Waiter(""))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.pool.Discard(o)
			return
		}
		o.unnamed = unnamedOwner{} // which any simple query destroys
		o.Release()
		d.pool.Put(o)
	}()
	if err = o.plain(); err != nil { // a client's settings must not decide what is seen
		return err
	}
	if err = o.SetDeadline(time.Now().Add(catalogTimeout)); err != nil {
		return err
	}
	select {
	case <-r.poke: // what was doubted until now is looked at now
	default:
	}
	doubts := r.doubts.Load()
	print, err := o.ask(query.FingerprintSQL)
	if err != nil {
		return err
	}
	if len(print) != 1 || len(print[0]) != 1 {
		err = fmt.Errorf("%w: fingerprint", pgwire.ErrProtocol)
		return err
	}
	if print[0][0] != *fingerprint || !r.statements.Ready() {
		if err = r.load(o); err != nil {
			return err
		}
		*fingerprint = print[0][0]
	}
	r.settle(doubts)
	err = o.SetDeadline(time.Time{})
	return err
}

// load reads the catalog. Results of before are forgotten once it is in force.
func (r *results) load(o *origin) error {
	rows := make([][][]string, len(query.CatalogSQL))
	for i, sql := range query.CatalogSQL {
		var err error
		if rows[i], err = o.ask(sql); err != nil {
			return err
		}
	}
	c, err := query.NewCatalog(rows)
	if err != nil {
		return err
	}
	r.statements.SetCatalog(c)
	r.space.Renew()
	return nil
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
