package api

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/wire"
)

// handleView is a handle as the app sees it: without the handle itself, which
// is shown once, when it is made.
type handleView struct {
	ID         string    `json:"id"`
	Connection string    `json:"connection"`
	Purpose    string    `json:"purpose"`
	Platform   string    `json:"platform"`
	App        string    `json:"app"`
	Created    time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

func viewHandle(h identity.Handle) handleView {
	return handleView{
		ID: string(h.ID), Connection: string(h.Connection), Purpose: string(h.Purpose), Platform: string(h.Platform),
		App: string(h.App), Created: h.Created, ExpiresAt: h.Expires,
	}
}

// oauth1View is the set of four that OAuth 1.0a clients of X are configured
// with.
type oauth1View struct {
	ConsumerKey    string `json:"consumer_key"`
	ConsumerSecret string `json:"consumer_secret"`
	Token          string `json:"token"`
	TokenSecret    string `json:"token_secret"`
}

// makeHandle gives out a stand-in for a person's token.
func (a *API) makeHandle(w http.ResponseWriter, r *http.Request, c caller) error {
	var in struct {
		Connection string `json:"connection"`
		Purpose    string `json:"purpose"`
		ExpiresIn  int64  `json:"expires_in"`
	}
	if err := errors.Join(checkQuery(r), readBody(w, r, &in)); err != nil {
		return err
	}
	if err := c.For(gatehouse.PurposeName(in.Purpose)); err != nil {
		return err
	}
	v, err := a.connection(r, c, in.Connection)
	if err != nil {
		return err
	}
	purpose, ok := c.may(gatehouse.PurposeName(in.Purpose))
	switch {
	case !ok:
		return wire.Refuse(gatehouse.ErrDenied, "api/purpose", "This service may not use that purpose; those it may use are in "+Prefix+"me.")
	case purpose.App != v.App:
		return invalid("api/purpose-app", "The purpose "+string(purpose.Name)+" is declared for the app "+string(purpose.App)+", and this connection is with "+string(v.App)+".")
	case !slices.Contains(v.Purposes, purpose.Name):
		return wire.Refuse(gatehouse.ErrDenied, "api/purpose-not-connected", "The person connected for other purposes; begin a connection that names this one too.")
	case !v.Status.Usable():
		return wire.Refuse(gatehouse.ErrConflict, "api/connection-unusable", "This connection is "+string(v.Status)+": no handle can be made for it.")
	case in.ExpiresIn < 0 || in.ExpiresIn > int64(10*365*24*3600):
		return invalid("api/expires-in", "expires_in must be a number of seconds; 0 or absent means the usual life.")
	}
	h, text, err := a.directory.NewHandle(r.Context(), identity.HandleRequest{
		Service: c.Name, Connection: v.ID, Person: v.Person, Purpose: purpose.Name, Platform: v.Platform, App: v.App,
		TTL: time.Duration(in.ExpiresIn) * time.Second,
	})
	if err != nil {
		return err
	}
	out := struct {
		handleView
		Handle string      `json:"handle"`
		OAuth1 *oauth1View `json:"oauth1,omitempty"`
	}{handleView: viewHandle(h), Handle: text.Reveal()}
	if v.Platform == gatehouse.X {
		set, err := a.directory.OAuth1Set(r.Context(), h.ID)
		if err != nil {
			return err
		}
		out.OAuth1 = &oauth1View{set.ConsumerKey, set.ConsumerSecret.Reveal(), set.Token, set.TokenSecret.Reveal()}
	}
	wire.Annotate(w, wire.Note{Purpose: string(purpose.Name)})
	return reply(w, http.StatusCreated, out)
}

func (a *API) listHandles(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r, "connection"); err != nil {
		return err
	}
	list, err := a.directory.Handles(r.Context(), identity.Filter{
		Service: c.Name, Connection: gatehouse.ConnectionID(r.URL.Query().Get("connection")),
	})
	if err != nil {
		return err
	}
	out := struct {
		Handles []handleView `json:"handles"`
	}{Handles: []handleView{}}
	for _, h := range list {
		if h.ServiceName == c.Name && c.For(h.Purpose) == nil {
			out.Handles = append(out.Handles, viewHandle(h))
		}
	}
	return reply(w, http.StatusOK, out)
}

func (a *API) revokeHandle(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	unknown := wire.Refuse(gatehouse.ErrNotFound, "api/unknown-handle", "There is no such handle.")
	h, err := a.directory.Handle(r.Context(), gatehouse.HandleID(r.PathValue("id")))
	if errors.Is(err, gatehouse.ErrNotFound) || (err == nil && h.ServiceName != c.Name) {
		return unknown
	}
	if err != nil {
		return err
	}
	if err := c.For(h.Purpose); err != nil {
		return err
	}
	if err := a.directory.RevokeHandle(r.Context(), h.ID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
