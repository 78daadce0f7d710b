package mysql

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestLeaseNames: the names of what a client keeps are bounded. Beyond that it keeps its
// origin connection to the end.
func TestLeaseNames(t *testing.T) {
	var l lease
	names := []string{"a"}
	for range 2 * maxNames {
		names = l.names(names, nil, []string{"b", "c"})
	}
	if names = l.names(names, []string{"a", "c"}, nil); !slices.Equal(names, []string{"b"}) || l.pins != 0 {
		t.Errorf("%q, pins %b", names, l.pins)
	}
	for i := range maxNames {
		names = l.names(names, nil, []string{fmt.Sprint(i)})
	}
	if names != nil || l.pins != pinUnknown {
		t.Errorf("%d names, pins %b", len(names), l.pins)
	}
	l = lease{}
	if names := l.names(nil, nil, []string{strings.Repeat("x", maxNameLen+1)}); names != nil || l.pins != pinUnknown {
		t.Errorf("%d names, pins %b", len(names), l.pins)
	}
}
