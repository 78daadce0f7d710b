package dialect

import (
	"maps"
	"sync"
)

// Generations count the open origin connections by the generation of the
// configuration that they were made with. The zero value is ready; its methods may
// be called concurrently.
type Generations struct {
	mu   sync.Mutex
	open map[int64]int
}

// Count counts by more of a generation; 0, of a test, is not counted.
func (g *Generations) Count(generation int64, by int) {
	if generation == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = make(map[int64]int)
	}
	if g.open[generation] += by; g.open[generation] == 0 {
		delete(g.open, generation)
	}
}

// Open are the counts of now.
func (g *Generations) Open() map[int64]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := make(map[int64]int, len(g.open))
	maps.Copy(m, g.open)
	return m
}
