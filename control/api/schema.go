package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sluicedb/sluice/access"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// schemas makes JSON schemas of Go types, as encoding/json writes and reads them.
type schemas struct {
	components map[string]object // by type name
	words      map[string]string // the comments of types ("Tunnel") and fields ("Tunnel.Name")
}

func newSchemas(source fs.FS) *schemas {
	return &schemas{components: map[string]object{}, words: comments(source)}
}

// ruleSchema is the shape that access.Rule gives itself: one selector.
var ruleSchema = object{
	"type":          "object",
	"description":   `One condition: an object with one selector, such as {"ip":{"ip":"10.0.0.0/8"}} or {"everyone":{}}.`,
	"minProperties": 1, "maxProperties": 1,
	"additionalProperties": object{"type": "object", "additionalProperties": object{"type": "string"}},
}

// of returns the schema of a type; named structs become components, and a reference to one.
func (s *schemas) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[access.Rule]():
		s.components["Rule"] = ruleSchema
		return object{"$ref": "#/components/schemas/Rule"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface:
		return object{}
	case reflect.Struct:
		if t.Name() == "" {
			return s.structure(t)
		}
		if _, made := s.components[t.Name()]; !made {
			s.components[t.Name()] = nil // a type may hold itself
			s.components[t.Name()] = s.structure(t)
		}
		return object{"$ref": "#/components/schemas/" + t.Name()}
	}
	return object{"type": "integer"}
}

// structure returns the schema of a struct. A field without omitempty is always there: an answer has it, and a request must.
func (s *schemas) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, field := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || field.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = field.Name
		}
		schema := s.of(field.Type)
		optional := strings.Contains(options, "omit")
		if field.Type.Kind() == reflect.Pointer && !optional {
			schema = object{"anyOf": []object{schema, {"type": "null"}}}
		}
		if words := s.words[t.Name()+"."+field.Name]; words != "" {
			schema["description"] = words
		}
		properties[name] = schema
		if !optional {
			required = append(required, name)
		}
	}
	schema := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		slices.Sort(required)
		schema["required"] = required
	}
	if words := s.words[t.Name()]; words != "" {
		schema["description"] = words
	}
	return schema
}

// envelope is what every answer comes in.
func (s *schemas) envelope(result object, list bool) object {
	messages := object{"type": "array", "items": s.of(reflect.TypeFor[v4.Message]())}
	properties := object{"result": result, "success": object{"type": "boolean"}, "errors": messages, "messages": messages}
	required := []string{"result", "success", "errors", "messages"}
	if list {
		properties["result_info"] = s.of(reflect.TypeFor[v4.ResultInfo]())
		required = append(required, "result_info")
	}
	return object{"type": "object", "properties": properties, "required": required}
}

// comments reads the doc comments of the types in source, and of their fields.
func comments(source fs.FS) map[string]string {
	words := map[string]string{}
	names, err := fs.Glob(source, "*.go")
	if err != nil {
		panic(err) // the pattern is sound
	}
	for _, name := range names {
		text, err := fs.ReadFile(source, name)
		if err != nil {
			panic(err) // it is embedded in this program
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			panic(err) // this program was compiled from it
		}
		for _, declaration := range file.Decls {
			if types, ok := declaration.(*ast.GenDecl); ok && types.Tok == token.TYPE {
				typeComments(words, types)
			}
		}
	}
	return words
}

func typeComments(words map[string]string, types *ast.GenDecl) {
	for _, spec := range types.Specs {
		named := spec.(*ast.TypeSpec)
		words[named.Name.Name] = sentence(types.Doc)
		structure, ok := named.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				words[named.Name.Name+"."+name.Name] = sentence(field.Doc)
			}
		}
	}
}

// sentence is a comment as one line.
func sentence(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}
