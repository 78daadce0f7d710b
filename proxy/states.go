package proxy

import (
	"errors"
	"strings"

	"github.com/sluicedb/sluice/control"
)

// States is what there is to say of the running pools of an account, at most most of them; a pool that has nothing open and has not
// failed is left out. It may be called concurrently.
func (p *Proxy) States(accountID string, most int) map[string]control.PoolState {
	pools := map[string]control.PoolState{}
	for _, d := range p.databases() {
		p.mu.Lock()
		of := d.of
		p.mu.Unlock()
		if of.AccountID != accountID || len(pools) >= most {
			continue
		}
		s := d.Stats()
		state := control.PoolState{Open: s.Live, Idle: s.Idle, Waiting: s.Waiting, Max: s.Max}
		var failure *control.TestFailure
		if s.Failure != nil && errors.As(p.testFailure(of, s.Failure, false), &failure) {
			state.Code, state.Failure = failure.Code, strings.ToValidUTF8(failure.Message[:min(len(failure.Message), control.PoolFailureMost)], "")
		}
		if state.Open > 0 || state.Waiting > 0 || state.Code != 0 {
			pools[d.id] = state
		}
	}
	return pools
}
