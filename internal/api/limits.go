package api

import (
	"net/http"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
)

// limitView is what is left of one pool at a platform.
type limitView struct {
	App         string     `json:"app"`
	Pool        string     `json:"pool"`
	Operation   string     `json:"operation,omitempty"`
	Connection  string     `json:"connection,omitempty"`
	Documented  bool       `json:"documented"`
	Limit       *int       `json:"limit,omitempty"`
	Remaining   *int       `json:"remaining,omitempty"`
	UsedPercent *float64   `json:"used_percent,omitempty"`
	Resets      *time.Time `json:"resets_at,omitempty"`
	Closed      *time.Time `json:"closed_until,omitempty"`
}

func viewLimit(s budget.State) limitView {
	v := limitView{
		App: string(s.App), Pool: s.Pool, Operation: string(s.Operation), Connection: string(s.Connection), Documented: s.Documented,
	}
	if s.Limit >= 0 {
		v.Limit, v.Remaining = &s.Limit, &s.Remaining
	}
	if s.Percent >= 0 {
		v.UsedPercent = &s.Percent
	}
	if reset := s.Reset.UTC(); !s.Reset.IsZero() {
		v.Resets = &reset
	}
	if closed := s.ClosedUntil.UTC(); !s.ClosedUntil.IsZero() {
		v.Closed = &closed
	}
	return v
}

// limits says what the platforms still allow: the apps of the service's purposes,
// and the owners of the connections that it called with, the least first.
func (a *API) limits(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r, "app", "connection", "limit"); err != nil {
		return err
	}
	most, err := pageLimit(r)
	if err != nil {
		return err
	}
	apps := make([]gatehouse.AppName, len(c.purposes))
	for i, p := range c.purposes {
		apps[i] = p.App
	}
	out := struct {
		Limits []limitView `json:"limits"`
		More   bool        `json:"more,omitempty"`
	}{Limits: []limitView{}}
	if a.budgets == nil {
		return reply(w, http.StatusOK, out)
	}
	app, connection := r.URL.Query().Get("app"), r.URL.Query().Get("connection")
	for _, s := range a.budgets.For(c.Name, apps) {
		if app != "" && string(s.App) != app || connection != "" && string(s.Connection) != connection {
			continue
		}
		if len(out.Limits) == most {
			out.More = true
			break
		}
		out.Limits = append(out.Limits, viewLimit(s))
	}
	return reply(w, http.StatusOK, out)
}
