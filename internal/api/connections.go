package api

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// connectionView is a connection as the app sees it.
type connectionView struct {
	ID                string    `json:"id"`
	App               string    `json:"app"`
	Platform          string    `json:"platform"`
	Kind              string    `json:"kind"`
	Status            string    `json:"status"`
	Cause             string    `json:"cause,omitempty"`
	Reason            string    `json:"reason,omitempty"`
	Next              string    `json:"next_step,omitempty"`
	Subject           string    `json:"subject"`
	PlatformUser      string    `json:"platform_user"`
	Name              string    `json:"name,omitempty"`
	Parent            string    `json:"parent,omitempty"`
	Scopes            []string  `json:"scopes"`
	Declined          []string  `json:"declined"`
	Purposes          []string  `json:"purposes"`
	AccessExpires     time.Time `json:"access_expires_at,omitzero"`
	DataAccessExpires time.Time `json:"data_access_expires_at,omitzero"`
	Created           time.Time `json:"created_at"`
	Updated           time.Time `json:"updated_at"`
	RevokeOutstanding bool      `json:"revoke_outstanding,omitempty"`
	Unreadable        bool      `json:"unreadable,omitempty"` // what names the person does not open
}

func viewConnection(v connect.Connection) connectionView {
	purposes := make([]string, len(v.Purposes))
	for i, p := range v.Purposes {
		purposes[i] = string(p)
	}
	return connectionView{
		ID: string(v.ID), App: string(v.App), Platform: string(v.Platform), Kind: string(v.Kind), Status: string(v.Status),
		Cause: string(v.Cause), Reason: v.Reason, Next: v.Next, Subject: string(v.Subject), PlatformUser: v.PlatformUser, Name: v.Name, Parent: string(v.Parent),
		Scopes: some(v.Scopes), Declined: some(v.Declined), Purposes: purposes, AccessExpires: v.AccessExpires,
		DataAccessExpires: v.DataAccessExpires, Created: v.Created, Updated: v.Updated, RevokeOutstanding: v.RevokeOutstanding, Unreadable: v.Unreadable,
	}
}

// replyConnection shows one connection.
func (a *API) replyConnection(w http.ResponseWriter, r *http.Request, c caller, status int, v connect.Connection) error {
	if err := a.shown(r.Context(), c.Name, []connect.Connection{v}); err != nil {
		return err
	}
	return reply(w, status, viewConnection(v))
}

