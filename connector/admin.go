package connector

import (
	"encoding/json"
	"net/http"
	"time"
)

// readiness is the body of /ready.
type readiness struct {
	Ready           bool   `json:"ready"`
	RegisteredSlots int    `json:"registered_slots"`
	HealthySlots    int    `json:"healthy_slots"` // passed a probe lately
	Slots           int    `json:"slots"`
	ConfigVersion   uint64 `json:"config_version"`
	ConnectorID     string `json:"connector_id"`
}

// Handler answers /healthz, which is 200 while the process runs, and /ready, which is 200 while a slot has passed a probe through
// its relay within 15 seconds, and 503 otherwise, and /config, which shows the rules in force. It asks nobody, so it answers also
// when everything else is stuck.
func (c *Connector) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		registered, healthy := c.count(time.Now())
		body := readiness{
			Ready: healthy > 0, RegisteredSlots: registered, HealthySlots: healthy, Slots: c.cfg.Slots, ConfigVersion: c.ingress.Load().version, ConnectorID: c.id,
		}
		w.Header().Set("Content-Type", "application/json")
		if !body.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		json.NewEncoder(w).Encode(body)
	})
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		now := c.ingress.Load()
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(ConfigSummary{Version: now.version, Rules: now.summary()})
	})
	return mux
}
