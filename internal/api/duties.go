package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/wire"
)

// Duties are the duties as the app sees them.
type Duties struct {
	Cases *cases.Cases
	// May reports whether a service may see and answer the duties of an app.
	May func(service gatehouse.ServiceName, app gatehouse.AppName) bool
	// Erase opens a duty for each person whom the app names, and cuts them off. What
	// the service may not ask for is refused, and then nothing is opened.
	Erase func(ctx context.Context, service gatehouse.ServiceName, who connect.Who) ([]cases.Duty, error)
}

// dutyView is a duty as the app sees it: a struct of its own, so that a new field
// inside cannot appear here by itself.
type dutyView struct {
	ID            string    `json:"id"`
	Kind          string    `json:"kind"`
	Origin        string    `json:"origin"`
	App           string    `json:"app,omitempty"`
	Platform      string    `json:"platform,omitempty"`
	State         string    `json:"state"`
	Waiting       []string  `json:"waiting_for"`
	Opened        time.Time `json:"opened_at"`
	Deadline      time.Time `json:"deadline"`
	Asked         time.Time `json:"asked_at,omitzero"`
	Answered      time.Time `json:"answered_at,omitzero"`
	Revoked       time.Time `json:"revoked_at,omitzero"`
	Shredded      time.Time `json:"shredded_at,omitzero"`
	Closed        time.Time `json:"closed_at,omitzero"`
	Code          string    `json:"confirmation_code,omitempty"`
	Justification string    `json:"justification,omitempty"`
	Proof         string    `json:"proof,omitempty"`
}

func viewDuty(d cases.Duty, now time.Time) dutyView {
	v := dutyView{
		ID: d.ID, Kind: string(d.Kind), Origin: string(d.Origin), App: string(d.App), Platform: string(d.Platform),
		State: string(d.State(now)), Waiting: some(d.Waiting()), Opened: d.Opened, Deadline: d.Deadline, Asked: d.Asked,
		Answered: d.Answered, Revoked: d.Revoked, Shredded: d.Shredded, Closed: d.Closed, Justification: d.Justification, Proof: d.Proof,
	}
	if d.Kind != cases.ContentRemoved {
		v.Code = d.Code
	}
	return v
}

// dutyStates are those that a list can be filtered by.
var dutyStates = []cases.State{cases.Open, cases.Overdue, cases.Done, cases.Refused}

func (a *API) listDuties(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r, "state", "app", "limit", "after"); err != nil {
		return err
	}
	limit, err := pageLimit(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	state := cases.State(q.Get("state"))
	if state != "" && !slices.Contains(dutyStates, state) {
		return invalid("api/duty-state", "state must be one of open, overdue, done, refused.")
	}
	now := time.Now()
	list, err := a.duties.Cases.List(r.Context(), cases.Filter{
		App: gatehouse.AppName(q.Get("app")), State: state, Now: now, After: q.Get("after"), Limit: limit,
	})
	if errors.Is(err, gatehouse.ErrInvalid) {
		return invalid("api/after", "after must be what next said on the page before.")
	}
	if err != nil {
		return err
	}
	out := struct {
		Duties []dutyView `json:"duties"`
		Next   string     `json:"next,omitempty"`
	}{Duties: []dutyView{}}
	for _, d := range list {
		if a.duties.May(c.Name, d.App) {
			out.Duties = append(out.Duties, viewDuty(d, now))
		}
	}
	if len(list) == limit {
		out.Next = list[limit-1].ID
	}
	return reply(w, http.StatusOK, out)
}

// duty returns the duty that the path names, if the caller may see it. One that it
// may not see does not exist for it.
func (a *API) duty(r *http.Request, c caller) (cases.Duty, error) {
	d, err := a.duties.Cases.Get(r.Context(), r.PathValue("id"))
	if err == nil && !a.duties.May(c.Name, d.App) {
		err = wire.Refuse(gatehouse.ErrNotFound, "duty/unknown", "There is no such duty.")
	}
	return d, err
}

func (a *API) showDuty(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	d, err := a.duty(r, c)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, viewDuty(d, time.Now()))
}

// answerDuty takes the app's word that its own copy is deleted.
func (a *API) answerDuty(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	d, err := a.duty(r, c)
	if err != nil {
		return err
	}
	if d, err = a.duties.Cases.Answer(r.Context(), d.ID, string(c.Name)); err != nil {
		return err
	}
	return reply(w, http.StatusOK, viewDuty(d, time.Now()))
}

// erase asks for everything about a human to go. All who are joined with a subject
// are meant, at every platform.
func (a *API) erase(w http.ResponseWriter, r *http.Request, c caller) error {
	var in struct {
		Subject    string `json:"subject"`
		Connection string `json:"connection"`
	}
	if err := errors.Join(checkQuery(r), readBody(w, r, &in)); err != nil {
		return err
	}
	if (in.Subject == "") == (in.Connection == "") {
		return invalid("api/erase", "Name either subject, your own name for the person, or connection.")
	}
	if in.Connection != "" {
		if _, err := a.connection(r, c, in.Connection); err != nil {
			return err
		}
	}
	opened, err := a.duties.Erase(r.Context(), c.Name, connect.Who{
		Subject: gatehouse.Subject(in.Subject), Connection: gatehouse.ConnectionID(in.Connection),
	})
	if err != nil {
		return err
	}
	out := struct {
		Duties []dutyView `json:"duties"`
	}{[]dutyView{}}
	now := time.Now()
	for _, d := range opened {
		out.Duties = append(out.Duties, viewDuty(d, now))
	}
	return reply(w, http.StatusAccepted, out)
}
