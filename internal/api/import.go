package api

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// purposesFor returns the purposes of those names, which must all be the
// caller's and of one app.
func (c caller) purposesFor(names []string, app string) ([]gatehouse.PurposeName, error) {
	purposes := make([]gatehouse.PurposeName, 0, len(names))
	for _, name := range names {
		if err := c.For(gatehouse.PurposeName(name)); err != nil {
			return nil, err
		}
		p, ok := c.may(gatehouse.PurposeName(name))
		switch {
		case !ok:
			return nil, wire.Refuse(gatehouse.ErrDenied, "api/purpose", "This service may not use one of the purposes; those it may use are in "+Prefix+"me.")
		case string(p.App) != app:
			return nil, invalid("api/purpose-app", "The purpose "+string(p.Name)+" is declared for the app "+string(p.App)+", not for the one given.")
		case slices.Contains(purposes, p.Name):
			return nil, invalid("api/purpose-twice", "The purpose "+string(p.Name)+" is given twice.")
		}
		purposes = append(purposes, p.Name)
	}
	return purposes, nil
}

// importConnection takes in a token that the app has, such as one that a login
// on a phone or in a browser obtained.
func (a *API) importConnection(w http.ResponseWriter, r *http.Request, c caller) error {
	var in struct {
		App          string   `json:"app"`
		Subject      string   `json:"subject"`
		Purposes     []string `json:"purposes"`
		Kind         string   `json:"kind"`
		Person       string   `json:"person"`
		Parent       string   `json:"parent"`
		AccessToken  string   `json:"access_token"`
		RefreshToken string   `json:"refresh_token"`
		Token        string   `json:"token"`
		TokenSecret  string   `json:"token_secret"`
		Scopes       []string `json:"scopes"`
		ExpiresAt    string   `json:"expires_at"`
		KeepCopies   bool     `json:"keep_copies"`
	}
	if err := errors.Join(checkQuery(r), readBody(w, r, &in)); err != nil {
		return err
	}
	purposes, err := c.purposesFor(in.Purposes, in.App)
	if err != nil {
		return err
	}
	request := connect.ImportRequest{
		App: gatehouse.AppName(in.App), Service: c.Name, Subject: gatehouse.Subject(in.Subject), Purposes: purposes,
		Kind: connect.Kind(in.Kind), PlatformUser: in.Person, Parent: gatehouse.ConnectionID(in.Parent),
		Access: secret.New(in.AccessToken), Refresh: secret.New(in.RefreshToken), Scopes: in.Scopes, KeepCopies: in.KeepCopies,
	}
	if request.Kind == connect.KindOAuth1 {
		if in.AccessToken != "" || in.RefreshToken != "" {
			return invalid("api/import-kind", "An OAuth 1.0a pair is given as token and token_secret.")
		}
		request.Access, request.Refresh = secret.New(in.Token), secret.New(in.TokenSecret)
	} else if in.Token != "" || in.TokenSecret != "" {
		return invalid("api/import-kind", "token and token_secret go with kind oauth1; the others have access_token and refresh_token.")
	}
	if in.ExpiresAt != "" {
		if request.Expires, err = time.Parse(time.RFC3339, in.ExpiresAt); err != nil {
			return invalid("api/field-type", "The field expires_at must be a time such as 2026-01-31T12:00:00Z.")
		}
	}
	done, err := a.connections.Import(r.Context(), request)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if done.Already {
		status = http.StatusOK
	}
	return a.replyConnection(w, r, c, status, done.Connection)
}
