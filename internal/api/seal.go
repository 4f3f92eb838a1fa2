package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/records"
	"gatehouse/internal/wire"
)

// sealBody is one item of a request to seal. A nil Data or Fields was not given.
type sealBody struct {
	Subject    string          `json:"subject"`
	Connection string          `json:"connection"`
	Purpose    string          `json:"purpose"`
	Label      string          `json:"label"`
	Data       *string         `json:"data"`
	Fields     json.RawMessage `json:"fields"`
	ExpiresIn  int64           `json:"expires_in"`
}

// openBody is one item of a request to open.
type openBody struct {
	Subject    string          `json:"subject"`
	Connection string          `json:"connection"`
	Purpose    string          `json:"purpose"`
	Label      string          `json:"label"`
	Sealed     *string         `json:"sealed"`
	Fields     json.RawMessage `json:"fields"`
}

// sealedView is what became of an item that was sealed.
type sealedView struct {
	Sealed  string            `json:"sealed,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"`
	Expires time.Time         `json:"expires_at,omitzero"`
	Problem *wire.Problem     `json:"problem,omitempty"`
}

// openedView is what became of an item that was opened.
type openedView struct {
	Data    *string                    `json:"data,omitempty"`
	Fields  map[string]json.RawMessage `json:"fields,omitempty"`
	Problem *wire.Problem              `json:"problem,omitempty"`
}

// owner says whose data is meant. A connection stands for its person, if the
// caller sees it.
func (a *API) owner(r *http.Request, c caller, subject, connection string) (records.Owner, error) {
	o := records.Owner{Subject: gatehouse.Subject(subject)}
	if connection == "" {
		return o, nil
	}
	v, err := a.connection(r, c, connection)
	o.Person, o.Connection = v.Person, v.ID
	return o, err
}

// values reads the one value or the fields of an item: exactly one of the two.
func values(label string, one *string, fields json.RawMessage, name string, read func(string) ([]byte, error), readField func(json.RawMessage) ([]byte, error)) ([]records.Value, error) {
	switch {
	case (one == nil) == (fields == nil):
		return nil, invalid("api/values", "An item has either label and "+name+", or fields.")
	case one != nil:
		data, err := read(*one)
		return []records.Value{{Label: label, Data: data}}, err
	case label != "":
		return nil, invalid("api/values", "The names of the fields are their labels: leave label out.")
	}
	var list []records.Value
	err := members(fields, func(name string, raw json.RawMessage) error {
		data, err := readField(raw)
		list = append(list, records.Value{Label: name, JSON: true, Data: data})
		return err
	})
	if wire.RuleOf(err) == "api/json" {
		err = invalid("api/field-type", "The field fields must be an object.")
	}
	return list, err
}

// base64Strict refuses what would make two texts of the same bytes.
var base64Strict = base64.StdEncoding.Strict()

func readBase64(text string) ([]byte, error) {
	data, err := base64Strict.DecodeString(text)
	if err != nil || base64Strict.EncodedLen(len(data)) != len(text) {
		return nil, invalid("api/base64", "data must be base64, with padding and without line ends.")
	}
	return data, nil
}

func (a *API) sealItem(r *http.Request, c caller, raw []byte) (records.Item, error) {
	var in sealBody
	if err := decode(raw, &in); err != nil {
		return records.Item{}, err
	}
	if err := c.For(gatehouse.PurposeName(in.Purpose)); err != nil {
		return records.Item{}, err
	}
	owner, err := a.owner(r, c, in.Subject, in.Connection)
	if err != nil {
		return records.Item{}, err
	}
	item := records.Item{Owner: owner, Purpose: gatehouse.PurposeName(in.Purpose)}
	if item.Life, err = life(in.ExpiresIn); err != nil {
		return records.Item{}, err
	}
	item.Values, err = values(in.Label, in.Data, in.Fields, "data", readBase64, func(raw json.RawMessage) ([]byte, error) { return raw, nil })
	return item, err
}

// life reads expires_in. What is out of range for a purpose records refuses; here
// it must only fit.
func life(seconds int64) (time.Duration, error) {
	if seconds < 0 || seconds > int64(100*365*24*3600) {
		return 0, invalid("records/expires-in", "expires_in must be a number of seconds; 0 or absent means as long as the purpose keeps data.")
	}
	return time.Duration(seconds) * time.Second, nil
}

