package query

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Catalog is what a database's names stand for, as of one moment: which functions
// are pure, what views read, where a write spreads to. It is immutable.
type Catalog struct {
	functions  map[string][]function
	relations  map[string][]*relation
	byID       map[uint32]*relation
	operators  map[string]string // of the user's own: volatilities
	casts      map[string]string // of the user's own that are not IMMUTABLE, by target
	types      map[string]bool   // of the user's own: safe to cast to
	attributes map[string]bool   // the user's functions that a column's name may call; true: VOLATILE
	refuse     string            // why nothing can be cached
}

// comparisons are operators that happen where they are not written: in ORDER BY, DISTINCT, USING, IN, BETWEEN, CASE, NULLIF, GREATEST.
var comparisons = set("=", "<>", "<", "<=", ">", ">=")

type function struct {
	schema   string
	builtin  bool
	volatile string // all volatilities: of i, s, v
}

type relation struct {
	id       uint32
	name     Name
	kind     byte
	refuse   string // why it cannot be read from the cache
	clock    bool   // because of what its result depends on
	writes   bool   // reading it may write
	columns  map[string]byte
	timeOf   bool     // has a column of time or timetz
	children []uint32 // tables that inherit from it, its partitions
	reads    []uint32 // the tables whose rows make its rows, sorted
	spreads  []uint32 // tables with a foreign key to it that follow its changes
	unbound  bool     // a write to it may write to anything: triggers, rules
	view     *view
	state    uint8 // of the walk that fills reads
}

type view struct {
	relations []uint32
	functions []Name // Schema is "b" (built in) or "u"
	unsafe    bool
}

var errCatalog = errors.New("unexpected answer of the catalog")

// NewCatalog makes a catalog from the rows that CatalogSQL's queries returned, in
// text; NULL is "". It fails where the rows are not what the queries return.
func NewCatalog(results [][][]string) (c *Catalog, err error) {
	if len(results) != len(CatalogSQL) {
		return nil, fmt.Errorf("%w: %d results", errCatalog, len(results))
	}
	for i, width := range [sqlQueries]int{5, 7, 3, 4, 2, 2, 2, 3, 3, 3} {
		for _, row := range results[i] {
			if len(row) != width {
				return nil, fmt.Errorf("%w: %d columns of query %d", errCatalog, len(row), i)
			}
		}
	}
	if len(results[sqlDefaults]) != 1 || len(results[sqlFunctions]) == 0 {
		return nil, fmt.Errorf("%w: no rows", errCatalog)
	}
	c = &Catalog{functions: make(map[string][]function), relations: make(map[string][]*relation), byID: make(map[uint32]*relation),
		operators: make(map[string]string), casts: make(map[string]string), types: make(map[string]bool), attributes: make(map[string]bool)}
	c.takeFunctions(results[sqlFunctions])
	if err := c.takeRelations(results); err != nil {
		return nil, err
	}
	c.takeTypes(results)
	for _, r := range c.byID {
		c.fill(r)
	}
	return c, nil
}

func (c *Catalog) takeFunctions(rows [][]string) {
	for _, row := range rows {
		name, f := row[0], function{schema: row[1], builtin: row[2] == "t", volatile: row[3]}
		c.functions[name] = append(c.functions[name], f)
		if !f.builtin && row[4] == "t" && strings.Trim(f.volatile, "i") != "" {
			c.attributes[name] = c.attributes[name] || strings.Contains(f.volatile, "v")
		}
	}
}

func (c *Catalog) takeTypes(results [][][]string) {
	for _, row := range results[sqlOperators] {
		c.operators[row[0]] += row[1]
		if comparisons[row[0]] && strings.Trim(row[1], "i") != "" {
			c.refuse = "a comparison of the user's own, which may happen without its operator, is not IMMUTABLE"
		}
	}
	for _, row := range results[sqlCasts] {
		c.casts[row[0]] += row[1]
		if row[2] == "t" {
			c.refuse = "a cast of the user's own that happens by itself is not IMMUTABLE"
		}
	}
	for _, row := range results[sqlTypes] {
		safe, seen := c.types[row[0]]
		c.types[row[0]] = row[2] == "t" && (safe || !seen)
	}
	switch d := results[sqlDefaults][0]; {
	case d[0] != "t":
		c.refuse = "the origin is no PostgreSQL"
	case strings.Contains(d[1], "information_schema"), strings.Contains(d[1], "pg_catalog"), strings.Contains(d[1], "pg_temp"):
		c.refuse = "the origin's search_path names a schema of the system"
	case d[2] != "on":
		c.refuse = "standard_conforming_strings is off"
	}
}

func oid(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: OID", errCatalog)
	}
	return uint32(n), nil
}

// pair reads a row of two OIDs.
func pair(row []string) (a, b uint32, err error) {
	if a, err = oid(row[0]); err == nil {
		b, err = oid(row[1])
	}
	return a, b, err
}

