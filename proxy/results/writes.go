package results

import (
	"slices"
	"time"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/query"
)

// inDoubt is for how long the tables that a lost origin connection was writing to
// count as being written to: it may commit what it was asked to after the proxy has
// lost sight of it. As long as an origin is given to notice a cancel request (5 s),
// twice.
const inDoubt = 10 * time.Second

// Wrote takes in that another proxy has seen a write to the origin, which may be
// committed by now. Where it is in doubt it may also be committed within a while.
func (r *Results) Wrote(w cache.Write, ddl, inDoubt bool) {
	if r == nil {
		return
	}
	r.wrote(w, ddl)
	if inDoubt {
		r.Space.Begin(w)
		r.endLater(w, ddl, func() {})
	}
}

// Unheard takes in that writes of other proxies may not have been heard of.
func (r *Results) Unheard() {
	if r != nil {
		r.wrote(cache.Write{All: true}, true)
	}
}

func (r *Results) wrote(w cache.Write, ddl bool) {
	if ddl {
		r.Doubt()
	}
	r.Space.Bump(w)
}

// endLater ends a write that began, once nothing is in doubt about it any more.
func (r *Results) endLater(w cache.Write, ddl bool, and func()) {
	time.AfterFunc(inDoubt, func() {
		if ddl {
			r.Doubt()
		}
		r.Space.End(w)
		and()
	})
}

// tell says to other proxies what was written.
func (r *Results) tell(w cache.Write, ddl, inDoubt bool) {
	if r.cfg.Tell != nil {
		r.cfg.Tell(w, ddl, inDoubt)
	}
}

// Missed says that for a while nobody looked at what a client changed.
func (r *Results) Missed() {
	r.Space.Bump(cache.Write{All: true})
	r.tell(cache.Write{All: true}, true, false)
}

// Writes are what a client has asked the origin to change and that is not known to
// be committed yet.
type Writes struct {
	now cache.Write
	ddl bool
	// doubts are those of the catalog that said what is written: see widen.
	doubts int64
}

// Any reports whether anything is being written.
func (w *Writes) Any() bool { return w.now.All || len(w.now.Tables) > 0 }

// Look judges a statement that is about to be sent to the origin, and notes what it
// may change. last may be its verdict, or nil: see query.Classifier.Again.
func (w *Writes) Look(r *Results, last *query.Verdict, text []byte) *query.Verdict {
	if !w.Any() {
		w.doubts = r.doubts.Load() // before the verdict
	}
	v := r.Statements.Again(last, text)
	effect := v.Effect
	if !r.Ready() && (v.Replaceable || !effect.None()) {
		effect.All = true // whom it triggers and what it calls may be another by now
	}
	w.Change(r, effect)
	return v
}

// Change notes that tables are about to be written to.
func (w *Writes) Change(r *Results, e query.Effect) {
	if e.None() {
		return
	}
	var begun cache.Write
	if e.All && !w.now.All {
		begun.All, w.now.All = true, true
	}
	for _, id := range e.Tables {
		if !slices.Contains(w.now.Tables, id) {
			begun.Tables = append(begun.Tables, id)
			w.now.Tables = append(w.now.Tables, id)
		}
	}
	if e.DDL && !w.ddl {
		w.ddl = true
	}
	r.Space.Begin(begun)
}

// widen takes everything to be written to where the catalog that said what is may have
// become another since: a trigger may have come, or a table gone and come back.
func (w *Writes) widen(r *Results) {
	if w.Any() && w.doubts != r.doubts.Load() {
		w.Change(r, query.Effect{All: true})
	}
}

// Committed notes that the origin says that no transaction is open: what was
// written may be seen by all. With more, more that may write is under way.
func (w *Writes) Committed(r *Results, more bool) {
	w.widen(r)
	if !w.Any() {
		return
	}
	if !more {
		w.End(r)
		return
	}
	r.Space.Bump(w.now)
	r.tell(cache.Write{All: w.now.All, Tables: slices.Clone(w.now.Tables)}, w.ddl, false)
}

// End ends what the client was writing.
func (w *Writes) End(r *Results) {
	w.widen(r)
	was := *w
	*w = Writes{}
	if !was.Any() {
		return
	}
	if was.ddl {
		r.Doubt()
	}
	r.Space.End(was.now)
	r.tell(was.now, was.ddl, false)
}

// Lost ends what a client was writing whose origin connection was lost: it may
// commit yet.
func (w *Writes) Lost(r *Results) {
	w.widen(r)
	was := *w
	*w = Writes{}
	if !was.Any() {
		return
	}
	r.Space.Bump(was.now)
	r.tell(was.now, was.ddl, true)
	r.endLater(was.now, was.ddl, func() { r.tell(was.now, was.ddl, false) })
}
