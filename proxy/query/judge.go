package query

import (
	"slices"
	"strings"
)

// A Verdict says what may be done with one statement, under one catalog. It is
// immutable.
type Verdict struct {
	// Status is StatusMiss where the result may be stored.
	Status Status
	// Reason is why not, in words that hold no constant of the statement.
	Reason string
	// Text is the statement's normal form: texts of one form share their results.
	Text string
	// Day: the result also depends on the date in the session's time zone.
	Day bool
	// Timed: a parameter is read as a time, whatever its own type is.
	Timed bool
	// Tables are the OIDs of the tables that are read.
	Tables []uint32
	// Effect is what the statement may change.
	Effect Effect
	// Replaceable: what it runs or reads may write tomorrow though it does not today.
	Replaceable bool
	use         *Use
	era         uint64 // of the catalog that it was made by
}

// Use counts what becomes of statements of the verdict's shape. It is of a
// Classifier's verdicts only.
func (v *Verdict) Use() *Use { return v.use }

// An Effect is what a statement may change, when it is committed.
type Effect struct {
	All    bool     // any table
	DDL    bool     // the catalog too
	Tables []uint32 // OIDs of the tables
}

// None reports whether nothing is changed.
func (e Effect) None() bool { return !e.All && !e.DDL && len(e.Tables) == 0 }

// Judge decides on a statement. A nil catalog allows nothing.
func (c *Catalog) Judge(s *Statement) *Verdict {
	v := &Verdict{Status: s.status, Reason: s.reason, Text: s.text, Day: s.day}
	v.Effect, v.Replaceable = c.effect(s), c.replaceable(s)
	v.Timed = slices.ContainsFunc(s.casts, func(k cast) bool { return k.param && datetimeTypes[k.to.Name] })
	if v.Status != StatusMiss {
		return v
	}
	no := func(status Status, reason string) *Verdict {
		v.Status, v.Reason = status, reason
		return v
	}
	if c == nil {
		return no(StatusUncacheable, "the origin's catalog is not known at the moment")
	}
	if c.refuse != "" {
		return no(StatusUncacheable, c.refuse)
	}
	relations, reason := c.resolve(s)
	if reason != "" {
		return no(StatusUncacheable, reason)
	}
	for _, r := range relations {
		if r.refuse != "" && r.clock {
			return no(StatusVolatile, r.refuse)
		} else if r.refuse != "" {
			return no(StatusUncacheable, r.refuse)
		}
		v.Tables = append(v.Tables, r.reads...)
	}
	slices.Sort(v.Tables)
	v.Tables = slices.Compact(v.Tables)
	if status, reason := c.calls(s, relations); reason != "" {
		return no(status, reason)
	}
	if reason := c.castsOf(s, relations); reason != "" {
		return no(StatusUncacheable, reason)
	}
	return v
}

// resolve finds all relations that a statement's names may stand for, whatever the
// search_path.
func (c *Catalog) resolve(s *Statement) ([]*relation, string) {
	var all []*relation
	for _, n := range s.relations {
		if n.Schema == "information_schema" || strings.HasPrefix(n.Schema, "pg_") {
			return nil, "it reads the system catalog"
		}
		found := false
		for _, r := range c.relations[n.Name] {
			if n.Schema == "" || r.name.Schema == n.Schema {
				all = append(all, r)
				found = true
			}
		}
		if !found && (n.Schema != "" || !s.ctes[n.Name]) {
			return nil, "it reads " + n.String() + ", which is not in the catalog"
		}
	}
	if len(all) == 0 {
		return nil, "it reads no table"
	}
	return all, ""
}

// A class of all functions that a name may stand for.
type class struct {
	found  bool
	pure   bool // the same result whenever the tables and settings are the same
	writes bool // may write to tables
	stable bool // of those that are not pure, none is VOLATILE
}

