package pgwire

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"
)

// SQLSTATEs that the proxy itself sends or looks for (src/backend/utils/errcodes.txt).
const (
	CodeFeatureNotSupported   = "0A000"
	CodeProtocolViolation     = "08P01"
	CodeConnectionFailure     = "08006"
	CodeConnectionRejected    = "08004"
	CodeInvalidPassword       = "28P01"
	CodeInvalidAuthorization  = "28000"
	CodeUnknownDatabase       = "3D000"
	CodeUnknownStatement      = "26000"
	CodeDuplicateStatement    = "42P05"
	CodeInFailedTransaction   = "25P02"
	CodeActiveTransaction     = "25001"
	CodeReadOnlyTransaction   = "25006"
	CodeIdleInTransaction     = "25P03"
	CodeQueryCanceled         = "57014"
	CodeAdminShutdown         = "57P01"
	CodeCrashShutdown         = "57P02"
	CodeCannotConnectNow      = "57P03"
	CodeTooManyConnections    = "53300"
	CodeLimitExceeded         = "54000"
	CodeSystemError           = "58000"
	CodeInsufficientPrivilege = "42501"
)

// An Error is one that the proxy itself reports to a driver.
type Error struct {
	Fatal   bool   // the connection ends with it
	Code    string // SQLSTATE
	Message string
	Hint    string // what to do about it; may be empty
	Routine string // PostgreSQL's own that reports it, where drivers look at that; may be empty
}

// Errorf makes an Error that leaves the connection usable.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Fatalf makes an Error that ends the connection.
func Fatalf(code, format string, args ...any) *Error {
	return &Error{Fatal: true, Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Message + " (SQLSTATE " + e.Code + ")" }

// Append appends e as an ErrorResponse.
func (e *Error) Append(dst []byte) []byte {
	severity := "ERROR"
	if e.Fatal {
		severity = "FATAL"
	}
	return e.append(dst, severity)
}

// AppendNotice appends e as a NoticeResponse, a warning.
func (e *Error) AppendNotice(dst []byte) []byte {
	at := len(dst)
	dst = e.append(dst, "WARNING")
	dst[at] = MsgNoticeResponse // the bodies are alike
	return dst
}

func (e *Error) append(dst []byte, severity string) []byte {
	m := pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity,
		Code: e.Code, Message: e.Message, Hint: e.Hint, Routine: e.Routine,
	}
	out, err := m.Encode(dst)
	if err != nil { // only a body over 1 GiB has no encoding
		return dst
	}
	return out
}

// ErrorFields are the fields of an ErrorResponse that decide what a pooler does.
type ErrorFields struct {
	Severity, Code, Message, Routine string
}

// ParseErrorFields reads them from the body of an ErrorResponse, as far as b
// goes: it may be cut short.
func ParseErrorFields(b []byte) ErrorFields {
	var f ErrorFields
	for len(b) > 1 && b[0] != 0 {
		value, rest, ok := CString(b[1:])
		if !ok {
			return f
		}
		switch b[0] {
		case 'V':
			f.Severity = string(value)
		case 'C':
			f.Code = string(value)
		case 'M':
			f.Message = string(value)
		case 'R':
			f.Routine = string(value)
		}
		b = rest
	}
	return f
}
