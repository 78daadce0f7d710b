package tunnel

import "time"

// Stats are what a carrier counts of a session. What it does not know is zero.
type Stats struct {
	RTT           time.Duration // smoothed; over WebSocket that of the last probe
	Sent          uint64        // bytes on the carrier, below TLS over QUIC and above it over WebSocket
	Received      uint64
	PacketsLost   uint64 // QUIC
	ReceiveBuffer int    // bytes that the kernel granted to the UDP socket of the dialling side
}

// Stats returns what the carrier has counted.
func (s *Session) Stats() Stats {
	st := s.link.stats()
	if st.RTT == 0 {
		_, st.RTT = s.Answered()
	}
	return st
}

func (l *quicLink) stats() Stats {
	c := l.conn.ConnectionStats()
	return Stats{
		RTT: c.SmoothedRTT, Sent: c.BytesSent, Received: c.BytesReceived, PacketsLost: c.PacketsLost, ReceiveBuffer: l.buffer,
	}
}

func (l *yamuxLink) stats() Stats {
	return Stats{Sent: uint64(l.ws.sent.Load()), Received: uint64(l.ws.received.Load())}
}
