package verdict

import (
	"errors"
	"hash/fnv"
	"strings"
)

// SQL asks a server for its catalog, in the order of NewCatalog's rows. What the user
// may not see of it is not in the answers, so that Privileges are a part of it.
var SQL = [...]string{
	Globals: "SELECT VERSION(), @@GLOBAL.sql_mode, @@GLOBAL.time_zone, @@system_time_zone, @@GLOBAL.sql_auto_is_null, @@GLOBAL.autocommit, " +
		"@@lower_case_table_names, @@GLOBAL.lc_time_names, @@GLOBAL.character_set_server, @@GLOBAL.collation_server, @@GLOBAL.default_week_format, " +
		"@@GLOBAL.div_precision_increment, @@GLOBAL.group_concat_max_len, @@GLOBAL.sql_select_limit",
	Tables: "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES" +
		" WHERE TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY 1, 2",
	Triggers: "SELECT DISTINCT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS ORDER BY 1, 2",
	Cascades: "SELECT DISTINCT UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS" +
		" WHERE UPDATE_RULE NOT IN ('NO ACTION', 'RESTRICT') OR DELETE_RULE NOT IN ('NO ACTION', 'RESTRICT') ORDER BY 1, 2",
	Columns: "SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME, DATA_TYPE = 'time', EXTRA LIKE '%VIRTUAL%' FROM information_schema.COLUMNS" +
		" WHERE (DATA_TYPE = 'time' OR EXTRA LIKE '%VIRTUAL%') AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY 1, 2, 3, 4",
	Privileges: "SELECT '', PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER' AND GRANTEE = " + grantee +
		" UNION SELECT TABLE_SCHEMA, PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER' AND GRANTEE = " + grantee +
		" ORDER BY 1, 2",
	Functions: "SELECT DISTINCT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_TYPE = 'FUNCTION' ORDER BY 1",
	Revokes:   "SHOW GLOBAL VARIABLES LIKE 'partial_revokes'",
}

const grantee = `CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')`

// The parts of a catalog.
const (
	Globals = iota
	Tables
	Triggers
	Cascades
	Columns
	Privileges
	Functions
	Revokes
)

// engines are those whose tables change by what is written to them, and by nothing else.
var engines = set("innodb myisam aria memory rocksdb archive csv")

// maxNamesakes is how many tables of one name, in as many schemas, a statement may mean
// that names no schema.
const maxNamesakes = 16

// anyTable stands for all tables of schemas whose triggers and foreign keys the user
// cannot see: they may change by any write.
const anyTable = 0

// A table is a base table or a view.
type table struct {
	schema, name string // in lower case
	id           uint32
	refuse       string // why results of it are not stored; "": they may be
	seen         bool   // its triggers, and foreign keys that lead to it, are known
	wide         bool   // a write to it may change others
	time         bool   // it has a column of type TIME
}

// A Catalog is what names stand for at a server, as one user sees it. It is immutable.
type Catalog struct {
	Settings
	tables map[string][]*table // by name in lower case
	byID   map[uint32]*table
	made   map[string]bool // names of stored functions
	refuse string          // why nothing of the server is cached
}

// Settings are what sessions begin with.
type Settings struct {
	SQLMode        string
	TimeZone       string // SYSTEM: SystemTimeZone
	SystemTimeZone string
}

// NewCatalog makes a catalog of the answers to SQL, in text, NULL as "".
func NewCatalog(rows [][][]string) (*Catalog, error) {
	c := &Catalog{tables: make(map[string][]*table), byID: make(map[uint32]*table), made: make(map[string]bool)}
	if len(rows) != len(SQL) || len(rows[Globals]) != 1 || len(rows[Globals][0]) < 6 {
		return nil, errors.New("the server's answer about its catalog is not as expected")
	}
	g := rows[Globals][0]
	c.Settings = Settings{SQLMode: strings.ToUpper(g[1]), TimeZone: g[2], SystemTimeZone: g[3]}
	if g[4] != "0" {
		c.refuse = "the server's sql_auto_is_null is on"
	}
	seen := privileged(rows[Privileges], len(rows[Revokes]) > 0 && len(rows[Revokes][0]) > 1 && rows[Revokes][0][1] == "ON")
	for _, r := range rows[Tables] {
		t := &table{schema: strings.ToLower(r[0]), name: strings.ToLower(r[1])}
		t.id = number(t.schema, t.name)
		t.seen = seen[""] || seen[t.schema]
		t.wide = !t.seen
		switch {
		case r[2] != "BASE TABLE" && r[2] != "SYSTEM VERSIONED":
			t.refuse = "it reads " + r[0] + "." + r[1] + ", which is no table but a " + strings.ToLower(r[2])
			t.wide = true
		case !engines[strings.ToLower(r[3])]:
			t.refuse = "it reads " + r[0] + "." + r[1] + ", whose engine is " + r[3]
			t.wide = true
		}
		if c.byID[t.id] == nil { // tables that differ in case, or share a number, share what is written to them
			c.byID[t.id] = t
		}
		c.tables[t.name] = append(c.tables[t.name], t)
	}
	for _, part := range []int{Triggers, Cascades} {
		for _, r := range rows[part] {
			for _, t := range c.find(r[0], r[1]) {
				t.wide = true
			}
		}
	}
	for _, r := range rows[Functions] {
		c.made[strings.ToLower(r[0])] = true
	}
	maria := strings.Contains(g[0], "MariaDB")
	for _, r := range rows[Columns] {
		for _, t := range c.find(r[0], r[1]) {
			t.time = t.time || r[2] == "1"
			if maria && r[3] == "1" && t.refuse == "" { // which may be of a clock, there
				t.refuse = "it reads " + r[0] + "." + r[1] + ", which has a virtual column"
			}
		}
	}
	return c, nil
}

// privileged are the schemas, "" for all, in which the user sees triggers, and foreign
// keys between any tables.
func privileged(rows [][]string, revokes bool) map[string]bool {
	seen := make(map[string]bool)
	for _, r := range rows {
		if r[0] == "" && revokes { // there may be schemas from which it was taken away
			continue
		}
		seen[strings.ToLower(strings.NewReplacer(`\_`, "_", `\%`, "%").Replace(r[0]))] = true
	}
	return seen
}

// find returns the tables that a name may stand for, in any schema where it names none.
func (c *Catalog) find(schema, name string) []*table {
	all := c.tables[strings.ToLower(name)]
	if schema == "" {
		return all
	}
	schema = strings.ToLower(schema)
	var found []*table
	for _, t := range all {
		if t.schema == schema {
			found = append(found, t)
		}
	}
	return found
}

// number is a table's, which means the same to all proxies; never anyTable.
func number(schema, name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(schema + "\x00" + name))
	return max(h.Sum32(), anyTable+1)
}
