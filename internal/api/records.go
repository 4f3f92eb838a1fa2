package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/records"
	"gatehouse/internal/wire"
)

// recordView is a record as the app sees it; Data or Value is there when it was
// opened.
type recordView struct {
	Purpose string          `json:"purpose"`
	Label   string          `json:"label"`
	Size    int             `json:"size"`
	Created time.Time       `json:"created_at"`
	Updated time.Time       `json:"updated_at"`
	Expires time.Time       `json:"expires_at,omitzero"`
	Data    *string         `json:"data,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`
}

func viewRecord(e records.Entry) recordView {
	return recordView{
		Purpose: string(e.Purpose), Label: e.Label, Size: e.Size,
		Created: e.Created, Updated: e.Updated, Expires: e.Expires,
	}
}

// recordOf returns what the path and the query of a record's address say.
func (a *API) recordOf(r *http.Request, c caller) (owner records.Owner, purpose gatehouse.PurposeName, label string, err error) {
	purpose, label = gatehouse.PurposeName(r.PathValue("purpose")), r.PathValue("label")
	if err = errors.Join(checkQuery(r, "subject", "connection"), c.For(purpose)); err == nil {
		owner, err = a.owner(r, c, r.URL.Query().Get("subject"), r.URL.Query().Get("connection"))
	}
	return owner, purpose, label, err
}

func (a *API) putRecord(w http.ResponseWriter, r *http.Request, c caller) error {
	owner, purpose, label, err := a.recordOf(r, c)
	if err != nil {
		return err
	}
	body, err := readJSON(w, r, maxData)
	if err != nil {
		return err
	}
	var in struct {
		Data      *string         `json:"data"`
		Value     json.RawMessage `json:"value"`
		ExpiresIn int64           `json:"expires_in"`
	}
	if err := decode(body, &in); err != nil {
		return err
	}
	value := records.Value{Label: label, JSON: in.Value != nil, Data: in.Value}
	switch {
	case (in.Data == nil) == (in.Value == nil):
		return invalid("api/values", "A record is either data, in base64, or value, any JSON.")
	case in.Data != nil:
		if value.Data, err = readBase64(*in.Data); err != nil {
			return err
		}
	}
	item := records.Item{Owner: owner, Purpose: purpose, Values: []records.Value{value}}
	if item.Life, err = life(in.ExpiresIn); err != nil {
		return err
	}
	e, created, err := a.records.Put(r.Context(), c.Name, item)
	if err != nil {
		return err
	}
	wire.Annotate(w, wire.Note{Purpose: string(e.Purpose)})
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return reply(w, status, viewRecord(e))
}

func (a *API) getRecord(w http.ResponseWriter, r *http.Request, c caller) error {
	owner, purpose, label, err := a.recordOf(r, c)
	if err != nil {
		return err
	}
	v, e, err := a.records.Get(r.Context(), c.Name, owner, purpose, label)
	if err != nil {
		return err
	}
	wire.Annotate(w, wire.Note{Purpose: string(e.Purpose)})
	view := viewRecord(e)
	if v.JSON {
		view.Value = v.Data
	} else {
		text := base64Strict.EncodeToString(v.Data)
		view.Data = &text
	}
	return reply(w, http.StatusOK, view)
}

func (a *API) deleteRecord(w http.ResponseWriter, r *http.Request, c caller) error {
	owner, purpose, label, err := a.recordOf(r, c)
	if err == nil {
		err = a.records.Delete(r.Context(), c.Name, owner, purpose, label)
	}
	if err != nil {
		return err
	}
	wire.Annotate(w, wire.Note{Purpose: string(purpose)})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) listRecords(w http.ResponseWriter, r *http.Request, c caller) error {
	err := checkQuery(r, "subject", "connection", "limit", "after")
	limit, limitErr := pageLimit(r)
	if err = errors.Join(err, limitErr); err != nil {
		return err
	}
	q := r.URL.Query()
	owner, err := a.owner(r, c, q.Get("subject"), q.Get("connection"))
	if err != nil {
		return err
	}
	var after records.Key
	if q.Has("after") {
		purpose, label, ok := strings.Cut(q.Get("after"), "/")
		if !ok {
			return invalid("api/after", "after must be what next said on the page before.")
		}
		after.Purpose, after.Label = gatehouse.PurposeName(purpose), label
	}
	list, last, more, err := a.records.List(r.Context(), c.Name, owner, after, limit)
	if err != nil {
		return err
	}
	out := struct {
		Records []recordView `json:"records"`
		Next    string       `json:"next,omitempty"`
	}{Records: []recordView{}}
	for _, e := range list {
		if c.For(e.Purpose) == nil {
			out.Records = append(out.Records, viewRecord(e))
		}
	}
	if more {
		out.Next = string(last.Purpose) + "/" + last.Label
	}
	return reply(w, http.StatusOK, out)
}
