package postgres

import (
	"strings"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// startState is the session state that a client's start-up packet asks for.
// set_config reads a value as the start-up packet does, also where that is a list.
func startState(start *pgwire.Startup, forwardName bool) (*state, error) {
	var settings []setting
	add := func(name, value string) error {
		if !validName(name) {
			return pgwire.Fatalf("42602", "invalid configuration parameter name %q", name)
		}
		settings = put(settings, strings.ToLower(name), value)
		return nil
	}
	for _, p := range start.Params {
		switch {
		case p.Name == "user", p.Name == "database", p.Name == "replication", strings.HasPrefix(p.Name, "_pq_."):
		case p.Name == "application_name" && !forwardName:
			// The origin sees the proxy's; the client is told its own.
		case p.Name == "options":
			for _, o := range splitOptions(p.Value) {
				if err := add(o.Name, o.Value); err != nil {
					return nil, err
				}
			}
		default:
			if err := add(p.Name, p.Value); err != nil {
				return nil, err
			}
		}
	}
	return newState(settings), nil
}

// validName reports whether name can be that of a setting: words of letters,
// digits, _ and $, joined by dots (valid_custom_variable_name, src/backend/utils/misc/guc.c).
func validName(name string) bool {
	if name == "" || len(name) > 127 {
		return false
	}
	start := true
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
		switch {
		case letter:
			start = false
		case start:
			return false
		case c == '.':
			start = true
		case c >= '0' && c <= '9', c == '$':
		default:
			return false
		}
	}
	return !start
}

// literal quotes s as a string constant that means the same whatever
// standard_conforming_strings says.
func literal(s string) string {
	quoted := strings.ReplaceAll(s, "'", "''")
	if strings.ContainsRune(s, '\\') {
		return "E'" + strings.ReplaceAll(quoted, `\`, `\\`) + "'"
	}
	return "'" + quoted + "'"
}

// splitOptions reads the start-up parameter "options" as a server's command
// line: -c name=value or --name=value, blanks and backslashes escaped by a
// backslash (pg_split_opts, src/backend/utils/init/postinit.c). In names that
// come with two dashes, dashes mean underscores.
func splitOptions(s string) []pgwire.Param {
	var args []string
	var arg strings.Builder
	in := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			arg.WriteByte(s[i])
			in = true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			if in {
				args = append(args, arg.String())
				arg.Reset()
				in = false
			}
		default:
			arg.WriteByte(c)
			in = true
		}
	}
	if in {
		args = append(args, arg.String())
	}
	var out []pgwire.Param
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "-c" && i+1 < len(args):
			i++
			a = args[i]
		case strings.HasPrefix(a, "-c"):
			a = a[2:]
		case strings.HasPrefix(a, "--"):
			a = a[2:]
		default:
			out = append(out, pgwire.Param{Name: a}) // no setting has such a name: refused
			continue
		}
		name, value, _ := strings.Cut(a, "=")
		out = append(out, pgwire.Param{Name: strings.ReplaceAll(name, "-", "_"), Value: value})
	}
	return out
}
