package structure

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEveryPackageSaysWhatItIs: each has a doc.go that opens with a package comment.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go", p.ImportPath)
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, "doc.go"), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s: %v", p.ImportPath, err)
			continue
		}
		// A command's comment starts with its name, a library's with "Package name".
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = strings.ToUpper(filepath.Base(p.Dir)[:1]) + filepath.Base(p.Dir)[1:] + " "
		}
		if got := new(doc.Package).Synopsis(f.Doc.Text()); !strings.HasPrefix(got, want) {
			t.Errorf("%s: doc.go's comment starts %.40q, want %q and one sentence", p.ImportPath, got, want)
		}
	}
}

// TestEveryExportedNameIsDocumented: what a package exports says what it is. Methods that only
// satisfy a standard interface say it by their name.
func TestEveryExportedNameIsDocumented(t *testing.T) {
	obvious := []string{"Error", "Unwrap", "Is", "As", "String", "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText",
		"Len", "Less", "Swap", "Describe", "Collect", "Write", "Read", "LogValue"}
	for _, p := range packages(t) {
		if p.Name == "main" {
			continue
		}
		fset := token.NewFileSet()
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
			if err != nil {
				t.Errorf("%s: %v", p.ImportPath, err)
				continue
			}
			if ast.IsGenerated(f) {
				continue
			}
			for _, decl := range f.Decls {
				for _, id := range undocumented(decl) {
					if !slices.Contains(obvious, id.Name) {
						t.Errorf("%s: %s is exported and has no comment", fset.Position(id.Pos()), id.Name)
					}
				}
			}
		}
	}
}

// undocumented returns the exported names that a declaration introduces without a comment. A
// group's comment covers its constants and variables, and so does a comment at a line's end.
func undocumented(decl ast.Decl) []*ast.Ident {
	var found []*ast.Ident
	add := func(id *ast.Ident, comments ...*ast.CommentGroup) {
		if id.IsExported() && !slices.ContainsFunc(comments, func(c *ast.CommentGroup) bool { return c != nil }) {
			found = append(found, id)
		}
	}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil || receiverExported(d.Recv) {
			add(d.Name, d.Doc)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				add(s.Name, s.Doc, d.Doc)
			case *ast.ValueSpec:
				for _, id := range s.Names {
					add(id, s.Doc, s.Comment, d.Doc)
				}
			}
		}
	}
	return found
}

func receiverExported(recv *ast.FieldList) bool {
	typ := recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return false
		}
	}
}
