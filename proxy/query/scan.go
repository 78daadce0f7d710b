package query

import "bytes"

// Session says what a text may leave behind in the session that runs it, beyond
// the command tags that it is answered with: a set of the bits below.
type Session uint16

const (
	// Clean: nothing but what the command tags tell.
	Clean Session = 0
	// Sets: settings that Changes names.
	Sets Session = 1 << (iota - 1)
	// Locks: session advisory locks, taken or given back.
	Locks
	// Temps: temporary tables and other temporary objects.
	Temps
	// Holds: cursors WITH HOLD.
	Holds
	// Prepares: statements of PREPARE.
	Prepares
	// Listens: channels of LISTEN.
	Listens
	// Dirty: perhaps anything that a reset clears.
	Dirty
	// Spoilt: perhaps something that no reset clears: a loaded library, a
	// random seed.
	Spoilt
	// Numbers: the last value of a sequence, in a call that can be seen.
	Numbers
	// Asks: nothing, but it asks for such a value.
	Asks
	// Begins: perhaps a transaction block, which other texts end.
	Begins
	// Deallocates: nothing, but it may take prepared statements away.
	Deallocates
)

// Scan says what PostgreSQL text may leave behind. It is default-deny: a call of
// a function that is not known to leave the session alone makes it Dirty, and so
// does text that it cannot read for certain. Operators, casts, triggers and views
// can call functions too, unseen; whoever has such functions that change the
// session sets the database to be reset always.
func Scan(sql []byte, standard bool) Session {
	var found Session
	l := lexer{sql: sql}
	var prev, prev2, prev3 token
	relation := false // the name being read is a relation's or an alias
	first := true     // of the statement
	for t := l.next(); t.kind != tokenEOF; t = l.next() {
		switch {
		case t.kind == tokenPunct && sql[t.start] == '(':
			if !relation || prev.kind == tokenPunct {
				if catalog(sql, prev2, prev3) {
					prev2 = token{}
				}
				found |= call(sql, prev, prev2)
			}
			relation = false
		case t.kind == tokenWord:
			w := sql[t.start:t.end]
			if first {
				found |= command(w)
			}
			found |= word(w)
			if w[0]|0x20 == 'c' && fold(w, "chain") && prev.kind == tokenWord && fold(sql[prev.start:prev.end], "and") {
				found |= Begins
			}
			relation = beforeRelation(w) || relation && named(sql, prev)
		case t.kind == tokenQuoted:
			if name := sql[t.start+1 : t.end]; bytes.HasPrefix(name, []byte("pg_temp")) || bytes.IndexByte(name, '\\') >= 0 {
				found |= Temps | Dirty // U&"" can spell anything
			}
			relation = relation && named(sql, prev)
		case t.kind == tokenPunct && sql[t.start] != '.':
			relation = false
		case t.kind == tokenString && ambiguous(sql[t.start:t.end], standard):
			found |= Dirty | Begins
		}
		first = t.kind == tokenPunct && sql[t.start] == ';'
		prev3, prev2, prev = prev2, prev, t
		if found&Spoilt != 0 {
			break
		}
	}
	return found
}

// catalog reports whether dot and schema are what stands before a name of
// pg_catalog.
func catalog(sql []byte, dot, schema token) bool {
	return dot.kind == tokenPunct && sql[dot.start] == '.' && schema.kind == tokenWord && fold(sql[schema.start:schema.end], "pg_catalog")
}

// command judges the first word of a statement.
func command(w []byte) Session {
	switch w[0] | 0x20 {
	case 's':
		if fold(w, "set") {
			return Sets
		}
		if fold(w, "start") {
			return Begins
		}
	case 'b':
		if fold(w, "begin") {
			return Begins
		}
	case 'r':
		if fold(w, "reset") {
			return Sets
		}
	case 'l':
		if fold(w, "listen") {
			return Listens
		}
	case 'u':
		if fold(w, "unlisten") {
			return Listens
		}
	case 'p':
		if fold(w, "prepare") {
			return Prepares
		}
	case 'd':
		if fold(w, "deallocate") {
			return Prepares | Deallocates
		}
		if fold(w, "discard") {
			return Deallocates
		}
	case 'c':
		if fold(w, "close") {
			return Holds
		}
	}
	return Clean
}

// ambiguous reports whether where a string constant ends depends on a setting: on
// standard_conforming_strings where it has a backslash; in E” on client_encoding
// where one follows a byte that is not ASCII, whose second half it may be.
func ambiguous(s []byte, standard bool) bool {
	escapes := s[0] == 'e' || s[0] == 'E'
	for i, c := range s {
		if c == '\\' && s[0] != '$' && (!escapes && !standard || escapes && s[i-1] >= 0x80) {
			return true
		}
	}
	return false
}