// some gives an absent list the form of an empty one, which is what JSON
// readers expect.
func some(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// keyView is the key that the caller showed: by its id, never itself.
type keyView struct {
	ID      string    `json:"id"`
	Purpose string    `json:"purpose,omitempty"`
	Expires time.Time `json:"expires_at,omitzero"`
}

// me says who the caller is.
func (a *API) me(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	type purpose struct {
		Name string `json:"name"`
		Why  string `json:"why"`
		App  string `json:"app"`
	}
	purposes := make([]purpose, len(c.purposes))
	for i, p := range c.purposes {
		purposes[i] = purpose{string(p.Name), p.Why, string(p.App)}
	}
	return reply(w, http.StatusOK, struct {
		Service  string    `json:"service"`
		Purposes []purpose `json:"purposes"`
		Key      keyView   `json:"key"`
	}{string(c.Name), purposes, keyView{string(c.Key.ID), string(c.Key.Purpose), c.Key.Expires}})
}

// begin prepares a connection.
func (a *API) begin(w http.ResponseWriter, r *http.Request, c caller) error {
	var in struct {
		App      string   `json:"app"`
		Subject  string   `json:"subject"`
		Purposes []string `json:"purposes"`
		ReturnTo string   `json:"return_to"`
		State    string   `json:"state"`
		OAuth1   bool     `json:"oauth1"`
	}
	if err := errors.Join(checkQuery(r), readBody(w, r, &in)); err != nil {
		return err
	}
	purposes, err := c.purposesFor(in.Purposes, in.App)
	if err != nil {
		return err
	}
	begun, err := a.connections.Begin(r.Context(), connect.BeginRequest{
		App: gatehouse.AppName(in.App), Subject: gatehouse.Subject(in.Subject), Purposes: purposes,
		ReturnTo: in.ReturnTo, State: in.State, Service: c.Name, OAuth1: in.OAuth1,
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusCreated, struct {
		ID      string    `json:"id"`
		URL     string    `json:"url"`
		Expires time.Time `json:"expires_at"`
	}{begun.ID, begun.URL, begun.Expires})
}

// redeem joins a pending connection to the caller's signed-in subject.
func (a *API) redeem(w http.ResponseWriter, r *http.Request, c caller) error {
	var in struct {
		Code    string `json:"code"`
		Subject string `json:"subject"`
	}
	if err := errors.Join(checkQuery(r), readBody(w, r, &in)); err != nil {
		return err
	}
	if in.Code == "" || in.Subject == "" {
		return invalid("api/redeem", "code and subject are both needed: the code from the return address, and the subject of your own session.")
	}
	v, err := a.connections.RedeemIf(r.Context(), secret.New(in.Code), gatehouse.Subject(in.Subject), c.Name, c.For)
	if err != nil {
		return err
	}
	return a.replyConnection(w, r, c, http.StatusOK, v)
}

// statuses are those that a list can be filtered by.
var statuses = []connect.Status{
	connect.Healthy, connect.Renewing, connect.InDoubt, connect.ReconnectNeeded, connect.Revoked, connect.Erased,
}

// pageLimit reads the limit of a page.
func pageLimit(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return 100, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 500 {
		return 0, invalid("api/limit", "limit must be a whole number from 1 to 500.")
	}
	return n, nil
}

func (a *API) listConnections(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r, "subject", "app", "status", "limit", "after"); err != nil {
		return err
	}
	limit, err := pageLimit(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	status := connect.Status(q.Get("status"))
	if status != "" && !slices.Contains(statuses, status) {
		return invalid("api/status", "status must be one of healthy, renewing, in_doubt, reconnect_needed, revoked, erased.")
	}
	list, err := a.connections.List(r.Context(), connect.Selection{
		Service: c.Name, App: gatehouse.AppName(q.Get("app")), Status: status, Subject: gatehouse.Subject(q.Get("subject")),
		After: gatehouse.ConnectionID(q.Get("after")), Limit: limit,
	})
	if errors.Is(err, gatehouse.ErrInvalid) {
		return invalid("api/after", "after must be what next said on the page before.")
	}
	if err != nil {
		return err
	}
	out := struct {
		Connections []connectionView `json:"connections"`
		Next        string           `json:"next,omitempty"`
	}{Connections: []connectionView{}}
	var shown []connect.Connection
	for _, v := range list {
		if c.sees(v) {
			shown = append(shown, v)
			out.Connections = append(out.Connections, viewConnection(v))
		}
	}
	if len(list) == limit {
		out.Next = string(list[limit-1].ID)
	}
	if err := a.shown(r.Context(), c.Name, shown); err != nil {
		return err
	}
	return reply(w, http.StatusOK, out)
}

// sees reports whether the caller began the connection and may still use one of
// its purposes.
func (c caller) sees(v connect.Connection) bool {
	return v.Service == c.Name && slices.ContainsFunc(v.Purposes, func(p gatehouse.PurposeName) bool {
		_, ok := c.may(p)
		return ok
	})
}

// connection returns the connection that the path names, if the caller sees it.
// One that it does not see does not exist for it.
func (a *API) connection(r *http.Request, c caller, id string) (connect.Connection, error) {
	v, err := a.connections.Get(r.Context(), gatehouse.ConnectionID(id))
	if err == nil && !c.sees(v) {
		if v.Service == c.Name {
			for _, purpose := range v.Purposes {
				if err := c.For(purpose); err != nil {
					return connect.Connection{}, err
				}
			}
		}
		return connect.Connection{}, wire.Refuse(gatehouse.ErrNotFound, "connect/unknown-connection", "there is no such connection")
	}
	return v, err
}

func (a *API) showConnection(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	v, err := a.connection(r, c, r.PathValue("id"))
	if err != nil {
		return err
	}
	return a.replyConnection(w, r, c, http.StatusOK, v)
}

func (a *API) revokeConnection(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	v, err := a.connection(r, c, r.PathValue("id"))
	if err != nil {
		return err
	}
	for _, purpose := range v.Purposes { // it ends for all of them
		if err := c.For(purpose); err != nil {
			return err
		}
	}
	if err := a.connections.Revoke(r.Context(), v.ID, "revoked by the app"); err != nil {
		return err
	}
	if v, err = a.connections.Get(r.Context(), v.ID); err != nil {
		return err
	}
	return a.replyConnection(w, r, c, http.StatusOK, v)
}
