package control

import (
	"context"
	"testing"
)

func TestPools(t *testing.T) {
	c := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	if got, err := c.Pools(ctx, "d"); err != nil || len(got) != 0 {
		t.Errorf("where no proxy runs: %+v, %v", got, err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- c.ServePools(ctx, func(id string) *Pool {
			if id != "d" {
				return nil
			}
			return &Pool{Proxy: "host/1", Waiting: 3, Pinned: map[string]int{"lock": 1}, QueryP99: 0.5}
		})
	}()
	eventually(t, "an answer", func() bool {
		got, err := c.Pools(ctx, "d")
		return err == nil && len(got) == 1 && got[0].Waiting == 3 && got[0].Pinned["lock"] == 1 && got[0].QueryP99 == 0.5
	})
	if got, err := c.Pools(ctx, "other"); err != nil || len(got) != 0 {
		t.Errorf("of a database that the proxy does not serve: %+v, %v", got, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
