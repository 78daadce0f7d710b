package query

import (
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/maypok86/otter/v2"
)

// maxVerdicts bounds the verdicts that are kept, in bytes of their texts and
// otherVerdict each: 64,000 texts of 256 bytes.
const (
	maxVerdicts  = 32 << 20
	otherVerdict = 256
)

// A Classifier keeps the verdicts of a database under its current catalog. Its
// methods may be called concurrently.
type Classifier struct {
	current atomic.Pointer[era]
	eras    atomic.Uint64
	uses    uses
}

// A Source judges the statements of one dialect, under one catalog.
type Source interface {
	// Judge returns the verdict on a text of at most MaxText bytes.
	Judge(text string) *Verdict
	// Decided reports whether Judge says the same of a text whatever the catalog.
	Decided(text string) bool
	// Shape is a text without its constants, comments and blanks. It reports false
	// where a constant may have been taken for something else.
	Shape(text string) (string, bool)
	// Skeleton is the normal form of a text and, in dst, what it has in common with all
	// texts on which Judge says the same but for Text. It reports false where that is not
	// known.
	Skeleton(dst, text []byte) (normal, skeleton []byte, ok bool)
	// Table is the name of a table by its number; "" where there is none.
	Table(id uint32) string
}

// Postgres is PostgreSQL's source under a catalog, nil for one that is not known.
func Postgres(c *Catalog) Source { return postgres{c} }

type postgres struct{ catalog *Catalog }

func (p postgres) Judge(text string) *Verdict { return p.catalog.Judge(Analyze(text)) }

func (p postgres) Decided(text string) bool { return Analyze(text).Decided() }

func (p postgres) Shape(text string) (string, bool) { return shapeOf([]byte(text)) }

func (p postgres) Skeleton(dst, text []byte) (normal, skeleton []byte, ok bool) {
	return Skeleton(dst, text)
}

func (p postgres) Table(id uint32) string {
	if p.catalog == nil || p.catalog.byID[id] == nil {
		return ""
	}
	return p.catalog.byID[id].name.String()
}

// An era is the time of one catalog.
type era struct {
	n        uint64 // its number, from 1 on
	source   Source
	known    bool
	verdicts *otter.Cache[string, *Verdict]
	like     *skeletons // nil where there is no catalog
}

// NewClassifier makes one without a catalog, which unknown judges for.
func NewClassifier(unknown Source) *Classifier {
	c := &Classifier{}
	c.set(unknown, false)
	return c
}

// SetSource puts a catalog in force. All verdicts are forgotten.
func (c *Classifier) SetSource(s Source) { c.set(s, true) }

func (c *Classifier) set(s Source, known bool) {
	e := &era{n: c.eras.Add(1), source: s, known: known, verdicts: otter.Must(&otter.Options[string, *Verdict]{
		MaximumWeight: maxVerdicts,
		Executor:      atOnce,
		Weigher: func(text string, v *Verdict) uint32 {
			return uint32(len(text) + len(v.Text) + len(v.Reason) + otherVerdict)
		},
	})}
	if known {
		e.like = newSkeletons()
	}
	c.current.Store(e)
}

// Source is the one in force.
func (c *Classifier) Source() Source { return c.current.Load().source }

// Ready reports whether there is a catalog.
func (c *Classifier) Ready() bool { return c.current.Load().known }

// Known returns the verdict on a text that was judged before, nil if it was not. It
// does not keep text, and does not allocate.
func (c *Classifier) Known(text []byte) *Verdict {
	v, _ := c.current.Load().verdicts.GetIfPresent(unsafeString(text))
	return v
}

// Again is Judge for a text that may be the one that v, which may be nil, is the verdict
// on: most clients ask the same again and again.
func (c *Classifier) Again(v *Verdict, text []byte) *Verdict { return c.AgainIn(nil, v, text) }

// AgainIn is Again for who asks one thing after the other: a verdict that it has to make is
// in s, until it is called with s again. With nil each is one of its own.
func (c *Classifier) AgainIn(s *Scratch, v *Verdict, text []byte) *Verdict {
	if v != nil && v.era == c.current.Load().n && v.Text == string(text) {
		return v
	}
	return c.judge(s, text)
}

// A Scratch has room for one verdict, on a text that is like one of before. The zero value is ready to be used.
type Scratch struct {
	verdict Verdict
	text    []byte
}

// Judge returns the verdict on a text, of the parser where there is none yet on one like
// it. A text that is like one of before is kept when it is seen again.
func (c *Classifier) Judge(text []byte) *Verdict { return c.judge(nil, text) }

func (c *Classifier) judge(s *Scratch, text []byte) *Verdict {
	if len(text) > MaxText {
		return &Verdict{Status: StatusOversizedQuery, Reason: tooLong, Effect: Effect{All: true, DDL: true}, use: &c.uses.others}
	}
	e := c.current.Load()
	sighted := e.like == nil || e.like.sighted(text)
	if sighted { // else it is most likely new, and to find that out costs as much as the rest
		s = nil
		if v, ok := e.verdicts.GetIfPresent(unsafeString(text)); ok {
			return v
		}
	}
	if e.like != nil {
		if v := e.like.of(s, e.source, text); v != nil {
			if sighted {
				e.verdicts.Set(string(text), v)
			}
			return v
		}
	}
	if !sighted {
		if v, ok := e.verdicts.GetIfPresent(unsafeString(text)); ok {
			return v
		}
	}
	own := string(text)
	v := e.source.Judge(own)
	v.era = e.n
	if v.use = &c.uses.others; v.Status != StatusParseError {
		v.use = c.uses.of(e.source, own)
	}
	e.verdicts.Set(own, v)
	if e.like != nil {
		e.like.put(e.source, v, text)
	}
	return v
}

// atOnce lets a store be maintained by who reads and writes it: a goroutine for each write
// costs more than what it would do.
func atOnce(maintain func()) { maintain() }

// unsafeString is b as a string, for as long as b is not changed.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Tables are names of tables by their numbers, sorted.
func (c *Classifier) Tables(ids []uint32) []string {
	source := c.current.Load().source
	var names []string
	for _, id := range ids {
		if name := source.Table(id); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
