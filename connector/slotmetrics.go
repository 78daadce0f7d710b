package connector

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// slotCollector reads the sessions of all slots when it is asked (docs/behaviours.md, Tunnel41). Its labels are the slot's number,
// a carrier, and the relays' addresses, which are as many as an operator has named or its relays announce.
type slotCollector struct{ c *Connector }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sluice_connector_slot_"+name, help, append([]string{"slot"}, labels...), nil)
}

var (
	slotRegistered = describe("registered", "1 while a slot has a session with a relay, by carrier; 0 while it has none.", "carrier")
	slotRelay      = describe("relay", "1 for the address of the relay that a slot has a session with.", "relay")
	slotHealthy    = describe("healthy", "1 while a slot answers its probes.")
	slotRTT        = describe("rtt_seconds", "Round trip time of a slot's session.")
	slotProbeAge   = describe("probe_age_seconds", "Time since a slot last passed a probe.")
	slotStreams    = describe("streams", "Streams in a slot's session now.")
	slotSent       = describe("sent_bytes", "Bytes that a slot's present session has sent.")
	slotReceived   = describe("received_bytes", "Bytes that a slot's present session has received.")
	slotLost       = describe("lost_packets", "Packets that a slot's present QUIC session has lost, and sent again.")
	slotBuffer     = describe("udp_receive_buffer_bytes", "Receive buffer that the kernel granted to a slot's UDP socket; 0 over WebSocket.")
)

// Describe implements prometheus.Collector.
func (slotCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		slotRegistered, slotRelay, slotHealthy, slotRTT, slotProbeAge, slotStreams, slotSent, slotReceived, slotLost, slotBuffer,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s slotCollector) Collect(ch chan<- prometheus.Metric) {
	for i := range s.c.current {
		slot := strconv.Itoa(i)
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{slot}, labels...)...)
		}
		l := s.c.current[i].Load()
		if l == nil {
			gauge(slotRegistered, 0, "none")
			gauge(slotHealthy, 0)
			continue
		}
		stats := l.session.Stats()
		gauge(slotRegistered, 1, l.session.Carrier().String())
		gauge(slotRelay, 1, l.addr)
		gauge(slotHealthy, truth(l.session.Healthy()))
		gauge(slotRTT, stats.RTT.Seconds())
		if at, _ := l.session.Answered(); !at.IsZero() {
			gauge(slotProbeAge, time.Since(at).Seconds())
		}
		gauge(slotStreams, float64(l.session.Streams()))
		gauge(slotSent, float64(stats.Sent))
		gauge(slotReceived, float64(stats.Received))
		gauge(slotLost, float64(stats.PacketsLost))
		gauge(slotBuffer, float64(stats.ReceiveBuffer))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
