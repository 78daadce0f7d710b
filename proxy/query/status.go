package query

// A Status says what the cache made of one statement. Its String is the value of
// cacheStatus in Hyperdrive's analytics, and a label of metrics.
type Status uint8

// The statuses. StatusMiss, of a verdict, is "may be cached".
const (
	StatusHit                Status = iota
	StatusMiss                      // asked of the origin, to be stored
	StatusDisabled                  // the database's caching is off
	StatusUncacheable               // not known to be safe
	StatusVolatile                  // the result depends on more than tables and settings: a clock, chance, the session
	StatusTransaction               // inside a transaction block, or behind another statement of the same group
	StatusNotAQuery                 // reads no table by SELECT, TABLE, VALUES or WITH
	StatusMultipleStatements        // more than one statement in one Query message
	StatusOversizedQuery            // text or parameters are too long to look at
	StatusOversizedResult           // larger than what is stored
	StatusParseError                // not understood; the origin gets it all the same
	Statuses                        // how many there are
)

var statusNames = [Statuses]string{"hit", "miss", "disabled", "uncacheable", "volatile", "transaction", "notaquery",
	"multiplestatements", "oversizedquery", "oversizedresult", "parseerror"}

func (s Status) String() string {
	if s >= Statuses {
		return "unknown"
	}
	return statusNames[s]
}

// A Name is that of a relation, function or type, as written: folded, Schema ""
// where it was not qualified.
type Name struct{ Schema, Name string }

func (n Name) String() string {
	if n.Schema == "" {
		return n.Name
	}
	return n.Schema + "." + n.Name
}
