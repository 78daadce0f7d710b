package query

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxUses bounds the shapes of statements that are counted, each some 500 bytes
	// with its text: an application has a few hundred. Those beyond are counted as
	// one, without a text.
	maxUses = 2000
	// maxShape bounds a shape in bytes.
	maxShape = 500
)

// A Use counts what became of statements of one shape: of texts that differ in
// nothing but constants, comments and blanks. Its methods may be called concurrently.
type Use struct {
	shape   string // "" where it is not known for certain what is a constant
	hits    atomic.Uint64
	misses  atomic.Uint64
	spent   atomic.Int64 // nanoseconds that misses took
	refused atomic.Uint64
	reason  atomic.Pointer[string] // of the last refusal
}

// Hit counts an answer from the cache.
func (u *Use) Hit() { u.hits.Add(1) }

// Miss counts an answer of the origin that may be stored, and how long it took.
func (u *Use) Miss(took time.Duration) {
	u.misses.Add(1)
	u.spent.Add(int64(took))
}

// Refuse counts a statement that the cache had nothing to do with.
func (u *Use) Refuse(reason string) {
	u.refused.Add(1)
	if last := u.reason.Load(); last == nil || *last != reason {
		is := reason // so that reason itself need not be on the heap
		u.reason.Store(&is)
	}
}

// uses are those of a database, by shape. They outlast catalogs.
type uses struct {
	mu     sync.Mutex
	shapes map[string]*Use
	others Use
}

// of returns the use for a text of a statement that was understood.
func (u *uses) of(source Source, text string) *Use {
	shape, ok := source.Shape(text)
	if !ok {
		return &u.others
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if use := u.shapes[shape]; use != nil {
		return use
	}
	if len(u.shapes) >= maxUses {
		return &u.others
	}
	if u.shapes == nil {
		u.shapes = make(map[string]*Use)
	}
	use := &Use{shape: shape}
	u.shapes[shape] = use
	return use
}

// A Ranked is a shape of statements and how it fares. Saved is how long its hits
// would have taken, had each been as slow as its misses on average.
type Ranked struct {
	Shape        string
	Hits, Misses uint64
	Saved        time.Duration
}

// Refusals are statements that the cache had nothing to do with, for one reason.
type Refusals struct {
	Reason     string
	Statements uint64
}

// Top returns the n shapes that saved most time, and the n commonest reasons for
// which a statement's text kept it from the cache.
func (c *Classifier) Top(n int) ([]Ranked, []Refusals) {
	u := &c.uses
	u.mu.Lock()
	all := make([]*Use, 0, len(u.shapes)+1)
	for _, use := range u.shapes {
		all = append(all, use)
	}
	u.mu.Unlock()
	var top []Ranked
	reasons := make(map[string]uint64)
	for _, use := range append(all, &u.others) {
		if reason := use.reason.Load(); reason != nil {
			reasons[*reason] += use.refused.Load()
		}
		if r := use.rank(); r.Hits > 0 && r.Shape != "" {
			top = append(top, r)
		}
	}
	var why []Refusals
	for reason, k := range reasons {
		why = append(why, Refusals{reason, k})
	}
	slices.SortFunc(top, func(a, b Ranked) int {
		return cmp.Or(cmp.Compare(b.Saved, a.Saved), cmp.Compare(b.Hits, a.Hits), cmp.Compare(a.Shape, b.Shape))
	})
	slices.SortFunc(why, func(a, b Refusals) int {
		return cmp.Or(cmp.Compare(b.Statements, a.Statements), cmp.Compare(a.Reason, b.Reason))
	})
	return top[:min(n, len(top))], why[:min(n, len(why))]
}

func (u *Use) rank() Ranked {
	r := Ranked{Shape: u.shape, Hits: u.hits.Load(), Misses: u.misses.Load()}
	if r.Misses > 0 {
		r.Saved = time.Duration(float64(u.spent.Load()) / float64(r.Misses) * float64(r.Hits))
	}
	return r
}

// shapeOf is a text with ? for its constants, lists of which are one, without
// comments, hints and runs of blanks. It reports false where a constant may have
// been taken for something else.
func shapeOf(sql []byte) (string, bool) {
	if unicodeEscapes(string(sql)) {
		return "", false
	}
	var out []byte
	l := lexer{sql: sql}
	end, cut := 0, false
	for t := l.next(); t.kind != tokenEOF; t = l.next() {
		text := sql[t.start:t.end]
		if t.start > end && len(out) > 0 {
			out = append(out, ' ')
		}
		end = t.end
		switch {
		case t.kind == tokenString && ambiguous(text, false), t.kind == tokenQuoted && len(text) > 2+maxIdentifier:
			return "", false
		case t.kind == tokenString, t.kind == tokenPunct && text[0] >= '0' && text[0] <= '9' && (len(out) == 0 || out[len(out)-1] != '$'):
			out = AppendConstant(out)
		default:
			out = append(out, text...)
		}
		if len(out) > maxShape {
			out, cut = out[:maxShape], true
			break
		}
	}
	shape := string(out)
	if cut {
		shape += "..."
	}
	return shape, true
}

// maxIdentifier is the longest name in bytes (NAMEDATALEN - 1): what is longer, in
// quotes, is no name that anybody has given.
const maxIdentifier = 63

// AppendConstant appends a placeholder for a constant to a shape, but for one that is next in a list of them.
func AppendConstant(out []byte) []byte {
	i := len(out)
	for i > 0 && (out[i-1] == ' ' || out[i-1] == ',') {
		i--
	}
	if i > 0 && i < len(out) && out[i-1] == '?' {
		return out[:i]
	}
	return append(out, '?')
}
