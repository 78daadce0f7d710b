package query

import (
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
}

// An era is the time of one catalog.
type era struct {
	catalog  *Catalog
	verdicts *otter.Cache[string, *Verdict]
}

// NewClassifier makes one without a catalog.
func NewClassifier() *Classifier {
	c := &Classifier{}
	c.SetCatalog(nil)
	return c
}

// SetCatalog changes what names stand for, nil to not known. All verdicts are
// forgotten.
func (c *Classifier) SetCatalog(catalog *Catalog) {
	c.current.Store(&era{catalog, otter.Must(&otter.Options[string, *Verdict]{
		MaximumWeight: maxVerdicts,
		Weigher: func(text string, v *Verdict) uint32 {
			return uint32(len(text) + len(v.Text) + len(v.Reason) + otherVerdict)
		},
	})})
}

// Ready reports whether there is a catalog.
func (c *Classifier) Ready() bool { return c.current.Load().catalog != nil }

// Known returns the verdict on a text that was judged before, nil if it was not. It
// does not keep text, and does not allocate.
func (c *Classifier) Known(text []byte) *Verdict {
	v, _ := c.current.Load().verdicts.GetIfPresent(unsafe.String(unsafe.SliceData(text), len(text)))
	return v
}

// Judge returns the verdict on a text, of the parser where there is none yet.
func (c *Classifier) Judge(text []byte) *Verdict {
	e := c.current.Load()
	if v, ok := e.verdicts.GetIfPresent(unsafe.String(unsafe.SliceData(text), len(text))); ok {
		return v
	}
	if len(text) > MaxText {
		return e.catalog.Judge(&Statement{status: StatusOversizedQuery, reason: tooLong, effect: effect{all: true}})
	}
	own := string(text)
	v := e.catalog.Judge(Analyze(own))
	e.verdicts.Set(own, v)
	return v
}
