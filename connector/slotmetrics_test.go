package connector

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// TestTunnel41MetricsOfASlot: each is there, and as many times as there are slots.
func TestTunnel41MetricsOfASlot(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	cfg := testConfig(cert, &logBuffer{}, addr)
	cfg.Slots = 4
	c, _, _ := start(t, cfg)
	eventually(t, "probes on all slots", func() bool { _, healthy := c.count(time.Now()); return healthy == cfg.Slots })
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c.Collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] = append(values[f.GetName()], m.GetGauge().GetValue())
		}
	}
	for name, positive := range map[string]bool{
		"registered": true, "relay": true, "healthy": true, "rtt_seconds": true, "probe_age_seconds": true, "streams": false,
		"sent_bytes": true, "received_bytes": true, "lost_packets": false, "udp_receive_buffer_bytes": true,
	} {
		got := values["sluice_connector_slot_"+name]
		if len(got) != cfg.Slots {
			t.Errorf("%s has %d values for %d slots", name, len(got), cfg.Slots)
			continue
		}
		if positive && got[0] <= 0 {
			t.Errorf("%s is %v", name, got)
		}
	}
}
