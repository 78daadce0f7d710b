package mywire

import "fmt"

// ReplyPeek is how many bytes of a packet's payload Reply.Next needs, where it has
// that many: an OK packet up to its status and warnings.
const ReplyPeek = 1 + 9 + 9 + 2 + 2

// A Part says what a packet of a reply is.
type Part uint8

// The parts of replies.
const (
	PartNone        Part = iota
	PartOK               // OK: the end, or the end of one of several results
	PartError            // ERR: the end
	PartEOF              // EOF, or OK in its place, behind rows, or as an answer of its own
	PartColumnCount      // begins a result that has rows
	PartColumn           // a column's definition, or that of a parameter
	PartColumnsEnd       // the EOF behind columns or parameters that more follows
	PartRow              // a row, text or binary
	PartInfile           // LOCAL INFILE: the client is to send a file
	PartPrepared         // begins the answer to COM_STMT_PREPARE
	PartText             // the answer to COM_STATISTICS
	PartMore             // goes on with the packet before, which had MaxPayload bytes
)

// phase is what a Reply expects next.
type phase uint8

const (
	phaseDone    phase = iota
	phaseFirst         // of a result: OK, ERR, LOCAL INFILE or a number of columns
	phaseColumns       // left more definitions
	phaseColEOF        // the EOF behind them
	phaseRows
	phaseInfile // the client's file
	phasePrepared
	phaseParams // left more definitions of parameters
	phaseParEOF
	phaseFields // columns without a number, for COM_FIELD_LIST
	phaseText
)

// A Reply follows what a server sends in answer to one command: what each packet
// is, and when the answer is complete. It sees only the beginnings of packets, and
// holds nothing. The zero value is complete.
type Reply struct {
	// Status is that of the last OK or EOF packet. ERR packets have none.
	Status Status
	// Warnings is how many the last OK or EOF packet tells of.
	Warnings uint16

	cmd     Command
	eof     bool // EOF packets are sent: CapDeprecateEOF was not agreed on
	long    bool // the packet before goes on
	phase   phase
	left    uint64 // definitions still to come
	columns uint16 // of a prepared statement, behind its parameters
}

// Begin starts the reply to a command of a client that agreed on caps with the
// server. COM_CHANGE_USER and the commands of replication have other replies.
func (r *Reply) Begin(cmd Command, caps Capabilities) {
	*r = Reply{Status: r.Status, cmd: cmd, eof: !caps.Has(CapDeprecateEOF)}
	switch cmd {
	case ComQuit, ComStmtClose, ComStmtSendLongData: // not answered
	case ComStmtPrepare:
		r.phase = phasePrepared
	case ComFieldList:
		r.phase = phaseFields
	case ComStmtFetch:
		r.phase = phaseRows
	case ComStatistics:
		r.phase = phaseText
	default:
		r.phase = phaseFirst
	}
}

// Done reports whether the reply is complete.
func (r *Reply) Done() bool { return r.phase == phaseDone && !r.long }

// More reports whether the next packet goes on with the one before.
func (r *Reply) More() bool { return r.long }

// Infile reports whether the server waits for the client's file, which ends with
// an empty packet. InfileSent says that it was sent.
func (r *Reply) Infile() bool { return r.phase == phaseInfile && !r.long }

// InfileSent says that the client's file, with the empty packet behind it, has
// been sent, or that a file was refused by that packet alone.
func (r *Reply) InfileSent() {
	if r.phase == phaseInfile {
		r.phase = phaseFirst
	}
}

// Next says what the next packet is. length is that of its payload, of which
// payload holds at least the first ReplyPeek bytes. Errors wrap ErrProtocol, and
// nothing is known of the connection after one.
func (r *Reply) Next(payload []byte, length int) (Part, error) {
	if r.long {
		r.long = length == MaxPayload
		return PartMore, nil
	}
	if len(payload) < min(length, ReplyPeek) {
		return PartNone, errShort
	}
	r.long = length == MaxPayload
	if length > 0 && payload[0] == HeaderErr && r.phase != phaseDone && r.phase != phaseInfile {
		r.phase = phaseDone
		return PartError, nil
	}
	switch r.phase {
	case phaseFirst:
		return r.first(payload, length)
	case phaseColumns:
		if r.left--; r.left == 0 {
			r.columnsEnd()
		}
		return PartColumn, nil
	case phaseColEOF, phaseParEOF:
		return r.definitionsEnd(payload, length)
	case phaseRows:
		if r.endsRows(payload, length) {
			return PartEOF, r.end(payload, length, true)
		}
		return PartRow, nil
	case phaseFields:
		if length > 0 && payload[0] == HeaderEOF {
			return PartEOF, r.end(payload, length, true)
		}
		return PartColumn, nil
	case phasePrepared:
		return r.prepared(payload, length)
	case phaseParams:
		if r.left--; r.left == 0 {
			if r.phase = phaseParEOF; !r.eof {
				r.parametersEnd()
			}
		}
		return PartColumn, nil
	case phaseText:
		r.phase = phaseDone
		return PartText, nil
	}
	return PartNone, fmt.Errorf("%w: a packet of %d bytes answers nothing", ErrProtocol, length)
}

