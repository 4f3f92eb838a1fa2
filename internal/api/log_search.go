package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// LogSearch is what the API needs to search the log.
type LogSearch struct {
	// In is what is searched. Nil means that nobody may.
	In func(context.Context) (*audit.Searcher, error)
	// Whose returns what finds the entries of a person, a connection or a handle (kind).
	Whose func(ctx context.Context, kind, value string) ([]audit.Found, error)
	// Record writes down that a service searches for entries that Whose found.
	Record func(ctx context.Context, by gatehouse.ServiceName, whose []audit.Found) error
}

// searcher returns what a service searches in, whose cursors are of use to it alone.
func (a *API) searcher(ctx context.Context, c caller) (*audit.Searcher, error) {
	in, err := a.search.In(ctx)
	if err != nil {
		return nil, err
	}
	return in.As("service " + string(c.Name)), nil
}

// logEntries are a page of entries.
type logEntries struct {
	Entries []audit.Shown `json:"entries"`
	// Next goes on; empty when there is no more.
	Next string `json:"next,omitempty"`
}

// Parameters of the searches, with those that only one of them has.
var searchParameters = []string{
	"actor", "service", "person", "connection", "handle", "purpose", "platform", "app", "operation", "destination", "rule", "action", "code",
	"severity", "kind", "verdict", "status", "fact", "since", "until", "cursor",
}

// logQuery reads what is searched for.
func (a *API) logQuery(r *http.Request, c caller, own ...string) (q audit.Query, cursor string, err error) {
	if err := a.readsLog(c); err != nil {
		return q, "", err
	}
	if a.search.In == nil {
		return q, "", wire.Refuse(gatehouse.ErrDenied, "log/search", "The log is not searched here.")
	}
	// A fact may be named several times.
	single := r.Clone(r.Context())
	values := single.URL.Query()
	facts := values["fact"]
	if len(facts) > 0 {
		values["fact"] = facts[:1]
		single.URL.RawQuery = values.Encode()
	}
	if strings.Contains(r.URL.RawQuery, ";") {
		single = r // Query leaves out what is not well formed
	}
	if err := checkQuery(single, append(own, searchParameters...)...); err != nil {
		return q, "", err
	}
	get := values.Get
	q = audit.Query{
		Service: gatehouse.ServiceName(get("service")), Purpose: gatehouse.PurposeName(get("purpose")), Platform: gatehouse.Platform(get("platform")),
		App: gatehouse.AppName(get("app")), Operation: gatehouse.Operation(get("operation")), Destination: get("destination"), Rule: get("rule"),
		Action: get("action"), Code: get("code"), Severity: audit.Severity(get("severity")), Kind: get("kind"), Verdict: get("verdict"), Status: get("status"),
	}
	switch actor := get("actor"); {
	case actor == "operator":
		q.Operator = true
	case actor != "" && q.Service != "" && string(q.Service) != actor:
		return q, "", invalid("log/query", "actor and service name two services.")
	case actor != "":
		q.Service = gatehouse.ServiceName(actor)
	}
	for _, text := range facts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || len(text) > 500 {
			return q, "", invalid("log/query", "fact must be NAME=VALUE, of at most 500 bytes.")
		}
		if has, twice := q.Facts[name]; twice && has != value {
			return q, "", invalid("log/query", "fact names two values of one fact.")
		}
		if q.Facts == nil {
			q.Facts = map[string]string{}
		}
		q.Facts[name] = value
	}
	for _, f := range []struct {
		name string
		into *time.Time
	}{{"since", &q.Since}, {"until", &q.Until}} {
		text := get(f.name)
		if text == "" {
			continue
		}
		if *f.into, err = time.Parse(time.RFC3339, text); err != nil {
			return q, "", invalid("log/query", f.name+" must be a time such as 2026-05-04T12:00:00Z.")
		}
	}
	if err := q.Validate(); err != nil {
		return q, "", refusedQuery(err)
	}
	cursor = get("cursor")
	q.Found, err = a.whose(r.Context(), get)
	return q, cursor, err
}

