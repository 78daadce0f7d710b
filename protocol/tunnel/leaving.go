package tunnel

import (
	"sync"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// maxLeaving bounds what is remembered of the sessions behind a peer that will end: far more than connectors move within the minutes
// that a stream has to end. What is forgotten is found out when the stream ends.
const maxLeaving = 1024

// maxVia bounds the name of such a session, in bytes: a relay gives UUIDs, of 36.
const maxVia = 36

// leaving is the set of what a peer has said to end. The zero value is empty; its methods may be called concurrently.
type leaving struct {
	mu   sync.Mutex
	vias map[string]struct{}
}

func (l *leaving) add(via string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.vias == nil || len(l.vias) >= maxLeaving {
		l.vias = make(map[string]struct{})
	}
	l.vias[via] = struct{}{}
}

func (l *leaving) has(via string) bool {
	if via == "" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.vias[via]
	return ok
}

// SendLeaving tells the peer that what carries those of its streams that were accepted with AcceptVia(via) will end. It waits for
// nothing; a session that has ended is told nothing.
func (s *Session) SendLeaving(via string) {
	s.out.put(outgoing{frame: &tunnelpb.Frame{Kind: &tunnelpb.Frame_Leaving{Leaving: &tunnelpb.Leaving{Via: via}}}})
}
