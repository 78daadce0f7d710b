package pgwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderSize is the size in bytes of a message's header: one byte of type and
// four of length (the manual's "Message Formats").
const HeaderSize = 5

// MaxMessage is the largest message body in bytes that PostgreSQL itself
// accepts from a client (PQ_LARGE_MESSAGE_LIMIT, src/include/libpq/libpq.h:
// MaxAllocSize - 1).
const MaxMessage = 0x3fffffff - 1

// Types of messages that a client sends.
const (
	MsgBind         = 'B'
	MsgClose        = 'C'
	MsgCopyData     = 'd'
	MsgCopyDone     = 'c'
	MsgCopyFail     = 'f'
	MsgDescribe     = 'D'
	MsgExecute      = 'E'
	MsgFlush        = 'H'
	MsgFunctionCall = 'F'
	MsgParse        = 'P'
	MsgPassword     = 'p'
	MsgQuery        = 'Q'
	MsgSync         = 'S'
	MsgTerminate    = 'X'
)

// Types of messages that a server sends.
const (
	MsgAuthentication       = 'R'
	MsgBackendKeyData       = 'K'
	MsgBindComplete         = '2'
	MsgCloseComplete        = '3'
	MsgCommandComplete      = 'C'
	MsgCopyBothResponse     = 'W'
	MsgCopyInResponse       = 'G'
	MsgCopyOutResponse      = 'H'
	MsgDataRow              = 'D'
	MsgEmptyQueryResponse   = 'I'
	MsgErrorResponse        = 'E'
	MsgFunctionCallResponse = 'V'
	MsgNoData               = 'n'
	MsgNoticeResponse       = 'N'
	MsgNotification         = 'A'
	MsgParameterDescription = 't'
	MsgParameterStatus      = 'S'
	MsgParseComplete        = '1'
	MsgPortalSuspended      = 's'
	MsgReadyForQuery        = 'Z'
	MsgRowDescription       = 'T'
)

// Transaction states that ReadyForQuery carries.
const (
	TxIdle   = 'I'
	TxActive = 'T'
	TxFailed = 'E'
)

// ErrProtocol is wrapped by every error that says the peer broke the protocol.
var ErrProtocol = errors.New("protocol violation")

// Header reads a message's type and the length of its body in bytes from b,
// which holds at least HeaderSize bytes.
func Header(b []byte) (typ byte, body int, err error) {
	n := binary.BigEndian.Uint32(b[1:HeaderSize])
	if n < 4 || n-4 > MaxMessage {
		return 0, 0, fmt.Errorf("%w: message %q declares a length of %d bytes", ErrProtocol, b[0], n)
	}
	return b[0], int(n - 4), nil
}

// AppendHeader appends the header of a message with a body of the given length.
func AppendHeader(dst []byte, typ byte, body int) []byte {
	dst = append(dst, typ)
	return binary.BigEndian.AppendUint32(dst, uint32(body+4))
}

// AppendMessage appends a whole message.
func AppendMessage(dst []byte, typ byte, body ...byte) []byte {
	return append(AppendHeader(dst, typ, len(body)), body...)
}

// AppendReadyForQuery appends ReadyForQuery with a transaction state.
func AppendReadyForQuery(dst []byte, status byte) []byte {
	return AppendMessage(dst, MsgReadyForQuery, status)
}

// AppendCommandComplete appends CommandComplete with a command tag.
func AppendCommandComplete(dst []byte, tag string) []byte {
	dst = AppendHeader(dst, MsgCommandComplete, len(tag)+1)
	return append(append(dst, tag...), 0)
}

// AppendParameterStatus appends one ParameterStatus.
func AppendParameterStatus(dst []byte, name, value string) []byte {
	dst = AppendHeader(dst, MsgParameterStatus, len(name)+len(value)+2)
	dst = append(append(dst, name...), 0)
	return append(append(dst, value...), 0)
}

// AppendQuery appends a simple Query.
func AppendQuery(dst []byte, sql string) []byte {
	dst = AppendHeader(dst, MsgQuery, len(sql)+1)
	return append(append(dst, sql...), 0)
}

// CString splits b after its first zero byte: the string without it, the rest,
// and whether there was one.
func CString(b []byte) (s, rest []byte, ok bool) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i], b[i+1:], true
	}
	return nil, b, false
}
