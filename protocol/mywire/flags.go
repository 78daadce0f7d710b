package mywire

// Capabilities are what a connection's two sides agree on. The lower 32 bits are
// MySQL's, the upper 32 MariaDB's own.
type Capabilities uint64

// Capabilities of MySQL (the manual's "Capabilities Flags").
const (
	CapLongPassword Capabilities = 1 << iota // clear in the greeting of a MariaDB with capabilities of its own
	CapFoundRows
	CapLongFlag
	CapConnectWithDB
	CapNoSchema
	CapCompress
	CapODBC
	CapLocalFiles
	CapIgnoreSpace
	CapProtocol41
	CapInteractive
	CapSSL
	CapIgnoreSigpipe
	CapTransactions
	CapReserved
	CapSecureConnection // named CLIENT_RESERVED2 in MySQL 8 and later
	CapMultiStatements
	CapMultiResults
	CapPSMultiResults
	CapPluginAuth
	CapConnectAttrs
	CapPluginAuthLenenc
	CapExpiredPasswords
	CapSessionTrack
	CapDeprecateEOF
	CapOptionalMetadata
	CapZstd
	CapQueryAttributes
	CapMultiFactor
	CapExtension
	CapVerifyServerCert
	CapRememberOptions
)

// Capabilities of MariaDB.
const (
	CapMariaProgress Capabilities = 1 << (32 + iota)
	CapMariaComMulti
	CapMariaStmtBulk
	CapMariaExtendedMetadata
	CapMariaCacheMetadata
	CapMariaBulkResults
)

// Has reports whether all of want are in c.
func (c Capabilities) Has(want Capabilities) bool { return c&want == want }

// Status is the state of a session that OK and EOF packets carry (the manual's
// "SERVER_STATUS_flags_enum").
type Status uint16

// The flags of a Status.
const (
	StatusInTrans            Status = 1 << 0
	StatusAutocommit         Status = 1 << 1
	StatusMoreResults        Status = 1 << 3
	StatusNoGoodIndex        Status = 1 << 4
	StatusNoIndex            Status = 1 << 5
	StatusCursorExists       Status = 1 << 6
	StatusLastRowSent        Status = 1 << 7
	StatusDBDropped          Status = 1 << 8
	StatusNoBackslashEscapes Status = 1 << 9
	StatusMetadataChanged    Status = 1 << 10
	StatusQueryWasSlow       Status = 1 << 11
	StatusPSOutParams        Status = 1 << 12
	StatusInTransReadOnly    Status = 1 << 13
	StatusStateChanged       Status = 1 << 14 // state changes follow in the OK packet
	StatusANSIQuotes         Status = 1 << 15 // MariaDB's
)

// Has reports whether all of want are in s.
func (s Status) Has(want Status) bool { return s&want == want }

// A Command is the first byte of what a client sends after its login.
type Command byte

// The commands (enum_server_command).
const (
	ComSleep            Command = 0x00
	ComQuit             Command = 0x01
	ComInitDB           Command = 0x02
	ComQuery            Command = 0x03
	ComFieldList        Command = 0x04
	ComCreateDB         Command = 0x05
	ComDropDB           Command = 0x06
	ComRefresh          Command = 0x07
	ComShutdown         Command = 0x08
	ComStatistics       Command = 0x09
	ComProcessInfo      Command = 0x0a
	ComConnect          Command = 0x0b
	ComProcessKill      Command = 0x0c
	ComDebug            Command = 0x0d
	ComPing             Command = 0x0e
	ComTime             Command = 0x0f
	ComDelayedInsert    Command = 0x10
	ComChangeUser       Command = 0x11
	ComBinlogDump       Command = 0x12
	ComTableDump        Command = 0x13
	ComConnectOut       Command = 0x14
	ComRegisterSlave    Command = 0x15
	ComStmtPrepare      Command = 0x16
	ComStmtExecute      Command = 0x17
	ComStmtSendLongData Command = 0x18
	ComStmtClose        Command = 0x19
	ComStmtReset        Command = 0x1a
	ComSetOption        Command = 0x1b
	ComStmtFetch        Command = 0x1c
	ComDaemon           Command = 0x1d
	ComBinlogDumpGTID   Command = 0x1e
	ComResetConnection  Command = 0x1f
	ComClone            Command = 0x20
	ComSubscribeGroup   Command = 0x21
	ComMariaStmtBulk    Command = 0xfa
	ComMariaMulti       Command = 0xfe
)
