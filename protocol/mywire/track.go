package mywire

import "iter"

// A ChangeKind says what of a session's state has changed (enum_session_state_type).
type ChangeKind byte

// The kinds of changes.
const (
	ChangeVariable        ChangeKind = 0 // Name is a system variable, Value its value
	ChangeSchema          ChangeKind = 1 // Value is the default schema
	ChangeState           ChangeKind = 2 // Value is "1": something of the session changed
	ChangeGTIDs           ChangeKind = 3 // Value is a set of transaction ids
	ChangeCharacteristics ChangeKind = 4 // Value is SQL that begins a transaction like this one
	ChangeTransaction     ChangeKind = 5 // Value is eight letters and underscores, of what the transaction has done
)

// A Change is one change of a session's state. Its byte strings are parts of the
// payload that they were read from.
type Change struct {
	Kind        ChangeKind
	Name, Value []byte
}

// Changes goes through the state changes of an OK packet (OK.State), also those
// of kinds that have no name here, whose Value is all that was sent. After an
// error it ends.
func Changes(state []byte) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		r := reader{b: state}
		for len(r.b) > 0 {
			kind := ChangeKind(r.uint8())
			data := reader{b: r.lenencString()}
			if r.err != nil {
				yield(Change{}, r.err)
				return
			}
			for first := true; first || kind == ChangeVariable && len(data.b) > 0; first = false {
				c := readChange(kind, &data)
				if data.err != nil {
					yield(Change{}, data.err)
					return
				}
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}

// readChange reads what one change says. MariaDB puts several variables into one.
func readChange(kind ChangeKind, data *reader) Change {
	c := Change{Kind: kind}
	switch kind {
	case ChangeVariable:
		c.Name, c.Value = data.lenencString(), data.lenencString()
	case ChangeSchema, ChangeCharacteristics, ChangeTransaction:
		c.Value = data.lenencString()
	case ChangeGTIDs:
		data.uint8() // how they are encoded: 0, as text, is all there is
		c.Value = data.lenencString()
	default:
		c.Value = data.rest()
	}
	return c
}

// AppendChange appends c to the state changes of an OK packet.
func AppendChange(dst []byte, c Change) []byte {
	var data []byte
	switch c.Kind {
	case ChangeVariable:
		data = AppendLenencString(AppendLenencString(nil, c.Name), c.Value)
	case ChangeGTIDs:
		data = AppendLenencString([]byte{0}, c.Value)
	case ChangeSchema, ChangeCharacteristics, ChangeTransaction:
		data = AppendLenencString(nil, c.Value)
	default:
		data = c.Value
	}
	return AppendLenencString(append(dst, byte(c.Kind)), data)
}
