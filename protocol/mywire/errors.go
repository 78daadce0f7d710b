package mywire

import (
	"encoding/binary"
	"fmt"
)

// Error codes that the proxy itself sends or looks for
// (share/messages_to_clients.txt and messages_to_error_log.txt of MySQL 9).
const (
	CodeConCount             = 1040 // ER_CON_COUNT_ERROR
	CodeBadHost              = 1042 // ER_BAD_HOST_ERROR
	CodeHandshake            = 1043 // ER_HANDSHAKE_ERROR
	CodeDBAccessDenied       = 1044 // ER_DBACCESS_DENIED_ERROR
	CodeAccessDenied         = 1045 // ER_ACCESS_DENIED_ERROR
	CodeNoDB                 = 1046 // ER_NO_DB_ERROR
	CodeUnknownCommand       = 1047 // ER_UNKNOWN_COM_ERROR
	CodeBadDB                = 1049 // ER_BAD_DB_ERROR
	CodeServerShutdown       = 1053 // ER_SERVER_SHUTDOWN
	CodeParse                = 1064 // ER_PARSE_ERROR
	CodeEmptyQuery           = 1065 // ER_EMPTY_QUERY
	CodeNoSuchThread         = 1094 // ER_NO_SUCH_THREAD
	CodeKillDenied           = 1095 // ER_KILL_DENIED_ERROR
	CodeUnknown              = 1105 // ER_UNKNOWN_ERROR
	CodeHostBlocked          = 1129 // ER_HOST_IS_BLOCKED
	CodeHostNotPrivileged    = 1130 // ER_HOST_NOT_PRIVILEGED
	CodeNotAllowed           = 1148 // ER_NOT_ALLOWED_COMMAND
	CodeNetPacketTooLarge    = 1153 // ER_NET_PACKET_TOO_LARGE
	CodeNetPacketsOutOfOrder = 1156 // ER_NET_PACKETS_OUT_OF_ORDER
	CodeUserConnections      = 1203 // ER_TOO_MANY_USER_CONNECTIONS
	CodeLockWaitTimeout      = 1205 // ER_LOCK_WAIT_TIMEOUT
	CodeLockDeadlock         = 1213 // ER_LOCK_DEADLOCK
	CodeUserLimitReached     = 1226 // ER_USER_LIMIT_REACHED
	CodeNotSupportedYet      = 1235 // ER_NOT_SUPPORTED_YET
	CodeUnknownStmtHandler   = 1243 // ER_UNKNOWN_STMT_HANDLER
	CodeNotSupportedAuth     = 1251 // ER_NOT_SUPPORTED_AUTH_MODE
	CodeOptionPrevents       = 1290 // ER_OPTION_PREVENTS_STATEMENT
	CodeReadOnlyMode         = 1836 // ER_READ_ONLY_MODE
	CodeQueryInterrupted     = 1317 // ER_QUERY_INTERRUPTED
	CodeWrongArguments       = 1210 // ER_WRONG_ARGUMENTS
	CodeMalformedPacket      = 1835 // ER_MALFORMED_PACKET
	CodeMaxPreparedStmts     = 1461 // ER_MAX_PREPARED_STMT_COUNT_REACHED
	CodePluginNotLoaded      = 1524 // ER_PLUGIN_IS_NOT_LOADED
	CodeNeedReprepare        = 1615 // ER_NEED_REPREPARE
	CodeAccessDeniedNoPass   = 1698 // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
	CodeMustChangePassword   = 1820 // ER_MUST_CHANGE_PASSWORD
	CodePasswordExpired      = 1862 // ER_MUST_CHANGE_PASSWORD_LOGIN
	CodeAccountLocked        = 3118 // ER_ACCOUNT_HAS_BEEN_LOCKED
	CodeSecureTransport      = 3159 // ER_SECURE_TRANSPORT_REQUIRED
	CodeClientInteraction    = 4031 // ER_CLIENT_INTERACTION_TIMEOUT
)

// states are the SQLSTATEs that MySQL sends with its codes, where not HY000.
var states = map[uint16]string{
	CodeConCount: "08004", CodeBadHost: "08S01", CodeHandshake: "08S01", CodeDBAccessDenied: "42000", CodeAccessDenied: "28000",
	CodeNoDB: "3D000", CodeUnknownCommand: "08S01", CodeBadDB: "42000", CodeServerShutdown: "08S01", CodeParse: "42000",
	CodeEmptyQuery: "42000", CodeNotAllowed: "42000", CodeNetPacketTooLarge: "08S01", CodeNetPacketsOutOfOrder: "08S01",
	CodeUserConnections: "42000", CodeLockDeadlock: "40001", CodeUserLimitReached: "42000", CodeNotSupportedYet: "42000",
	CodeNotSupportedAuth: "08004", CodeQueryInterrupted: "70100", CodeMaxPreparedStmts: "42000", CodeAccessDeniedNoPass: "28000",
}

// stateUnknown is the SQLSTATE of what has none of its own (MySQL's unknown_sqlstate).
const stateUnknown = "HY000"

// maxMessage is the longest text of an error in bytes (MYSQL_ERRMSG_SIZE).
const maxMessage = 512

// An Error is one that a server, or the proxy itself, reports to a driver.
type Error struct {
	Code    uint16
	State   string // SQLSTATE; empty where the peer sent none
	Message string
}

// Errorf makes an Error with the SQLSTATE that belongs to code.
func Errorf(code uint16, format string, args ...any) *Error {
	state, ok := states[code]
	if !ok {
		state = stateUnknown
	}
	return &Error{Code: code, State: state, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s (error %d, SQLSTATE %s)", e.Message, e.Code, e.State)
}

// ParseError reads the payload of an ERR packet, as far as it goes: it may be cut
// short. Before its client's capabilities are known a server sends no SQLSTATE.
func ParseError(payload []byte) (*Error, error) {
	r := reader{b: payload}
	if header := r.uint8(); r.err == nil && header != HeaderErr {
		return nil, fmt.Errorf("%w: an ERR packet does not begin with 0x%02x", ErrProtocol, header)
	}
	e := &Error{Code: r.uint16()}
	if len(r.b) > 5 && r.b[0] == '#' {
		r.take(1)
		e.State = string(r.take(5))
	}
	e.Message = string(r.rest())
	return e, r.err
}

// Append appends the payload of an ERR packet. What is longer than MySQL's own
// messages is cut.
func (e *Error) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(append(dst, HeaderErr), e.Code)
	if len(e.State) == 5 {
		dst = append(append(dst, '#'), e.State...)
	}
	return append(dst, e.Message[:min(len(e.Message), maxMessage)]...)
}

// AppendPacket appends a whole ERR packet.
func (e *Error) AppendPacket(dst []byte, seq byte) []byte {
	dst, start := BeginPacket(dst, seq)
	return EndPacket(e.Append(dst), start)
}
