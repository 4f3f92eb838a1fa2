package api

import (
	"errors"
	"net/http"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// stepupsOn refuses while there are no step-ups.
func (a *API) stepupsOn() error {
	if a.stepups == nil {
		return wire.Refuse(gatehouse.ErrDenied, "stepup/service", "This service may not ask for step-ups: name it in gatehouse.yaml under stepup, services.")
	}
	return nil
}

// stepupView is a step-up as the app sees it; Result and what follows are there when it
// is redeemed.
type stepupView struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	URL     string    `json:"url,omitempty"`
	Expires time.Time `json:"expires_at"`

	Subject      string    `json:"subject,omitempty"`
	Method       string    `json:"method,omitempty"`
	Proved       time.Time `json:"proved_at,omitzero"`
	Enrolled     string    `json:"enrolled,omitempty"`
	RecoveryLeft *int      `json:"recovery_codes_left,omitempty"`
	Result       string    `json:"result,omitempty"`
}

func viewStepup(b stepup.Begun) stepupView {
	v := stepupView{ID: b.ID, State: string(b.State), Expires: b.Expires}
	if b.State == stepup.Asked || b.State == stepup.Started {
		v.URL = b.URL
	}
	return v
}

// beginStepup prepares a step-up of one of the app's users.
func (a *API) beginStepup(w http.ResponseWriter, r *http.Request, c caller) error {
	var in struct {
		Subject   string   `json:"subject"`
		Reason    string   `json:"reason"`
		Account   string   `json:"account"`
		ReturnURL string   `json:"return_url"`
		State     string   `json:"state"`
		Methods   []string `json:"methods"`
		MaxAge    int64    `json:"max_age"`
		Add       bool     `json:"add"`
	}
	if err := errors.Join(checkQuery(r), a.stepupsOn(), readBody(w, r, &in)); err != nil {
		return err
	}
	ask := stepup.Ask{
		Service: c.Name, Subject: gatehouse.Subject(in.Subject), Reason: in.Reason, Account: in.Account, ReturnTo: in.ReturnURL, State: in.State, Add: in.Add,
		// In bounds before it is multiplied.
		MaxAge: time.Duration(min(max(in.MaxAge, -1), 1<<30)) * time.Second,
	}
	for _, m := range in.Methods {
		ask.Methods = append(ask.Methods, stepup.Method(m))
	}
	b, err := a.stepups.Begin(r.Context(), ask)
	if err != nil {
		return err
	}
	return reply(w, http.StatusCreated, viewStepup(b))
}

// showStepup says how a step-up stands, or redeems it for the code that came with the
// browser.
func (a *API) showStepup(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := errors.Join(checkQuery(r, "code", "subject"), a.stepupsOn()); err != nil {
		return err
	}
	q := r.URL.Query()
	if q.Has("code") != q.Has("subject") {
		return invalid("api/redeem", "code and subject are both needed: the code from the return address, and the subject of your own session.")
	}
	if !q.Has("code") {
		b, err := a.stepups.Look(r.Context(), c.Name, r.PathValue("id"))
		if err != nil {
			return err
		}
		return reply(w, http.StatusOK, viewStepup(b))
	}
	result, err := a.stepups.Redeem(r.Context(), c.Name, r.PathValue("id"), secret.New(q.Get("code")), gatehouse.Subject(q.Get("subject")))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, stepupView{
		ID: result.ID, State: string(stepup.Redeemed), Expires: result.Expires, Subject: string(result.Subject), Method: string(result.Method),
		Proved: result.Proved, Enrolled: string(result.Enrolled), RecoveryLeft: &result.RecoveryLeft, Result: result.Token,
	})
}

// showFactors says what a subject has.
func (a *API) showFactors(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := errors.Join(checkQuery(r, "subject"), a.stepupsOn()); err != nil {
		return err
	}
	held, err := a.stepups.Holds(r.Context(), c.Name, gatehouse.Subject(r.URL.Query().Get("subject")))
	if err != nil {
		return err
	}
	methods := make([]string, len(held.Methods))
	for i, m := range held.Methods {
		methods[i] = string(m)
	}
	return reply(w, http.StatusOK, struct {
		Methods      []string `json:"methods"`
		RecoveryLeft int      `json:"recovery_codes_left"`
	}{methods, held.RecoveryLeft})
}

// resetFactors removes what a subject has.
func (a *API) resetFactors(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := errors.Join(checkQuery(r, "subject"), a.stepupsOn()); err != nil {
		return err
	}
	if _, err := a.stepups.Reset(r.Context(), c.Name, gatehouse.Subject(r.URL.Query().Get("subject"))); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// showStepupKeys shows what results are verified with.
func (a *API) showStepupKeys(w http.ResponseWriter, r *http.Request, _ caller) error {
	if err := errors.Join(checkQuery(r), a.stepupsOn()); err != nil {
		return err
	}
	keys, err := a.stepups.PublicKeys(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, struct {
		Keys []stepup.PublicKey `json:"keys"`
	}{keys})
}
