package query

import "strings"

// grammarWords stand before a parenthesis in SQL's own grammar, without being a
// function that the parser reports under the same name.
var grammarWords = set("in", "any", "all", "some", "exists", "values", "and", "or", "not", "where", "when", "then", "else", "case", "on",
	"from", "as", "select", "using", "by", "over", "filter", "group", "within", "having", "limit", "offset", "join", "lateral", "union",
	"except", "intersect", "distinct", "between", "symmetric", "asymmetric", "like", "ilike", "to", "escape", "array", "row", "sets",
	"rollup", "cube", "grouping", "cast", "coalesce", "nullif", "greatest", "least", "extract", "overlay", "position", "substring",
	"trim", "treat", "normalize", "materialized", "only", "first", "next", "is", "both", "leading", "trailing", "for",
	"zone", "operator",

	// types with modifiers, by the names that the grammar turns into others
	"numeric", "decimal", "dec", "float", "char", "character", "varchar", "varying", "nchar", "national", "bit", "time", "timestamp",
	"interval", "second", "precision", "int", "integer", "bigint", "smallint", "real", "boolean")

// tokensKnown is the check that does not rest on the parser: each name before a
// parenthesis must be one of a function, type, table, alias or window that the walk
// has found, or a word of the grammar. What the parser has lost, it does not get by.
func (s *Statement) tokensKnown() bool {
	sql := []byte(s.text)
	if unicodeEscapes(s.text) {
		return false
	}
	calls := make(map[string]bool, len(s.calls))
	for _, c := range s.calls {
		calls[c.Name.Name] = true
	}
	l := lexer{sql: sql}
	var prev token
	for t := l.next(); t.kind != tokenEOF; t = l.next() {
		if t.kind == tokenPunct && sql[t.start] == '(' && (prev.kind == tokenWord || prev.kind == tokenQuoted) {
			name := identifier(sql[prev.start:prev.end])
			known := calls[name] || s.types[name] || s.others[name] || s.ctes[name] || s.aliases[name]
			if !known && (prev.kind == tokenQuoted || !grammarWords[name]) {
				return false
			}
		}
		if t.kind == tokenString && ambiguous(sql[t.start:t.end], false) {
			return false
		}
		prev = t
	}
	return true
}

// unicodeEscapes reports whether names or strings may be spelt with U&.
func unicodeEscapes(sql string) bool {
	for rest := sql; ; {
		i := strings.IndexByte(rest, '&')
		if i < 0 || i+1 >= len(rest) {
			return false
		}
		if i > 0 && rest[i-1]|0x20 == 'u' && (rest[i+1] == '\'' || rest[i+1] == '"') {
			return true
		}
		rest = rest[i+1:]
	}
}

// xmlWords are calls in a syntax of their own, which call nothing of the user's.
var xmlWords = set("xmlelement", "xmlattributes", "xmlforest", "xmlconcat", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmlexists",
	"xmltable", "xmlnamespaces", "json_object", "json_array", "json_objectagg", "json_arrayagg", "json_exists", "json_scalar",
	"json_serialize", "json", "json_query", "json_value", "json_table", "columns", "path", "passing", "keep", "quotes", "key", "value")

// callsOfTokens takes each name before a parenthesis for a call, and each other
// word for a column, where the walk did not know everything.
func (s *Statement) callsOfTokens() {
	sql := []byte(s.text)
	l := lexer{sql: sql}
	var prev token
	for t := l.next(); t.kind != tokenEOF; t = l.next() {
		word := prev.kind == tokenWord || prev.kind == tokenQuoted
		if t.kind == tokenPunct && sql[t.start] == '(' && word {
			if name := identifier(sql[prev.start:prev.end]); prev.kind == tokenQuoted || !grammarWords[name] && !xmlWords[name] {
				s.calls = append(s.calls, invocation{Name{"", name}, -1})
			}
		} else if word {
			add(&s.columns, identifier(sql[prev.start:prev.end]))
		}
		prev = t
	}
	if unicodeEscapes(s.text) {
		s.effect.all = true
	}
}
