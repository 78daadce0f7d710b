package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentHasEveryCode: API.md's table and the constants say the same.
func TestDocumentHasEveryCode(t *testing.T) {
	inCode := map[string]string{} // code to status
	file := parseFile(t, "errors.go")
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "code") {
			return true
		}
		code := spec.Values[0].(*ast.BasicLit).Value
		status, _, _ := strings.Cut(spec.Comment.Text(), ":")
		if inCode[code] != "" {
			t.Errorf("code %s is there twice", code)
		}
		inCode[code] = status
		return true
	})
	// Those of test connections have names of their own in control, and one status.
	ast.Inspect(parseFile(t, "../trial.go"), func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Test") || len(spec.Values) == 0 {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
			inCode[literal.Value] = "400"
		}
		return true
	})
	inDocument := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (\d+) \|`).FindAllStringSubmatch(markdown, -1) {
		inDocument[row[1]] = row[2]
	}
	compare(t, inCode, inDocument)
}

// TestDocumentHasEveryRoute: API.md's table and the registered operations are the same.
func TestDocumentHasEveryRoute(t *testing.T) {
	inCode, inDocument := map[string]string{}, map[string]string{}
	for _, op := range New(Config{}).operations {
		inCode[op.method+" "+op.path] = ""
	}
	for route := range summaries() {
		inDocument[route] = ""
	}
	compare(t, inCode, inDocument)
}

func compare(t *testing.T, inCode, inDocument map[string]string) {
	t.Helper()
	if len(inCode) < 10 {
		t.Errorf("found only %v in the code", inCode)
	}
	for key, value := range inCode {
		if got, ok := inDocument[key]; !ok || got != value {
			t.Errorf("%s %s is in the code, and in API.md it is %q (there: %v): give it a row, whose text is its summary in /openapi.json", key, value, got, ok)
		}
	}
	for key := range inDocument {
		if _, ok := inCode[key]; !ok {
			t.Errorf("%s is in API.md and not in the code", key)
		}
	}
}

func parseFile(t *testing.T, name string) *ast.File {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