// whose finds out whose entries are wanted; nil is everybody.
func (a *API) whose(ctx context.Context, get func(string) string) (found []audit.Found, err error) {
	for _, kind := range []string{"person", "connection", "handle"} {
		value := get(kind)
		if value == "" {
			continue
		}
		if found != nil || a.search.Whose == nil || a.search.Record == nil {
			return nil, invalid("log/query", "Name one of person, connection and handle.")
		}
		found, err = a.search.Whose(ctx, kind, value)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return nil, wire.Refuse(gatehouse.ErrNotFound, "log/whose", "Nobody is known by this "+kind+".")
		}
		if errors.Is(err, gatehouse.ErrInvalid) {
			return nil, invalid("log/query", kind+" is none: a person is subject:NAME, x:12345 or con….")
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// refusedQuery says what of a query cannot be meant. The text repeats no value.
func refusedQuery(err error) error {
	if !errors.Is(err, gatehouse.ErrInvalid) {
		return err
	}
	text := strings.TrimSuffix(strings.TrimPrefix(err.Error(), "searching the log: "), ": "+gatehouse.ErrInvalid.Error())
	return invalid("log/query", text+".")
}

// number reads a parameter that is a whole number.
func number(r *http.Request, name string, least, most, otherwise int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, invalid("log/query", name+" must be a whole number from "+strconv.Itoa(least)+" to "+strconv.Itoa(most)+".")
	}
	return n, nil
}

// searchLog serves a page of entries.
func (a *API) searchLog(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := a.readsLog(c); err != nil {
		return err
	}
	q, cursor, err := a.logQuery(r, c, "limit")
	if err != nil {
		return err
	}
	limit, err := number(r, "limit", 1, audit.MaxPage, audit.DefaultPage)
	if err != nil {
		return err
	}
	in, err := a.searcher(r.Context(), c)
	if err != nil {
		return err
	}
	if cursor == "" && q.Found != nil {
		// A search is not to find that it was made; and its pages end where the log did
		// when that was written down.
		here, err := in.Here(r.Context())
		if err != nil {
			return err
		}
		if err := a.search.Record(r.Context(), c.Name, q.Found); err != nil {
			return err
		}
		cursor = in.Before(here, q)
	}
	page, err := in.Search(r.Context(), q, cursor, limit)
	if err != nil {
		return refusedQuery(err)
	}
	return reply(w, http.StatusOK, logEntries{page.Entries, page.Next})
}

const (
	// tailEvery is how often a request that waits looks for new entries.
	tailEvery = 500 * time.Millisecond
	// maxWait is how many seconds it waits at most, and maxWaiting how many of them may
	// wait at a time.
	maxWait    = 30
	maxWaiting = 32
)

// recordedFor is how long one record covers that somebody's entries are followed: who
// goes on longer, or comes back later, is written down again.
const recordedFor = time.Hour

// follow returns the tail of a query from a cursor on. That somebody's entries are
// followed is written down before any is handed out.
func (a *API) follow(ctx context.Context, c caller, q audit.Query, cursor string) (*audit.Tail, error) {
	in, err := a.searcher(ctx, c)
	if err != nil {
		return nil, err
	}
	if q.Found != nil && cursor == "" {
		// A tail is not to find that it was begun.
		if err := a.search.Record(ctx, c.Name, q.Found); err != nil {
			return nil, err
		}
	}
	tail, err := in.Follow(ctx, q, cursor)
	if err != nil {
		return nil, refusedQuery(err)
	}
	now := time.Now().UTC()
	switch recorded := tail.Recorded(); {
	case q.Found == nil:
	case cursor == "":
		tail.Record(now)
	case now.Sub(recorded) > recordedFor || recorded.After(now.Add(recordedFor)):
		if err := a.search.Record(ctx, c.Name, q.Found); err != nil {
			return nil, err
		}
		tail.Record(now)
	}
	return tail, nil
}

// tailLog serves entries as they are written: it waits for the first that fits.
func (a *API) tailLog(w http.ResponseWriter, r *http.Request, c caller) error {
	stream := wantsEvents(r)
	if stream {
		r = resumed(r)
	}
	q, cursor, err := a.logQuery(r, c, "wait")
	if err != nil {
		return err
	}
	wait, err := number(r, "wait", 0, maxWait, 0)
	if err != nil {
		return err
	}
	tail, err := a.follow(r.Context(), c, q, cursor)
	if err != nil {
		return err
	}
	if wait > 0 || stream {
		if a.waiting.Add(1) > maxWaiting {
			a.waiting.Add(-1)
			return wire.Refuse(gatehouse.ErrLimited, "log/waiting", "Too many requests wait for the log. Ask again later, or without wait.")
		}
		defer a.waiting.Add(-1)
	}
	if stream {
		return a.streamLog(w, r, c, tail)
	}
	until := time.NewTimer(time.Duration(wait) * time.Second)
	defer until.Stop()
	clock := time.NewTicker(tailEvery)
	defer clock.Stop()
	for {
		entries, more, err := tail.Next(r.Context())
		if err != nil {
			return err
		}
		if len(entries) > 0 || wait == 0 {
			if entries == nil {
				entries = []audit.Shown{}
			}
			return reply(w, http.StatusOK, logEntries{entries, tail.Cursor()})
		}
		if more {
			continue
		}
		select {
		case <-clock.C:
		case <-until.C:
			wait = 0
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
}
