package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/lineage"
	"gatehouse/internal/wire"
)

// Lineage is what the API needs to answer whose data went where.
type Lineage struct {
	// Of answers. Nil means that nobody may ask.
	Of *lineage.Lineage
	// May reports whether the configuration now in force lets a service ask.
	May func(gatehouse.ServiceName) bool
	// Keys returns the hashes of whom a text names: "x:12345", or "subject:NAME".
	Keys func(ctx context.Context, who string) ([]string, error)
	// Handle returns a handle and the calls that its purpose declares.
	Handle func(context.Context, gatehouse.HandleID) (identity.Handle, []string, error)
}

// asks refuses a service that was not declared as one that may ask: the answers are
// about everybody.
func (a *API) asks(c caller) error {
	if a.lineage.Of == nil || a.lineage.May == nil || !a.lineage.May(c.Name) {
		return wire.Refuse(gatehouse.ErrDenied, "api/lineage", "This service may not ask whose data went where: name it in gatehouse.yaml under lineage, services.")
	}
	return nil
}

// question reads what every question has in common.
func (a *API) question(r *http.Request, c caller) (lineage.Question, error) {
	q := lineage.Question{By: c.Name}
	if err := checkQuery(r, "since", "until", "after", "limit"); err != nil {
		return q, err
	}
	if err := a.asks(c); err != nil {
		return q, err
	}
	values := r.URL.Query()
	q.After = values.Get("after")
	for _, f := range []struct {
		name string
		into *time.Time
	}{{"since", &q.Since}, {"until", &q.Until}} {
		text := values.Get(f.name)
		if text == "" {
			continue
		}
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return q, invalid("api/day", f.name+" must be a day: 2026-05-04.")
		}
		*f.into = day
	}
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > lineage.MaxPage {
			return q, invalid("api/limit", "limit must be a whole number from 1 to "+strconv.Itoa(lineage.MaxPage)+".")
		}
		q.Limit = n
	}
	return q, nil
}

func (a *API) lineageOfPerson(w http.ResponseWriter, r *http.Request, c caller) error {
	q, err := a.question(r, c)
	if err != nil {
		return err
	}
	who := r.PathValue("person")
	if number, cut := strings.CutPrefix(who, "number:"); cut {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n == 0 {
			return invalid("api/person", "number: is followed by a person's number from another answer.")
		}
		q.About.Number = lineage.Owner(n)
	} else if q.About.Keys, err = a.lineage.Keys(r.Context(), who); err != nil {
		return err
	}
	return a.flows(w, r, q)
}

func (a *API) lineageOfDestination(w http.ResponseWriter, r *http.Request, c caller) error {
	q, err := a.question(r, c)
	if err != nil {
		return err
	}
	q.About.Destination = r.PathValue("host")
	return a.people(w, r, q)
}

func (a *API) lineageOfService(w http.ResponseWriter, r *http.Request, c caller) error {
	q, err := a.question(r, c)
	if err != nil {
		return err
	}
	q.About.Service = gatehouse.ServiceName(r.PathValue("service"))
	return a.flows(w, r, q)
}

func (a *API) lineageOfPurpose(w http.ResponseWriter, r *http.Request, c caller) error {
	q, err := a.question(r, c)
	if err != nil {
		return err
	}
	q.About.Purpose = gatehouse.PurposeName(r.PathValue("purpose"))
	return a.people(w, r, q)
}

func (a *API) lineageFlows(w http.ResponseWriter, r *http.Request, c caller) error {
	q, err := a.question(r, c)
	if err != nil {
		return err
	}
	return a.flows(w, r, q)
}

// seenByHandle says what whoever had a handle could have seen.
type seenByHandle struct {
	Handle  gatehouse.HandleID    `json:"handle"`
	Service gatehouse.ServiceName `json:"service"`
	Purpose gatehouse.PurposeName `json:"purpose"`
	Created time.Time             `json:"created"`
	Expires time.Time             `json:"expires"`
	Revoked time.Time             `json:"revoked,omitzero"`
	// Could are the calls that it could make, whether or not it did.
	Could []string `json:"could"`
	lineage.Flows
}

func (a *API) lineageOfHandle(w http.ResponseWriter, r *http.Request, c caller) error {
	q, err := a.question(r, c)
	if err != nil {
		return err
	}
	q.About.Handle = gatehouse.HandleID(r.PathValue("id"))
	h, could, err := a.lineage.Handle(r.Context(), q.About.Handle)
	if err != nil {
		return err
	}
	flows, err := a.lineage.Of.Flows(r.Context(), q)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, seenByHandle{
		Handle: h.ID, Service: h.ServiceName, Purpose: h.Purpose, Created: h.Created, Expires: h.Expires, Revoked: h.Revoked, Could: could, Flows: flows,
	})
}

func (a *API) flows(w http.ResponseWriter, r *http.Request, q lineage.Question) error {
	answer, err := a.lineage.Of.Flows(r.Context(), q)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, answer)
}

func (a *API) people(w http.ResponseWriter, r *http.Request, q lineage.Question) error {
	answer, err := a.lineage.Of.People(r.Context(), q)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, answer)
}

func (a *API) lineageStatus(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	if err := a.asks(c); err != nil {
		return err
	}
	s, err := a.lineage.Of.Status(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, s.View())
}
