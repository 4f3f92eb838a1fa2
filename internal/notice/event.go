package notice

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// event is one thing that a platform tells of, as far as it matters here.
type event struct {
	object  string          // Meta's object, such as "page"; "" for X
	raw     json.RawMessage // as it arrived
	uuid    string          // the platform's own id of the event, if it has one
	typ     string          // X's event type; "" if the payload is of the older kind
	account string          // whose account it is about; orders events
	revoked string          // who took the app's access away, or ""
	at      time.Time       // when, if the event says so
	// permissions: what the person granted has changed.
	permissions bool
}

// identity is what makes two arrivals the same notice.
func (e event) identity() []byte {
	if e.uuid != "" {
		return []byte("uuid\x00" + e.uuid)
	}
	return []byte("raw\x00" + e.object + "\x00" + string(e.raw))
}

// kind is a word for the log. It comes from the platform, so only what has the form
// of one is repeated.
func (e event) kind() string {
	word := e.typ
	if e.object != "" {
		word = e.object
	}
	if word == "" || len(word) > 40 || strings.ContainsFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && r != '.' && r != '_' && (r < '0' || r > '9')
	}) {
		return "event"
	}
	return word
}

// data is what the app receives.
func (e event) data(p gatehouse.Platform) json.RawMessage {
	value := struct {
		Platform gatehouse.Platform `json:"platform"`
		Object   string             `json:"object,omitempty"`
		Entry    json.RawMessage    `json:"entry,omitempty"`
		Event    json.RawMessage    `json:"event,omitempty"`
	}{Platform: p, Object: e.object}
	if p == gatehouse.X {
		value.Event = e.raw
	} else {
		value.Entry = e.raw
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // what the platform wrote stays as it wrote it
	if err := encoder.Encode(value); err != nil {
		panic(err) // raw is valid JSON: it was taken out of a parsed document
	}
	return bytes.TrimSpace(out.Bytes())
}

var errShape = errors.New("not the shape of this platform's events")

// maxEntries is more than the 1,000 updates that Meta puts into one POST.
const maxEntries = 2000

// parse takes an event's body apart. The signature is right already, but what is
// inside may still be anything.
func parse(p gatehouse.Platform, body []byte) ([]event, error) {
	if !json.Valid(body) {
		return nil, errShape
	}
	if p == gatehouse.X {
		e, err := parseX(body)
		return []event{e}, err
	}
	return parseMeta(body)
}

// parseX reads an event of X's Activity API, or one of the older Account Activity
// payloads, which name their account in for_user_id.
func parseX(body []byte) (event, error) {
	var doc struct {
		Data *struct {
			UUID   string `json:"event_uuid"`
			Type   string `json:"event_type"`
			Filter struct {
				User id `json:"user_id"`
			} `json:"filter"`
			Payload json.RawMessage `json:"payload"`
		} `json:"data"`
		For       id `json:"for_user_id"`
		UserEvent *struct {
			Revoke *struct {
				Date   string `json:"date_time"`
				Source struct {
					User id `json:"user_id"`
				} `json:"source"`
			} `json:"revoke"`
		} `json:"user_event"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return event{}, errShape
	}
	e := event{raw: bytes.TrimSpace(body), account: string(doc.For)}
	if doc.UserEvent != nil && doc.UserEvent.Revoke != nil {
		r := doc.UserEvent.Revoke
		e.revoked, e.at = string(r.Source.User), when(r.Date)
		e.typ, e.account = "user_event.revoke", string(r.Source.User)
	}
	if d := doc.Data; d != nil {
		e.uuid, e.typ, e.account = d.UUID, d.Type, string(d.Filter.User)
		if d.Type == "oauth.revoke" {
			var revoke struct {
				Date string `json:"date_time"`
				User id     `json:"user_id"`
			}
			if json.Unmarshal(d.Payload, &revoke) != nil || revoke.User == "" {
				return event{}, errShape
			}
			e.revoked, e.at, e.account = string(revoke.User), when(revoke.Date), string(revoke.User)
		}
	}
	if e.revoked != "" && e.at.IsZero() {
		// Without a time, an old event that arrives again could end a new grant.
		return event{}, errShape
	}
	return e, nil
}

// when reads a time in one of the two forms that X's pages show.
func when(text string) time.Time {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t
	}
	if millis, err := strconv.ParseInt(text, 10, 64); err == nil && millis > 0 {
		return time.UnixMilli(millis)
	}
	return time.Time{}
}

// parseMeta takes a POST apart into its entries: each is an event of its own, about
// one account.
func parseMeta(body []byte) ([]event, error) {
	var doc struct {
		Object string            `json:"object"`
		Entry  []json.RawMessage `json:"entry"`
	}
	if json.Unmarshal(body, &doc) != nil || doc.Object == "" || len(doc.Object) > 100 || len(doc.Entry) == 0 || len(doc.Entry) > maxEntries {
		return nil, errShape
	}
	events := make([]event, 0, len(doc.Entry))
	for _, raw := range doc.Entry {
		var entry struct {
			ID  id `json:"id"`
			UID id `json:"uid"`
		}
		if json.Unmarshal(raw, &entry) != nil {
			return nil, errShape
		}
		e := event{object: doc.Object, raw: raw, account: string(entry.ID), permissions: doc.Object == "permissions"}
		if e.account == "" {
			e.account = string(entry.UID)
		}
		events = append(events, e)
	}
	return events, nil
}

// id is a platform's id of an account: a number, written as one or as a string; ""
// for anything else.
type id string

func (i *id) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "" || len(text) > 40 || strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		// Of another account's form, the rest of the event is still worth having: it
		// is the app's to understand.
		return nil
	}
	*i = id(text)
	return nil
}
