// Oracle says what PostgreSQL's own parser, libpg_query, finds in statements: a check
// of proxy/query that shares nothing with it. It is a module of its own, as it needs cgo.
//
// It reads a JSON string a line, a statement each, and writes a JSON object a line.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Found is what a statement has.
type Found struct {
	Error      string   `json:"error,omitempty"`
	Statements int      `json:"statements"`
	Kind       string   `json:"kind"`      // of the first statement
	Nodes      []string `json:"nodes"`     // types of all nodes
	Functions  []string `json:"functions"` // last parts of their names
	Relations  []string `json:"relations"`
	Values     []string `json:"values"` // SQLValueFunctions
	Strings    []string `json:"strings"`
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for decoder.More() {
		var sql string
		if err := decoder.Decode(&sql); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := encoder.Encode(look(sql)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := out.Flush(); err != nil {
		os.Exit(1)
	}
}

func look(sql string) Found {
	var f Found
	tree, err := pg_query.Parse(sql)
	if err != nil {
		f.Error = err.Error()
		return f
	}
	f.Statements = len(tree.Stmts)
	for i, raw := range tree.Stmts {
		m := raw.Stmt.ProtoReflect()
		if i == 0 {
			if field := m.WhichOneof(m.Descriptor().Oneofs().Get(0)); field != nil {
				f.Kind = string(field.Message().Name())
			}
		}
		f.walk(m)
	}
	for _, list := range []*[]string{&f.Nodes, &f.Functions, &f.Relations, &f.Values, &f.Strings} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return f
}

// walk goes through everything that a message holds.
func (f *Found) walk(m protoreflect.Message) {
	name := string(m.Descriptor().Name())
	if name != "Node" {
		f.Nodes = append(f.Nodes, name)
	}
	text := func(field string) string {
		return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(field))).String()
	}
	switch name {
	case "FuncCall":
		parts := m.Get(m.Descriptor().Fields().ByName("funcname")).List()
		last := parts.Get(parts.Len() - 1).Message().Interface().(*pg_query.Node)
		f.Functions = append(f.Functions, last.GetString_().GetSval())
	case "RangeVar":
		f.Relations = append(f.Relations, text("relname"))
	case "SQLValueFunction":
		f.Values = append(f.Values, string(m.Descriptor().Fields().ByName("op").Enum().Values().ByNumber(m.Get(m.Descriptor().Fields().ByName("op")).Enum()).Name()))
	case "A_Const":
		if s := m.Interface().(*pg_query.A_Const).GetSval(); s != nil {
			f.Strings = append(f.Strings, s.Sval)
		}
	}
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case d.Kind() != protoreflect.MessageKind:
		case d.IsList():
			for i := range v.List().Len() {
				f.walk(v.List().Get(i).Message())
			}
		default:
			f.walk(v.Message())
		}
		return true
	})
}
