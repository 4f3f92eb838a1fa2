package main

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/console"
	"gatehouse/internal/wire"
)

// logSource reads the log for the console, as the commands of 'gatehouse audit' do.
type logSource struct{ *parts }

func (l logSource) Choices() console.LogChoices {
	cfg := l.configured()
	c := console.LogChoices{Services: sortedNames(cfg.Services), Purposes: sortedNames(cfg.Purposes), Apps: sortedNames(cfg.Apps)}
	for _, app := range cfg.Apps {
		if platform := string(app.Platform); !slices.Contains(c.Platforms, platform) {
			c.Platforms = append(c.Platforms, platform)
		}
	}
	slices.Sort(c.Platforms)
	for _, a := range audit.Actions() {
		c.Actions = append(c.Actions, a.Name)
	}
	return c
}

func (l logSource) Search(ctx context.Context, actor string, q console.LogQuery, after string, most int) (console.LogPage, error) {
	ctx = audit.By(ctx, actor)
	search := audit.Query{
		Action: q.Action, App: gatehouse.AppName(q.App), Code: q.Code, Kind: q.Kind, Operation: gatehouse.Operation(q.Operation), Platform: gatehouse.Platform(q.Platform),
		Purpose: gatehouse.PurposeName(q.Purpose), Rule: q.Rule, Service: gatehouse.ServiceName(q.Service), Severity: audit.Severity(q.Severity), Verdict: q.Verdict,
		Operator: q.NoService, Status: q.Status, Destination: q.Destination, Since: q.Since, Until: q.Until,
	}
	facts, err := parseFacts(q.Facts)
	if err != nil {
		return console.LogPage{}, wire.Refuse(gatehouse.ErrInvalid, "console/filter", "Fact: write NAME=VALUE, and no name twice.")
	}
	search.Facts = facts
	if err := search.Validate(); err != nil {
		return console.LogPage{}, refusedSearch(err)
	}
	if search.Found, err = l.whose(ctx, q); err != nil {
		return console.LogPage{}, err
	}
	searcher, err := l.searcher(ctx)
	if err != nil {
		return console.LogPage{}, err
	}
	searcher = searcher.As("operator " + actor)
	if after == "" && search.Found != nil {
		// It is not to find that it was made.
		here, err := searcher.Here(ctx)
		if err != nil {
			return console.LogPage{}, err
		}
		if err := l.recordSearch(ctx, "", search.Found); err != nil {
			return console.LogPage{}, err
		}
		after = searcher.Before(here, search)
	}
	page, err := searcher.Search(ctx, search, after, most)
	if errors.Is(err, gatehouse.ErrInvalid) {
		return console.LogPage{}, refusedSearch(err)
	}
	return console.LogPage{Entries: entryLines(page.Entries), Next: page.Next}, err
}

// refusedSearch says what of a search cannot be meant. The words are the log's own, and
// have no value of the query in them.
func refusedSearch(err error) error {
	text := strings.TrimSuffix(strings.TrimPrefix(err.Error(), "searching the log: "), ": "+gatehouse.ErrInvalid.Error())
	return wire.Refuse(gatehouse.ErrInvalid, "console/filter", strings.ToUpper(text[:1])+text[1:]+".")
}

// whose turns identifiers into what the log's index knows; nil is everybody. Nobody's
// id is written down as if it were somebody's.
func (l logSource) whose(ctx context.Context, q console.LogQuery) ([]audit.Found, error) {
	unknown := func(what string) error {
		return wire.Refuse(gatehouse.ErrInvalid, "console/filter", what+": there is none of this id.")
	}
	switch {
	case q.Person != "" && q.Connection != "":
		return nil, wire.Refuse(gatehouse.ErrInvalid, "console/filter", "Look for a person or for a connection, not for both.")
	case q.Person != "":
		person := gatehouse.PersonID(q.Person)
		if _, err := l.db.Vault().PersonKey(ctx, person, 0); errors.Is(err, gatehouse.ErrNotFound) {
			return nil, unknown("Person")
		} else if err != nil {
			return nil, err
		}
		return []audit.Found{{Hash: l.logIndex, Person: person}}, nil
	case q.Connection != "":
		whose, err := l.logWhose(ctx, q.Connection, "", "")
		if err == nil && whose[0].Person == "" {
			return nil, unknown("Connection")
		}
		return whose, err
	}
	return nil, nil
}

