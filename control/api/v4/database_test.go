package v4

import "testing"

func TestConnectionString(t *testing.T) {
	for _, tt := range []struct{ scheme, password, want string }{
		{"postgres", "p/w", "postgres://u:p%2Fw@proxy:1/d?sslmode=verify-full"},
		{"postgresql", "", "postgres://u@proxy:1/d?sslmode=verify-full"},
		{"mysql", "p/w", "mysql://u:p%2Fw@proxy:1/d"},
	} {
		if got := ConnectionString(tt.scheme, "u", tt.password, "proxy:1", "d"); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.scheme, got, tt.want)
		}
	}
}
