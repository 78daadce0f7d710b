package access

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with a noun.
type Fault struct {
	Field   string // path, as in the JSON: policies[0].include
	Message string // what is wrong, to be read after the field's name
}

// ValidationError carries every fault of one noun at once.
type ValidationError struct {
	Faults []Fault // at least one
}

// Error lists every fault. It quotes no secret: fields that hold one are named,
// their content is not repeated.
func (e *ValidationError) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.Field)
		b.WriteByte(' ')
		b.WriteString(f.Message)
	}
	return b.String()
}

// Faults gathers what is wrong with a noun. Its zero value is ready for use.
type Faults struct {
	prefix string
	list   *[]Fault
}

// Addf notes that field is wrong.
func (f *Faults) Addf(field, format string, args ...any) {
	if f.list == nil {
		f.list = new([]Fault)
	}
	*f.list = append(*f.list, Fault{Field: f.prefix + field, Message: fmt.Sprintf(format, args...)})
}

// In returns a Faults that adds to f, with path put before every field.
func (f *Faults) In(path string) *Faults {
	if f.list == nil {
		f.list = new([]Fault)
	}
	return &Faults{prefix: f.prefix + path + ".", list: f.list}
}

// Err returns a *ValidationError, or nil when nothing was added.
func (f *Faults) Err() error {
	if f.list == nil || len(*f.list) == 0 {
		return nil
	}
	return &ValidationError{Faults: *f.list}
}