func (l logSource) Entry(ctx context.Context, id string) (console.LogEntry, error) {
	logs, err := l.logs(ctx)
	if err != nil {
		return console.LogEntry{}, err
	}
	found, err := audit.EntryOf(ctx, logs, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return console.LogEntry{}, noEntry(l.whereEntry(ctx, id))
	}
	if err != nil {
		return console.LogEntry{}, err
	}
	e := &found
	var outcomes []audit.Shown
	notNear := false
	if e.Kind == audit.KindIntent {
		if outcomes, notNear, err = audit.OutcomeOf(ctx, l.db.AuditLog(e.Log), e, maxToOutcome); err != nil {
			return console.LogEntry{}, err
		}
		// Where there are several logs, another one may have it.
		notNear = notNear || len(outcomes) == 0 && len(logs) > 1
	}
	view := console.LogEntry{
		EntryLine: entryLines([]audit.Shown{found})[0], NotNear: notNear, Node: e.Node, Seq: e.Seq, App: string(e.App), Platform: string(e.Platform), Environment: string(e.Environment),
		Personal: slices.Sorted(maps.Keys(e.Personal)), Outcomes: entryLines(outcomes),
	}
	for _, name := range slices.Sorted(maps.Keys(e.Facts)) {
		view.Facts = append(view.Facts, console.NamedValue{Name: name, Value: e.Facts[name]})
	}
	for _, a := range audit.Actions() {
		if a.Name == e.Action {
			view.Meaning, view.Controls = a.Meaning, a.Controls
		}
	}
	if e.Intent != "" {
		began, err := audit.EntryOf(ctx, logs, e.Intent)
		if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
			return view, err
		}
		if err == nil {
			view.Began = &entryLines([]audit.Shown{began})[0]
		}
	}
	return view, nil
}

// maxToOutcome is how many entries behind an intent are looked through for its outcome.
const maxToOutcome = 8192

// noEntry is the answer for an entry that is not there, or not any more.
func noEntry(where error) error {
	text := "There is no entry of this id."
	if where != nil && strings.Contains(where.Error(), "pruned") {
		text = "There is no entry of this id. If there ever was, it was pruned; 'gatehouse audit prove --archive' finds it in its archive."
	}
	return wire.Refuse(gatehouse.ErrNotFound, "console/unknown", text)
}

func (l logSource) Reveal(ctx context.Context, actor, id string) ([]console.NamedValue, error) {
	logs, err := l.logs(ctx)
	if err != nil {
		return nil, err
	}
	found, err := audit.EntryOf(ctx, logs, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, noEntry(l.whereEntry(ctx, id))
	}
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(found.Personal))
	if len(names) == 0 {
		return nil, wire.Refuse(gatehouse.ErrInvalid, "console/nothing-sealed", "Nothing of this entry belongs to a person.")
	}
	opened, err := (&proveOptions{reveal: names}).open(audit.By(ctx, actor), l.parts, found)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, wire.Refuse(gatehouse.ErrNotFound, "console/erased", "Nothing opens the fields of this entry any more: its person was erased.")
	}
	if err != nil {
		return nil, err
	}
	var out []console.NamedValue
	for _, name := range names {
		out = append(out, console.NamedValue{Name: name, Value: opened[name].Value})
	}
	return out, nil
}

func (l logSource) Proof(ctx context.Context, id string) ([]byte, error) {
	var b bytes.Buffer
	err := new(proveOptions).prove(ctx, l.parts, id, &b)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, noEntry(err)
	}
	return b.Bytes(), err
}

// logChecker says how the log is. It verifies it when it is asked to, one time after
// the other, beside calls.
type logChecker struct {
	*parts
	// asked holds whoever has it verified; it has room for one.
	asked chan verifyOrder

	// pacing makes what a verification rests by.
	pacing func() *pacer

	mu   sync.Mutex
	last console.Verification // guarded by mu
}

func newLogChecker(p *parts) *logChecker {
	return &logChecker{parts: p, asked: make(chan verifyOrder, 1), pacing: newPacer}
}

func (l *logChecker) State(ctx context.Context) (console.LogState, error) {
	state := l.log.State()
	view := console.LogState{Condition: string(state.Condition), Since: state.Since, Queued: state.Queued, Owed: state.Owed}
	if state.Cause != nil {
		view.Cause = state.Cause.Error()
	}
	list, err := l.db.AuditLogs(ctx)
	if err != nil {
		return view, err
	}
	for _, in := range list {
		head, err := l.db.AuditLog(in.Number).Head(ctx)
		if err != nil {
			return view, err
		}
		view.Logs = append(view.Logs, console.LogLine{Node: in.Node, Origin: in.Origin, Size: head.Size, Checkpoint: string(head.Note)})
	}
	return view, nil
}

func (l *logChecker) InDoubt(ctx context.Context, since time.Time) (console.DoubtView, error) {
	searcher, err := l.searcher(ctx)
	if err != nil {
		return console.DoubtView{}, err
	}
	found, err := searcher.NewestInDoubt(ctx, since, time.Now().Add(-time.Minute))
	if err != nil {
		return console.DoubtView{}, err
	}
	slices.Reverse(found.Entries)
	return console.DoubtView{Entries: entryLines(found.Entries), Looked: found.Looked, From: found.From}, nil
}

func (l *logChecker) Verification() console.Verification {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// maxProblems is how many problems of a verification are shown.
const maxProblems = 50

func (l *logChecker) verify(ctx context.Context) (audit.LogsReport, error) {
	verifier, err := readVerifier(beside(l.cfg, logKeyFile))
	if err != nil {
		return audit.LogsReport{}, err
	}
	keys, err := keptKeys(ctx, l.cfg, l.db)
	if err != nil {
		return audit.LogsReport{}, err
	}
	pace := l.pacing()
	return audit.VerifyLogs(ctx, l.db, verifier, audit.LogsOptions{Keys: keys, Progress: func(done, total int64) {
		l.mu.Lock()
		l.last.Done, l.last.Total = done, total
		l.mu.Unlock()
		pace.rest(ctx)
	}})
}