// beforeRelation reports whether w stands before the name of a relation or an
// alias, which a list of columns in parentheses may follow.
func beforeRelation(w []byte) bool {
	return fold(w, "into") || fold(w, "copy") || fold(w, "as") || fold(w, "with") || fold(w, "recursive")
}

// named reports whether a name that a relation's name may start with, or go on
// with, can stand behind t.
func named(sql []byte, t token) bool {
	return t.kind == tokenWord && beforeRelation(sql[t.start:t.end]) || t.kind == tokenPunct && sql[t.start] == '.'
}

// call judges the word before a parenthesis.
func call(sql []byte, name, before token) Session {
	switch name.kind {
	case tokenQuoted:
		return Dirty
	case tokenWord:
		w := sql[name.start:name.end]
		if lookup(spoilingCalls, w) {
			return Spoilt
		}
		// A name behind a dot may be a function of any schema.
		if before.kind == tokenPunct && sql[before.start] == '.' {
			return Dirty
		}
		switch {
		case lookup(harmlessCalls, w):
			return Clean
		case lookup(lockCalls, w):
			return Locks
		case fold(w, "nextval"), fold(w, "setval"):
			return Numbers
		case fold(w, "lastval"), fold(w, "currval"):
			return Asks
		case fold(w, "set_config"):
			return Sets
		}
		return Dirty
	}
	return Clean
}

// word judges a word by itself.
func word(w []byte) Session {
	switch w[0] | 0x20 {
	case 't':
		if fold(w, "temp") || fold(w, "temporary") {
			return Temps
		}
	case 'p':
		if len(w) >= 7 && fold(w[:7], "pg_temp") {
			return Temps
		}
	case 'h':
		if fold(w, "hold") {
			return Holds
		}
	case 'e':
		if fold(w, "execute") { // of what was prepared where nobody looked
			return Dirty
		}
	}
	return Clean
}

