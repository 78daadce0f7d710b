package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
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
	inDocument := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (\d+) \|`).FindAllStringSubmatch(document(t), -1) {
		inDocument[row[1]] = row[2]
	}
	compare(t, inCode, inDocument)
}

// TestDocumentHasEveryRoute: API.md's table and the registered patterns are the same.
func TestDocumentHasEveryRoute(t *testing.T) {
	inCode := map[string]string{}
	prefixes := map[string]string{}
	ast.Inspect(parseFile(t, "routes.go"), func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok {
			prefixes[spec.Names[0].Name] = text(t, spec.Values[0])
		}
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		switch selector.Sel.Name {
		case "HandleFunc":
			inCode[pattern(t, prefixes, call.Args[0])] = ""
		case "route":
			method, path, _ := strings.Cut(pattern(t, prefixes, call.Args[0]), " ")
			inCode[strings.Replace(method+" /client/v4"+path, "/client/v4/accounts/{account}", "ACCOUNT", 1)] = ""
		}
		return true
	})
	inDocument := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z]+ [^`]+)` \\|").FindAllStringSubmatch(document(t), -1) {
		inDocument[row[1]] = ""
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
			t.Errorf("%s %s is in the code, and in API.md it is %q (there: %v)", key, value, got, ok)
		}
	}
	for key := range inDocument {
		if _, ok := inCode[key]; !ok {
			t.Errorf("%s is in API.md and not in the code", key)
		}
	}
}

// pattern evaluates a string literal, or a constant between literals.
func pattern(t *testing.T, constants map[string]string, expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.BasicLit:
		return text(t, expr)
	case *ast.Ident:
		return constants[expr.Name]
	case *ast.BinaryExpr:
		return pattern(t, constants, expr.X) + pattern(t, constants, expr.Y)
	}
	t.Fatalf("a pattern is %T", expr)
	return ""
}

func text(t *testing.T, expr ast.Expr) string {
	literal, ok := expr.(*ast.BasicLit)
	if !ok {
		t.Fatalf("%T is no literal", expr)
	}
	s, err := strconv.Unquote(literal.Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parseFile(t *testing.T, name string) *ast.File {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func document(t *testing.T) string {
	data, err := os.ReadFile("API.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