func (a *API) openItem(r *http.Request, c caller, raw []byte) (records.Item, error) {
	var in openBody
	if err := decode(raw, &in); err != nil {
		return records.Item{}, err
	}
	if err := c.For(gatehouse.PurposeName(in.Purpose)); err != nil {
		return records.Item{}, err
	}
	owner, err := a.owner(r, c, in.Subject, in.Connection)
	if err != nil {
		return records.Item{}, err
	}
	item := records.Item{Owner: owner, Purpose: gatehouse.PurposeName(in.Purpose)}
	item.Values, err = values(in.Label, in.Sealed, in.Fields, "sealed", func(text string) ([]byte, error) { return []byte(text), nil },
		func(raw json.RawMessage) ([]byte, error) {
			var text string
			if json.Unmarshal(raw, &text) != nil || string(raw) == "null" {
				return nil, invalid("api/field-type", "Each of the fields must be a sealed text.")
			}
			return []byte(text), nil
		})
	return item, err
}

// seal gives the app texts to keep.
func (a *API) seal(w http.ResponseWriter, r *http.Request, c caller) error {
	return a.batch(w, r, c, a.sealItem, a.records.Seal, func(v records.Verdict) any {
		if v.Err != nil {
			return sealedView{Problem: problem(v.Err)}
		}
		view := sealedView{Expires: v.Expires}
		for _, s := range v.Values {
			if !s.JSON {
				view.Sealed = string(s.Data)
				continue
			}
			if view.Fields == nil {
				view.Fields = map[string]string{}
			}
			view.Fields[s.Label] = string(s.Data)
		}
		return view
	})
}

// openSealed gives back what seal was given.
func (a *API) openSealed(w http.ResponseWriter, r *http.Request, c caller) error {
	return a.batch(w, r, c, a.openItem, a.records.Open, func(v records.Verdict) any {
		if v.Err != nil {
			return openedView{Problem: problem(v.Err)}
		}
		var view openedView
		for _, o := range v.Values {
			if !o.JSON {
				text := base64Strict.EncodeToString(o.Data)
				view.Data = &text
				continue
			}
			if view.Fields == nil {
				view.Fields = map[string]json.RawMessage{}
			}
			view.Fields[o.Label] = o.Data
		}
		return view
	})
}

func problem(err error) *wire.Problem {
	p := wire.ProblemOf(err)
	return &p
}

// batch answers a request that is one item, or several as items: then each has
// its verdict, in order. What is the fault of no item fails the request.
func (a *API) batch(w http.ResponseWriter, r *http.Request, c caller,
	read func(*http.Request, caller, []byte) (records.Item, error),
	do func(context.Context, gatehouse.ServiceName, []records.Item) ([]records.Verdict, error),
	view func(records.Verdict) any,
) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	body, err := readJSON(w, r, maxData)
	if err != nil {
		return err
	}
	raw, several, err := itemsOf(body)
	if err != nil {
		return err
	}
	verdicts := make([]records.Verdict, len(raw))
	var items []records.Item
	var at []int // of each item among the verdicts
	cost := 0
	for i := range raw {
		item, err := read(r, c, raw[i])
		cost += max(1, len(item.Values))
		switch {
		case err == nil:
			items, at = append(items, item), append(at, i)
		case wire.RuleOf(err) == "":
			return err
		}
		verdicts[i].Err = err
	}
	if cost > 1 {
		if err := a.admit(c.Name, cost-1); err != nil {
			return err
		}
	}
	if len(items) > 0 {
		done, err := do(r.Context(), c.Name, items)
		if err != nil {
			return err
		}
		for i, v := range done {
			verdicts[at[i]] = v
		}
	}
	if !several {
		if err := verdicts[0].Err; err != nil {
			return err
		}
		return reply(w, http.StatusOK, view(verdicts[0]))
	}
	out := struct {
		Items []any `json:"items"`
	}{make([]any, len(verdicts))}
	for i, v := range verdicts {
		out.Items[i] = view(v)
	}
	return reply(w, http.StatusOK, out)
}

// itemsOf returns the item that a body is, or the several that it holds.
func itemsOf(body []byte) (items []json.RawMessage, several bool, err error) {
	err = members(body, func(name string, _ json.RawMessage) error {
		several = several || name == "items"
		return nil
	})
	if err != nil || !several {
		return []json.RawMessage{body}, false, err
	}
	var in struct {
		Items []json.RawMessage `json:"items"`
	}
	err = decode(body, &in)
	if err == nil && len(in.Items) == 0 {
		err = invalid("records/empty", "There is no item here.")
	}
	// Looked at before any item is read.
	if len(in.Items) > records.MaxValues {
		err = invalid("records/too-many", "A request may hold "+strconv.Itoa(records.MaxValues)+" values at most, over all of its items.")
	}
	return in.Items, true, err
}