// fold reports whether w is lower, which is in lower case, in any case.
func fold(w []byte, lower string) bool {
	if len(w) != len(lower) {
		return false
	}
	for i := range w {
		c := w[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// maxFolded is the longest name in harmlessCalls or spoilingCalls, in bytes.
const maxFolded = 32

func lookup(set map[string]bool, w []byte) bool {
	if len(w) > maxFolded {
		return false
	}
	var low [maxFolded]byte
	for i, c := range w {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		low[i] = c
	}
	return set[string(low[:len(w)])]
}

// CleanTag reports whether the command tag (of CommandComplete) belongs to a
// command that by itself leaves nothing behind in the session.
func CleanTag(tag []byte) bool {
	if i := bytes.IndexByte(tag, ' '); i > 0 {
		switch first := tag[:i]; {
		case fold(first, "start"), fold(first, "release"), fold(first, "set") && fold(tag, "set constraints"):
			return true
		case fold(first, "prepare"), fold(first, "commit"), fold(first, "rollback"):
			return fold(tag, "prepare transaction") || fold(tag, "commit prepared") || fold(tag, "rollback prepared")
		default:
			tag = first
		}
	}
	return lookup(cleanTags, tag)
}

// cleanTags are first words of tags of src/include/tcop/cmdtaglist.h. CREATE,
// ALTER and DROP are not among them, for temporary objects and login hooks;
// neither are DO and CALL, whose code is unseen.
var cleanTags = set("select", "insert", "update", "delete", "merge", "copy", "fetch", "move", "close",
	"begin", "commit", "rollback", "savepoint", "show", "explain", "lock", "notify", "analyze", "vacuum",
	"truncate", "checkpoint", "comment", "grant", "revoke", "reindex", "cluster", "refresh", "deallocate", "set", "reset", "prepare", "listen", "unlisten",
	"declare")

// lockCalls take or give back an advisory lock of the session.
var lockCalls = set("pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared",
	"pg_advisory_unlock", "pg_advisory_unlock_shared", "pg_advisory_unlock_all")

// spoilingCalls leave what no reset clears.
var spoilingCalls = set("setseed", "dblink_connect", "dblink_connect_u")

// harmlessCalls are words that stand before a parenthesis in SQL's own grammar,
// and functions of pg_catalog that leave the session alone.
var harmlessCalls = set(
	"in", "any", "all", "some", "exists", "values", "and", "or", "not", "where", "when", "then", "else", "case", "on", "from",
	"as", "select", "using", "by", "over", "partition", "filter", "within", "group", "having", "limit", "offset", "returning",
	"set", "into", "join", "lateral", "union", "except", "intersect", "distinct", "is", "between", "like", "ilike", "similar",
	"array", "row", "key", "primary", "unique", "references", "check", "default", "conflict", "with", "materialized", "recursive",
	"rollup", "cube", "sets", "grouping", "if", "explain", "copy", "begin", "ordinality", "columns", "only", "insert", "foreign",
	"numeric", "decimal", "varchar", "char", "character", "varying", "bit", "timestamp", "timestamptz", "time", "timetz", "interval",
	"float", "precision", "index", "generated", "always", "include", "range", "list", "hash", "to", "for", "tablesample",
	"count", "sum", "avg", "min", "max", "bool_and", "bool_or", "every", "array_agg", "string_agg", "json_agg", "jsonb_agg",
	"json_object_agg", "jsonb_object_agg", "stddev", "variance", "percentile_cont", "percentile_disc", "mode", "corr",
	"row_number", "rank", "dense_rank", "ntile", "lag", "lead", "first_value", "last_value", "nth_value", "percent_rank", "cume_dist",
	"coalesce", "nullif", "greatest", "least", "cast", "extract", "overlay", "position", "substring", "trim", "treat", "normalize",
	"abs", "ceil", "ceiling", "floor", "round", "trunc", "sqrt", "cbrt", "power", "exp", "ln", "log", "mod", "div", "sign", "random",
	"pi", "degrees", "radians", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "width_bucket", "gcd", "lcm",
	"length", "char_length", "character_length", "octet_length", "bit_length", "lower", "upper", "initcap", "concat", "concat_ws",
	"left", "right", "lpad", "rpad", "ltrim", "rtrim", "btrim", "repeat", "replace", "reverse", "split_part", "strpos", "substr",
	"translate", "ascii", "chr", "md5", "sha224", "sha256", "sha384", "sha512", "encode", "decode", "format", "quote_ident",
	"quote_literal", "quote_nullable", "regexp_replace", "regexp_match", "regexp_matches", "regexp_split_to_array",
	"regexp_split_to_table", "string_to_array", "array_to_string", "starts_with", "to_hex", "convert_from", "convert_to",
	"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday", "age", "date_part", "date_trunc",
	"date_bin", "make_date", "make_time", "make_timestamp", "make_timestamptz", "make_interval", "to_char", "to_date",
	"to_number", "to_timestamp", "isfinite", "justify_days", "justify_hours", "justify_interval", "current_date", "current_time",
	"current_timestamp", "localtime", "localtimestamp", "current_user", "session_user", "current_schema", "current_schemas",
	"current_database", "version", "current_setting", "generate_series", "generate_subscripts", "unnest", "array_length",
	"array_append", "array_prepend", "array_cat", "array_position", "array_positions", "array_remove", "array_replace", "array_upper",
	"array_lower", "array_dims", "array_ndims", "cardinality", "array_fill", "json_build_object", "jsonb_build_object",
	"json_build_array", "jsonb_build_array", "json_each", "jsonb_each", "json_each_text", "jsonb_each_text", "json_array_elements",
	"jsonb_array_elements", "json_array_elements_text", "jsonb_array_elements_text", "json_object_keys", "jsonb_object_keys",
	"json_extract_path", "jsonb_extract_path", "json_extract_path_text", "jsonb_extract_path_text", "json_typeof", "jsonb_typeof",
	"json_array_length", "jsonb_array_length", "jsonb_set", "jsonb_insert", "jsonb_pretty", "jsonb_strip_nulls", "to_json", "to_jsonb",
	"row_to_json", "jsonb_path_query", "jsonb_path_exists", "json_populate_record", "jsonb_populate_record", "json_to_record",
	"jsonb_to_record", "json_to_recordset", "jsonb_to_recordset", "gen_random_uuid", "to_tsvector", "to_tsquery", "plainto_tsquery",
	"websearch_to_tsquery", "phraseto_tsquery", "ts_rank", "ts_headline", "setweight", "num_nonnulls", "num_nulls",
	"pg_typeof", "pg_backend_pid", "pg_sleep", "pg_is_in_recovery", "pg_table_is_visible", "pg_get_expr", "pg_get_constraintdef",
	"pg_get_indexdef", "pg_get_viewdef", "pg_get_functiondef", "pg_get_userbyid", "format_type", "obj_description", "col_description",
	"has_table_privilege", "has_schema_privilege", "pg_encoding_to_char", "pg_size_pretty", "pg_total_relation_size",
	"pg_relation_size", "pg_table_size", "pg_database_size", "to_regclass", "to_regtype", "txid_current", "pg_current_xact_id",
	"pg_advisory_xact_lock", "pg_try_advisory_xact_lock", "pg_advisory_xact_lock_shared", "pg_try_advisory_xact_lock_shared",
	"pg_notify", "inet_server_addr", "inet_server_port", "inet_client_addr",
	"pg_stat_get_activity", "pg_cancel_backend", "pg_terminate_backend", "pg_blocking_pids", "host", "family", "masklen", "network",
	"int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange", "isempty", "lower_inc", "upper_inc",
)

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}
