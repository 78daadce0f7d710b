package main

import (
	"testing"
)

func TestReusePort(t *testing.T) {
	for _, shared := range []bool{false, true} {
		n := &node{flags: &serverFlags{reusePort: shared}}
		first, err := n.listen(t.Context(), "proxy-listen", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.listen(t.Context(), "proxy-listen", first.Addr().String()); (err == nil) != shared {
			t.Errorf("shared %v: listen on the same port: %v", shared, err)
		}
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}
}
