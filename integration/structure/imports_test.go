package structure

import (
	"slices"
	"testing"
)

// room is a part of the module and what its packages may import of the module besides each other.
type room struct {
	root    string
	imports []string // a package and those below it
	not     []string // exceptions from imports
	never   []string // must not be reached, however indirectly
	noLibs  []string // libraries that must not be imported directly
}

// The map. The first room that a package is under is its room, so the inner ones come first.
var rooms = []room{
	{root: "./protocol/stream"},
	{root: "./protocol/tunnel", imports: []string{"./protocol/stream"}},
	{root: "./protocol/pgwire", imports: []string{"./protocol/stream"}},
	{root: "./protocol/mywire", imports: []string{"./protocol/stream"}},
	{root: "./access", noLibs: []string{"net", "net/http", "os", "syscall"}},
	{root: "./control/api", imports: []string{"./control", "./access"}},
	{root: "./control/dashboard", imports: []string{"./control", "./access"}},
	{root: "./control", imports: []string{"./access"}, never: []string{"./control/api", "./control/dashboard"}},
	{root: "./connector", imports: []string{"./protocol/tunnel", "./protocol/stream", "./control/ingress"},
		never: []string{"./control", "./access"}},
	{root: "./relay", imports: []string{"./protocol/tunnel", "./protocol/stream", "./access", "./control"},
		not: []string{"./control/api", "./control/dashboard"}},
	{root: "./proxy/pool", never: []string{"./protocol/pgwire", "./protocol/mywire", "./proxy/postgres", "./proxy/mysql"}},
	{root: "./proxy/cache", never: []string{"./protocol/pgwire", "./protocol/mywire", "./proxy/postgres", "./proxy/mysql"}},
	{root: "./proxy/results", imports: []string{"./proxy/cache", "./proxy/pool", "./proxy/query"}, never: []string{"./protocol/pgwire", "./protocol/mywire", "./proxy/postgres", "./proxy/mysql"}},
	{root: "./proxy/query", noLibs: []string{"net", "net/http"}, never: []string{"./proxy/postgres", "./proxy/mysql"}},
	{root: "./proxy", imports: []string{"./protocol/stream", "./protocol/pgwire", "./protocol/mywire", "./control"},
		not: []string{"./control/api", "./control/dashboard"}, never: []string{"./relay", "./protocol/tunnel"}},
	{root: "./cmd", imports: []string{"./control", "./access", "./connector", "./relay", "./proxy", "./protocol"}},
	{root: "./integration", imports: []string{"./cmd", "./control", "./access", "./connector", "./relay", "./proxy", "./protocol"}},
}

// TestImportsPointDownTheMap holds the module to the map of packages: protocol knows only
// streams, access knows nothing, the proxy never sees the relay, and only the commands and the
// integration tests see everything. Tests of a package may import more.
func TestImportsPointDownTheMap(t *testing.T) {
	for _, p := range packages(t) {
		i := slices.IndexFunc(rooms, func(r room) bool { return under(p.ImportPath, r.root) })
		if i < 0 {
			t.Errorf("%s is in no room of the map: give it one in imports_test.go", p.ImportPath)
			continue
		}
		r := rooms[i]
		for _, imported := range p.Imports {
			if own(imported) && !r.mayImport(imported) {
				t.Errorf("%s imports %s, which the map does not allow %s", p.ImportPath, imported, r.root)
			}
			if slices.Contains(r.noLibs, imported) {
				t.Errorf("%s imports %s: %s opens no socket", p.ImportPath, imported, r.root)
			}
		}
		for _, dep := range p.Deps {
			if slices.Contains(r.never, dep) {
				t.Errorf("%s reaches %s, which %s must never see", p.ImportPath, dep, r.root)
			}
		}
	}
}

func (r room) mayImport(path string) bool {
	in := func(root string) bool { return under(path, root) }
	if in(r.root) {
		return true
	}
	return slices.ContainsFunc(r.imports, in) && !slices.ContainsFunc(r.not, in)
}

// TestInnerRoomsComeFirst: a room listed after one that holds it would never be chosen.
func TestInnerRoomsComeFirst(t *testing.T) {
	for i, r := range rooms {
		for _, other := range rooms[i+1:] {
			if under(other.root, r.root) {
				t.Errorf("%s can never be chosen: %s comes before it", other.root, r.root)
			}
		}
	}
}
