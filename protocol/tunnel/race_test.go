package tunnel

import (
	"net/netip"
	"strings"
	"testing"
)

// TestPreferredAddresses: four slots of a name with several addresses begin at different ones, whatever order the resolver gives them
// in, and every slot knows the others.
func TestPreferredAddresses(t *testing.T) {
	tests := []struct {
		name, resolved string
		prefer         int
		want           string
	}{
		{"one", "10.0.0.1", 3, "10.0.0.1"},
		{"first of three", "10.0.0.3 10.0.0.1 10.0.0.2", 0, "10.0.0.1 10.0.0.2 10.0.0.3"},
		{"second of three", "10.0.0.2 10.0.0.3 10.0.0.1", 1, "10.0.0.2 10.0.0.3 10.0.0.1"},
		{"fourth of three", "10.0.0.2 10.0.0.3 10.0.0.1", 3, "10.0.0.1 10.0.0.2 10.0.0.3"},
		{"the preferred family first", "2001:db8::2 2001:db8::1 10.0.0.1", 1, "2001:db8::2 2001:db8::1 10.0.0.1"},
		{"mapped and twice", "::ffff:10.0.0.1 10.0.0.1", 0, "10.0.0.1"},
		{"at most four", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5", 4, "10.0.0.5 10.0.0.1 10.0.0.2 10.0.0.3"},
		{"at most four, of both families", "2001:db8::1 2001:db8::2 2001:db8::3 10.0.0.1 10.0.0.2 10.0.0.3", 2, "2001:db8::3 2001:db8::1 10.0.0.1 10.0.0.2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ips []netip.Addr
			for text := range strings.FieldsSeq(tt.resolved) {
				ips = append(ips, netip.MustParseAddr(text))
			}
			var got []string
			for _, target := range preferred(ips, 7844, tt.prefer) {
				got = append(got, target.Addr().String())
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}
