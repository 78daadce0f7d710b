//go:build oracle

package query

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// found is what the oracle says of a statement: see integration/oracle.
type found struct {
	Error                                        string
	Statements                                   int
	Kind                                         string
	Nodes, Functions, Relations, Values, Strings []string
}

// harmless are the nodes that a statement whose result is kept may have.
var harmless = set("SelectStmt", "A_Const", "Integer", "Float", "Boolean", "String", "BitString", "ParamRef", "ColumnRef", "A_Star", "A_Expr", "BoolExpr",
	"NullTest", "BooleanTest", "CaseExpr", "CaseWhen", "CoalesceExpr", "MinMaxExpr", "RowExpr", "A_ArrayExpr", "A_Indirection", "A_Indices",
	"CollateClause", "NamedArgExpr", "TypeCast", "TypeName", "FuncCall", "SubLink", "GroupingFunc", "GroupingSet", "SQLValueFunction",
	"SortBy", "WindowDef", "ResTarget", "RangeVar", "RangeSubselect", "RangeFunction", "JoinExpr", "Alias", "WithClause", "CommonTableExpr",
	"CTESearchClause", "CTECycleClause", "List", "ColumnDef", "SetToDefault")

// TestCache46Oracle: whatever this package takes for cacheable as far as the text goes,
// PostgreSQL's own parser finds to be one SELECT of harmless nodes, with no function, table
// or word of time that this package has not seen. The statements are those of PostgreSQL's
// regression suite, which come with the parser's module, and random ones.
func TestCache46Oracle(t *testing.T) {
	texts := corpus(t)
	r := seeded(t)
	for range 20_000 {
		texts = append(texts, (&grammar{Rand: r}).query())
	}
	kept := map[string]*Statement{}
	var asked []string
	var in bytes.Buffer
	for _, sql := range texts {
		if s := Analyze(sql); s.status == StatusMiss && kept[sql] == nil {
			kept[sql] = s
			asked = append(asked, sql)
			line, err := json.Marshal(sql)
			if err != nil {
				t.Fatal(err)
			}
			in.Write(append(line, '\n'))
		}
	}
	t.Logf("%d of %d texts are cacheable as far as the text goes", len(asked), len(texts))
	cmd := exec.Command("go", "run", ".")
	cmd.Dir = "../../integration/oracle"
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-trimpath")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for _, sql := range asked {
		var f found
		if err := decoder.Decode(&f); err != nil {
			t.Fatal(err)
		}
		if wrong := contradicts(kept[sql], f); wrong != "" {
			t.Errorf("%s:\n%s", wrong, sql)
		}
	}
}

// contradicts says what the oracle has found that s has not.
func contradicts(s *Statement, f found) string {
	if f.Error != "" {
		return "" // the origin refuses it
	}
	if f.Statements != 1 || f.Kind != "SelectStmt" {
		return "no single SELECT"
	}
	for _, n := range f.Nodes {
		if !harmless[n] {
			return "it has a " + n
		}
	}
	for _, name := range f.Functions {
		if !slices.ContainsFunc(s.calls, func(c invocation) bool { return c.Name.Name == name }) && !(name == "now" && s.nowAsDate) {
			return "it calls " + name
		}
	}
	for _, name := range f.Relations {
		if !slices.ContainsFunc(s.relations, func(n Name) bool { return n.Name == name }) {
			return "it reads " + name
		}
	}
	for _, v := range f.Values {
		if !s.day || v != "SVFOP_CURRENT_DATE" && !(s.nowAsDate && (strings.HasPrefix(v, "SVFOP_CURRENT_TIMESTAMP") || strings.HasPrefix(v, "SVFOP_LOCALTIMESTAMP"))) {
			return "it has " + v
		}
	}
	for _, text := range f.Strings {
		if TimeWord(text) {
			return "it has a word of time"
		}
	}
	return ""
}

// corpus is the SELECT-like part of PostgreSQL's regression suite, as the parser's module has it.
func corpus(t *testing.T) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/multigres/multigres").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(dir)), "go/common/parser/testdata")
	var texts []string
	for _, pattern := range []string{"*.json", "postgres/*.json"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var cases []struct{ Query string }
			if err := json.Unmarshal(b, &cases); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, c := range cases {
				texts = append(texts, c.Query)
			}
		}
	}
	if len(texts) < 10_000 {
		t.Fatalf("a corpus of %d statements", len(texts))
	}
	return texts
}
