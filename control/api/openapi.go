package api

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"runtime"
	"strings"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// markdown is API.md: its table of routes has the summaries, its table of codes describes the errors.
//
//go:embed API.md
var markdown string

// routeRow is a row of API.md's table of routes: the route and what it does.
var routeRow = regexp.MustCompile("(?m)^\\| `([A-Z]+ [^`]+)` \\| (.*) \\|$")

// summaries has API.md's sentence on each route, by "METHOD /path".
func summaries() map[string]string {
	found := map[string]string{}
	for _, row := range routeRow.FindAllStringSubmatch(markdown, -1) {
		route := strings.Replace(row[1], "ACCOUNT", "/client/v4/accounts/{account}", 1)
		found[route] = strings.TrimPrefix(row[2], "*open*: ")
	}
	return found
}

// parameters describes the query parameters that operations declare.
var parameters = map[string]string{
	"page":       "The page of the list, from 1.",
	"per_page":   "Items in a page: 20 unless given, 100 at most.",
	"name":       "Only what has exactly this name.",
	"domain":     "Only applications of this hostname.",
	"uuid":       "Only the tunnel with this id.",
	"status":     "Only tunnels with this status: healthy, down or inactive.",
	"client_id":  "Only this connector, by the id that the connections have; all of them when absent.",
	"cursor":     "Reads on where an answer ended: what its result_info.cursor said.",
	"after":      "Only records that are newer than the one with this id.",
	"ca":         "true for certificates of CAs only, false for client certificates only.",
	"is_deleted": "true for deleted tunnels, of which none are kept.",
	"actor":      "Only records of this API token, client or tunnel.",
	"action":     "Only records of this action; tunnel.* for every action on tunnels.",
	"target":     "Only records of this hostname, name or id.",
	"outcome":    "Only records with this outcome.",
	"since":      "Only records from this time on (RFC 3339).",
	"before":     "Only records from before this time (RFC 3339).",
}

// object is a JSON object of the document.
type object map[string]any

// openAPI writes the OpenAPI 3.1 document of operations.
func openAPI(operations []*operation) []byte {
	schemas := newSchemas(v4.Source)
	paths := map[string]object{}
	say := summaries()
	for _, op := range operations {
		if paths[op.path] == nil {
			paths[op.path] = object{}
		}
		paths[op.path][strings.ToLower(op.method)] = op.document(schemas, say[op.method+" "+op.path])
	}
	failure := object{
		"description": "An error. Its codes:\n\n" + codes(),
		"content":     jsonContent(schemas.envelope(object{"type": "null"}, false)),
	}
	document := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Sluice control API", "version": "1",
			"description": "Databases, tunnels and access of a Sluice installation, in the shapes of Cloudflare's v4 API. Fields that Cloudflare's API does not have are marked as ours.",
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"paths": paths,
		"components": object{
			"schemas":   schemas.components,
			"responses": object{"Failure": failure},
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer",
				"description": "An API token. Its scope is read, edit or admin, each with what the one before has."}},
		},
	}
	data, err := json.MarshalIndent(document, "", " ")
	if err != nil {
		panic(err) // maps of text and numbers always encode
	}
	return append(data, '\n')
}

// document describes one operation.
func (op *operation) document(schemas *schemas, summary string) object {
	described := object{"operationId": op.id(), "summary": summary}
	if parameters := op.parameters(); len(parameters) > 0 {
		described["parameters"] = parameters
	}
	if op.open != nil {
		described["security"] = []object{}
		described["responses"] = object{"200": object{"description": summary, "content": object{op.mediaType: object{}}}}
		return described
	}
	described["security"] = []object{{"token": []control.Scope{op.scope}}}
	if op.installation {
		described["description"] = "For admin tokens of the default account."
	}
	if op.request != nil {
		described["requestBody"] = object{"required": true, "content": jsonContent(schemas.of(op.request))}
	}
	result := object{"type": "null"}
	if op.result != nil && op.result != reflect.TypeFor[download]() {
		result = schemas.of(op.result)
	}
	if op.list {
		result = object{"type": "array", "items": result}
	}
	content := object{downloadType: object{}}
	if op.result != reflect.TypeFor[download]() {
		content = jsonContent(schemas.envelope(result, op.list))
	}
	described["responses"] = object{
		"200":     object{"description": "The request was carried out.", "content": content},
		"default": object{"$ref": "#/components/responses/Failure"},
	}
	return described
}

// id is the name of the handler's method.
func (op *operation) id() string {
	handle := reflect.ValueOf(op.handle)
	if op.open != nil {
		handle = reflect.ValueOf(op.open)
	}
	name := runtime.FuncForPC(handle.Pointer()).Name()
	name = strings.TrimSuffix(name[strings.LastIndexByte(name, '.')+1:], "-fm")
	if strings.HasSuffix(op.path, "/v4/ca") {
		return name + "V4" // the one handler with two paths
	}
	return name
}

// pathParameter is a wildcard of a path.
var pathParameter = regexp.MustCompile(`{(\w+)}`)

func (op *operation) parameters() []object {
	var all []object
	for _, match := range pathParameter.FindAllStringSubmatch(op.path, -1) {
		all = append(all, object{"name": match[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, name := range op.query {
		schema := object{"type": "string"}
		switch name {
		case "page", "per_page":
			schema = object{"type": "integer", "minimum": 1}
		case "since", "before":
			schema["format"] = "date-time"
		}
		all = append(all, object{"name": name, "in": "query", "description": parameters[name], "schema": schema})
	}
	return all
}

func jsonContent(schema object) object {
	return object{"application/json": object{"schema": schema}}
}

// codes is API.md's table of error codes.
func codes() string {
	_, table, _ := strings.Cut(markdown, "## Error codes")
	return strings.TrimSpace(table)
}

// openAPI serves the document to anybody: it is the same for every installation.
func (a *API) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(a.document())
}