// classify judges a name by the worst function that it may stand for.
func (c *Catalog) classify(name string, args int, is func(function) bool) class {
	k := class{pure: true, stable: true}
	for _, f := range c.functions[name] {
		if !is(f) {
			continue
		}
		k.found = true
		immutable := strings.Trim(f.volatile, "i") == ""
		volatile := strings.Contains(f.volatile, "v")
		switch {
		case f.builtin:
			k.pure = k.pure && (immutable && !readingText[name] || settingsOnly[name] || name == "age" && args == 2)
			k.writes = k.writes || volatile && !harmlessVolatile[name]
		default:
			k.pure = k.pure && immutable
			k.writes = k.writes || volatile
		}
		k.stable = k.stable && !volatile
	}
	k.pure = k.pure && k.found
	return k
}

func (c *Catalog) classOf(f invocation) class {
	return c.classify(f.Name.Name, f.args, func(o function) bool { return f.Schema == "" || o.schema == f.Schema })
}

// calls looks at what is called, by whatever syntax.
func (c *Catalog) calls(s *Statement, relations []*relation) (Status, string) {
	if s.nowAsDate && !c.classOnlyBuiltin("now") {
		return StatusVolatile, "now is a function of the user's own"
	}
	for _, f := range s.calls {
		switch k := c.classOf(f); {
		case k.pure && f.Name.Name == "timezone" && (s.timeTypes || slices.ContainsFunc(relations, func(r *relation) bool { return r.timeOf })):
			return StatusUncacheable, "AT TIME ZONE of a time of day depends on today's date"
		case k.pure:
		case !k.found && f.args == 1: // a cast in the shape of a call: castsOf decides
			if !c.isType(f.Name) {
				return StatusUncacheable, "it calls " + f.Name.String() + ", which is not in the catalog"
			}
		case !k.found:
			return StatusUncacheable, "it calls " + f.Name.String() + ", which is not in the catalog"
		case readingText[f.Name.Name]:
			return StatusUncacheable, "it calls " + f.Name.String() + ", which may read a time of the clock from text"
		default:
			return StatusVolatile, "it calls " + f.Name.String() + ", which is not IMMUTABLE"
		}
	}
	for name := range s.columns {
		if _, ok := c.attributes[name]; ok {
			return StatusVolatile, "the name " + name + " may call a function that is not IMMUTABLE"
		}
		if slices.ContainsFunc(relations, func(r *relation) bool { return r.columns[name] == 'z' }) {
			return StatusUncacheable, "what " + name + ", a time of day with a zone, is compared with may depend on today's date"
		}
	}
	for _, symbol := range s.operators {
		if strings.Trim(c.operators[symbol], "i") != "" {
			return StatusVolatile, "it uses the operator " + symbol + ", which is not IMMUTABLE"
		}
	}
	return 0, ""
}

func (c *Catalog) classOnlyBuiltin(name string) bool {
	return !slices.ContainsFunc(c.functions[name], func(f function) bool { return !f.builtin })
}

func (c *Catalog) isType(n Name) bool {
	if n.Schema == "" || n.Schema == "pg_catalog" {
		if plainTypes[n.Name] {
			return true
		}
	}
	return c.types[n.Name]
}

// castsOf looks at casts, calls that are casts included.
func (c *Catalog) castsOf(s *Statement, relations []*relation) string {
	for _, k := range s.casts {
		user, own := c.types[k.to.Name]
		builtin := plainTypes[k.to.Name] && (k.to.Schema == "" || k.to.Schema == "pg_catalog")
		called := k.called && len(c.functions[k.to.Name]) > 0 // a call, not only a cast
		switch {
		case c.casts[k.to.Name] != "":
			return "the cast to " + k.to.Name + " is not IMMUTABLE"
		case own && !user:
			return "it casts to " + k.to.Name + ", which is not known to be safe"
		case !builtin && !own && !called:
			return "it casts to " + k.to.String() + ", which is not known to be safe"
		case datetimeTypes[k.to.Name] && !k.safe && !c.datetimeColumn(s, relations, k.column):
			return "it casts what may be text to " + k.to.Name + ": a text 'today' would mean the clock's"
		}
	}
	return ""
}