func (c *Catalog) takeRelations(results [][][]string) error {
	for _, row := range results[sqlRelations] {
		id, err := oid(row[0])
		if err != nil || len(row[3]) != 1 {
			return fmt.Errorf("%w: relation", errCatalog)
		}
		r := &relation{id: id, name: Name{row[1], row[2]}, kind: row[3][0], unbound: row[5] == "t" || row[6] == "t"}
		switch {
		case row[1] == "pg_catalog":
			r.refuse = "it reads the system catalog"
		case r.kind == 'f':
			r.refuse = "it reads the foreign table " + r.name.Name
		case r.kind == 'S':
			r.refuse = "it reads the sequence " + r.name.Name
		case row[4] == "t":
			r.refuse = "the table " + r.name.Name + " has row security"
		}
		c.byID[id] = r
		c.relations[row[2]] = append(c.relations[row[2]], r)
	}
	for _, row := range results[sqlColumns] {
		id, err := oid(row[0])
		if err != nil || len(row[2]) != 1 {
			return fmt.Errorf("%w: column", errCatalog)
		}
		if r := c.byID[id]; r != nil {
			r.takeColumn(row[1], row[2][0])
		}
	}
	for _, row := range results[sqlViews] {
		if err := c.takeView(row); err != nil {
			return err
		}
	}
	for _, row := range results[sqlInherits] {
		parent, child, err := pair(row)
		if err != nil {
			return err
		}
		if r := c.byID[parent]; r != nil {
			r.children = append(r.children, child)
		}
	}
	for _, row := range results[sqlForeignKeys] {
		to, from, err := pair(row)
		if err != nil {
			return err
		}
		if r := c.byID[to]; r != nil {
			r.spreads = append(r.spreads, from)
		}
	}
	return nil
}

func (r *relation) takeColumn(name string, class byte) {
	if r.columns == nil {
		r.columns = make(map[string]byte)
	}
	switch class {
	case 't':
		r.timeOf = true
		class = 'd'
	case 'z':
		r.timeOf = true
	case 'x':
		if r.refuse == "" {
			r.refuse = "the column " + name + " of " + r.name.Name + " has a type whose output is not known to be constant"
		}
	}
	r.columns[name] = class
}

func (c *Catalog) takeView(row []string) error {
	id, err := oid(row[0])
	if err != nil {
		return err
	}
	r := c.byID[id]
	if r == nil {
		return nil
	}
	v := &view{unsafe: row[3] != "f"}
	for _, s := range strings.Split(row[1], ",") {
		if s == "" {
			continue
		}
		of, err := oid(s)
		if err != nil {
			return err
		}
		if of != 0 && of != id {
			v.relations = append(v.relations, of)
		}
	}
	for _, s := range strings.Split(row[2], "\x1f") {
		if name, kind, ok := strings.Cut(s, "\x1e"); ok {
			v.functions = append(v.functions, Name{kind, name})
		}
	}
	r.view = v
	return nil
}

// Steps of fill.
const (
	unfilled uint8 = iota
	filling
	filled
)

// fill finds the tables behind a relation, and what speaks against it.
func (c *Catalog) fill(r *relation) {
	if r.state != unfilled {
		return
	}
	r.state = filling
	defer func() {
		slices.Sort(r.reads)
		r.reads = slices.Compact(r.reads)
		r.state = filled
	}()
	over := func(id uint32) {
		o := c.byID[id]
		if o == nil || o.state == filling {
			r.deny("it reads something that is not in the catalog", false)
			return
		}
		c.fill(o)
		r.reads = append(r.reads, o.reads...)
		r.timeOf = r.timeOf || o.timeOf
		r.writes = r.writes || o.writes
		r.deny(o.refuse, o.clock)
	}
	switch {
	case r.kind == 'v' && r.view == nil:
		r.deny("the view "+r.name.Name+" is not in the catalog", false)
	case r.kind == 'v':
		for _, id := range r.view.relations {
			over(id)
		}
		c.judgeView(r)
	case r.kind == 'r' || r.kind == 'p':
		r.reads = append(r.reads, r.id)
		for _, id := range r.children {
			over(id)
		}
	}
}

func (r *relation) deny(reason string, clock bool) {
	if r.refuse == "" && reason != "" {
		r.refuse, r.clock = reason, clock
	}
}

func (c *Catalog) judgeView(r *relation) {
	if r.view.unsafe {
		r.deny("the view "+r.name.Name+" has something that depends on the clock, or is not known to be safe", true)
	}
	for _, f := range r.view.functions {
		class := c.classify(f.Name, -1, func(o function) bool { return o.builtin == (f.Schema == "b") })
		if f.Schema == "b" && settingsOnly[f.Name] {
			continue
		}
		if f.Schema == "u" && class.pure {
			continue
		}
		r.writes = r.writes || class.writes
		r.deny("the view "+r.name.Name+" calls "+f.Name, true)
	}
	if len(r.view.relations) == 0 {
		r.deny("the view "+r.name.Name+" reads no table", false)
	}
}
