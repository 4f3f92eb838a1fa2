package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"gatehouse"
	"gatehouse/internal/outbox"
	"gatehouse/internal/wire"
)

// readsEvents refuses a service that was not declared as a reader of events:
// they are about everybody's connections, not only those that it began.
func (a *API) readsEvents(c caller) error {
	if a.events == nil || !a.readers(c.Name) {
		return wire.Refuse(gatehouse.ErrDenied, "api/events", "This service may not read events: name it in gatehouse.yaml under events, services.")
	}
	return nil
}

// listEvents hands over events that wait.
func (a *API) listEvents(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r, "after", "limit"); err != nil {
		return err
	}
	if err := a.readsEvents(c); err != nil {
		return err
	}
	limit := outbox.MaxPage
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > outbox.MaxPage {
			return invalid("api/limit", "limit must be a whole number from 1 to "+strconv.Itoa(outbox.MaxPage)+".")
		}
		limit = n
	}
	var after int64
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = outbox.ParsePlace(text); err != nil {
			return err
		}
	}
	page, err := a.events.Fetch(r.Context(), c.Name, after, limit)
	if err != nil {
		return err
	}
	out := struct {
		Events []json.RawMessage `json:"events"`
		Next   string            `json:"next,omitempty"`
	}{Events: page.Events}
	if page.Next > 0 {
		out.Next = strconv.FormatInt(page.Next, 10)
	}
	return reply(w, http.StatusOK, out)
}

// acknowledgeEvent notes that the app has taken an event.
func (a *API) acknowledgeEvent(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	if err := a.readsEvents(c); err != nil {
		return err
	}
	if err := a.events.Acknowledge(r.Context(), c.Name, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
