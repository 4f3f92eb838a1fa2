package api

import (
	"encoding/json"
	"net/http"
	"time"
)

// HealthPath answers without a key, also while Gatehouse is sealed.
const HealthPath = "/gatehouse/v1/health"

// The conditions of a Gatehouse.
const (
	// Open means that everything works.
	Open = "ok"
	// Degraded means that calls are served and something needs an operator: the root
	// key is out of reach, and what is held serves for a while.
	Degraded = "degraded"
	// Closed means that nothing can be recorded, so that no call is made; Log says
	// why.
	Closed = "closed"
	// Sealed means that nothing can be opened: the root key waits for its passphrase,
	// or refuses.
	Sealed = "sealed"
)

// Health is what whoever watches may know.
type Health struct {
	// Status is Open, Degraded, Closed or Sealed.
	Status string `json:"status"`
	// RootKey is "answers", "lost" or "refuses"; absent while nobody knows.
	RootKey string `json:"root_key,omitempty"`
	// Log is a condition of package audit: "writable", or why nothing can be
	// recorded; absent while nobody knows.
	Log string `json:"log,omitempty"`
	// LogSince is when that began; absent while it is writable.
	LogSince *time.Time `json:"log_since,omitempty"`
}

// WriteHealth answers with h: status 503 when no call is made, so that a
// balancer sends calls elsewhere, and else 200.
func WriteHealth(w http.ResponseWriter, h Health) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if h.Status == Sealed || h.Status == Closed {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	return json.NewEncoder(w).Encode(h)
}

// health answers whoever watches.
func (a *API) showHealth(w http.ResponseWriter, _ *http.Request, _ caller) error {
	return WriteHealth(w, a.health())
}