// first is the first packet of a result.
func (r *Reply) first(payload []byte, length int) (Part, error) {
	if length == 0 {
		return PartNone, errShort
	}
	switch payload[0] {
	case HeaderOK:
		return PartOK, r.end(payload, length, false)
	case HeaderEOF: // the answer to COM_SET_OPTION and COM_DEBUG
		return PartEOF, r.end(payload, length, true)
	}
	if r.cmd != ComQuery && r.cmd != ComStmtExecute && r.cmd != ComProcessInfo {
		return PartNone, fmt.Errorf("%w: command 0x%02x is not answered by a result", ErrProtocol, byte(r.cmd))
	}
	if payload[0] == HeaderInfile {
		r.phase = phaseInfile
		return PartInfile, nil
	}
	n, rest, err := Lenenc(payload[:min(length, len(payload))])
	if err != nil {
		return PartNone, err
	}
	if len(rest) > 0 || length > 9 {
		return PartNone, fmt.Errorf("%w: %d bytes where the number of columns is expected", ErrProtocol, length)
	}
	r.phase, r.left = phaseColumns, n
	return PartColumnCount, nil
}

func (r *Reply) columnsEnd() {
	switch {
	case r.eof:
		r.phase = phaseColEOF
	case r.cmd == ComStmtPrepare:
		r.phase = phaseDone
	default:
		r.phase = phaseRows
	}
}

func (r *Reply) parametersEnd() {
	r.left = uint64(r.columns)
	if r.phase = phaseColumns; r.left == 0 {
		r.phase = phaseDone
	}
}

// definitionsEnd is the EOF packet behind columns or parameters.
func (r *Reply) definitionsEnd(payload []byte, length int) (Part, error) {
	params := r.phase == phaseParEOF
	if err := r.end(payload, length, true); err != nil {
		return PartNone, err
	}
	switch {
	case params:
		r.parametersEnd()
	case r.cmd == ComStmtPrepare:
		r.phase = phaseDone
	case r.Status.Has(StatusCursorExists): // the rows come when they are fetched
		r.phase = phaseDone
		return PartEOF, nil
	default:
		r.phase = phaseRows
	}
	return PartColumnsEnd, nil
}

// prepared is the first packet of the answer to COM_STMT_PREPARE.
func (r *Reply) prepared(payload []byte, length int) (Part, error) {
	p, err := ParsePrepared(payload[:min(length, len(payload))])
	if err != nil {
		return PartNone, err
	}
	r.Warnings = p.Warnings
	r.columns = p.Columns
	if r.left = uint64(p.Params); r.left > 0 {
		r.phase = phaseParams
	} else {
		r.parametersEnd()
	}
	return PartPrepared, nil
}

// endsRows tells an EOF packet, or the OK packet in its place, from a row whose
// first column is so long that it begins with the same byte.
func (r *Reply) endsRows(payload []byte, length int) bool {
	if length == 0 || payload[0] != HeaderEOF {
		return false
	}
	if r.eof {
		return length < maxEOF
	}
	return length < MaxPayload
}

// end reads the status of an OK or EOF packet: another result follows, or none.
func (r *Reply) end(payload []byte, length int, eof bool) error {
	payload = payload[:min(length, len(payload))]
	if eof && r.eof {
		e, err := ParseEOF(payload)
		if err != nil {
			return err
		}
		r.Status, r.Warnings = e.Status, e.Warnings
	} else {
		b := reader{b: payload[1:]}
		b.lenenc()
		b.lenenc()
		r.Status, r.Warnings = Status(b.uint16()), b.uint16()
		if b.err != nil {
			return b.err
		}
	}
	if r.phase = phaseDone; r.Status.Has(StatusMoreResults) {
		r.phase = phaseFirst
	}
	return nil
}