// datetimeColumn reports whether a column's name can only be that of a date or time.
func (c *Catalog) datetimeColumn(s *Statement, relations []*relation, name string) bool {
	if name == "" || s.aliases[name] || s.functions {
		return false
	}
	found := false
	for _, r := range relations {
		switch r.columns[name] {
		case 'd':
			found = true
		case 0:
		default:
			return false
		}
	}
	return found
}

// effect finds out what a statement may change.
func (c *Catalog) effect(s *Statement) Effect {
	e := Effect{All: s.effect.all, DDL: s.effect.ddl}
	if e.All {
		return e
	}
	if c == nil {
		e.All = len(s.effect.tables) > 0 || s.effect.calls
		e.DDL = e.DDL || len(s.calls) > 0
		return e
	}
	for _, n := range s.effect.tables {
		if !c.spread(n, &e) {
			e.All, e.Tables = true, nil
			break
		}
	}
	if s.effect.calls && c.mayWrite(s) { // and what writes may as well make a trigger
		return Effect{All: true, DDL: true}
	}
	slices.Sort(e.Tables)
	e.Tables = slices.Compact(e.Tables)
	return e
}

// spread adds the tables that a write to a name may change, and reports whether
// those are all.
func (c *Catalog) spread(n Name, e *Effect) bool {
	found := false
	for _, r := range c.relations[n.Name] {
		if n.Schema != "" && r.name.Schema != n.Schema {
			continue
		}
		found = true
		if !c.spreadFrom(r, e, make(map[uint32]bool)) {
			return false
		}
	}
	return found
}

func (c *Catalog) spreadFrom(r *relation, e *Effect, seen map[uint32]bool) bool {
	if seen[r.id] {
		return true
	}
	seen[r.id] = true
	if r.unbound || r.kind != 'r' && r.kind != 'p' {
		return false
	}
	e.Tables = append(e.Tables, r.id)
	for _, list := range [][]uint32{r.children, r.spreads} {
		for _, id := range list {
			o := c.byID[id]
			if o == nil || !c.spreadFrom(o, e, seen) {
				return false
			}
		}
	}
	return true
}

// mayWrite reports whether something that a statement calls may write to tables.
func (c *Catalog) mayWrite(s *Statement) bool {
	for _, f := range s.calls {
		if k := c.classOf(f); k.writes || !k.found && !c.isType(f.Name) {
			return true
		}
	}
	for name := range s.columns {
		if c.attributes[name] {
			return true
		}
	}
	for _, symbol := range s.operators {
		if strings.Contains(c.operators[symbol], "v") {
			return true
		}
	}
	for _, k := range s.casts {
		if strings.Contains(c.casts[k.to.Name], "v") {
			return true
		}
	}
	for _, n := range s.relations {
		for _, r := range c.relations[n.Name] {
			if r.writes {
				return true
			}
		}
	}
	return false
}

// replaceable reports whether a statement runs or reads what the user may put
// something else in the place of: functions, operators and casts of the user's own, views.
func (c *Catalog) replaceable(s *Statement) bool {
	if c == nil || !s.effect.calls && s.status != StatusMiss {
		return false
	}
	for _, f := range s.calls {
		if name := f.Name.Name; !c.classOnlyBuiltin(name) || len(c.functions[name]) == 0 && !plainTypes[name] {
			return true
		}
	}
	for name := range s.columns {
		if _, ok := c.attributes[name]; ok {
			return true
		}
	}
	for _, symbol := range s.operators {
		if _, ok := c.operators[symbol]; ok {
			return true
		}
	}
	for _, k := range s.casts {
		if _, ok := c.casts[k.to.Name]; ok {
			return true
		}
	}
	for _, n := range s.relations {
		if len(c.relations[n.Name]) == 0 && !s.ctes[n.Name] || slices.ContainsFunc(c.relations[n.Name], func(r *relation) bool { return r.kind == 'v' }) {
			return true
		}
	}
	return false
}
