package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/console"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// consoleParts are a house's parts, without its listeners.
func consoleParts(t *testing.T) (*house, *parts) {
	t.Helper()
	h := newHouse(t)
	p, err := assemble(t.Context(), h.load(), newLogger(h.load().Log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.identity.EnsureServices(t.Context(), serviceNames(p.cfg)); err != nil {
		t.Fatal(err)
	}
	return h, p
}

// metacharacters are what SQL, LIKE and indexes are made of.
const metacharacters = `'; DROP TABLE audit_entries; -- " ) OR 1=1 % _ \ $1 ?`

func TestConsoleLogSource(t *testing.T) {
	_, p := consoleParts(t)
	ctx, l := t.Context(), logSource{p}
	all, err := l.Search(ctx, "acc1", console.LogQuery{}, "", 50)
	if err != nil || len(all.Entries) == 0 {
		t.Fatalf("the log has %d entries, %v", len(all.Entries), err)
	}
	// Every filter alone, with what would be another statement: it is refused, or fits
	// nothing, and the log is as it was.
	kind := reflect.TypeFor[console.LogQuery]()
	for i := range kind.NumField() {
		var q console.LogQuery
		f := reflect.ValueOf(&q).Elem().Field(i)
		switch f.Kind() {
		case reflect.String:
			f.SetString(metacharacters)
		case reflect.Slice:
			f.Set(reflect.ValueOf([]string{"a=" + metacharacters}))
		default:
			continue
		}
		page, err := l.Search(ctx, "acc1", q, "", 50)
		if err != nil && !errors.Is(err, gatehouse.ErrInvalid) || len(page.Entries) > 0 {
			t.Errorf("%s: %d entries, %v", kind.Field(i).Name, len(page.Entries), err)
		}
		if err != nil && (wire.ProblemOf(err).Detail == "" || strings.Contains(wire.ProblemOf(err).Detail, "DROP")) {
			t.Errorf("%s: says %q", kind.Field(i).Name, wire.ProblemOf(err).Detail)
		}
	}
	if page, err := l.Search(ctx, "acc1", console.LogQuery{}, metacharacters, 50); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a place that is none: %d entries, %v", len(page.Entries), err)
	}
	if _, err := l.Search(ctx, "acc1", console.LogQuery{Facts: []string{"novalue"}}, "", 50); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a fact without a value: %v", err)
	}
	again, err := l.Search(ctx, "acc1", console.LogQuery{}, "", 50)
	if err != nil || len(again.Entries) != len(all.Entries) {
		t.Fatalf("the log has %d entries, and had %d; %v", len(again.Entries), len(all.Entries), err)
	}
	// Pages go on where the one before ended.
	first, err := l.Search(ctx, "acc1", console.LogQuery{}, "", 1)
	if err != nil || first.Next == "" {
		t.Fatalf("no second page: %v", err)
	}
	second, err := l.Search(ctx, "acc1", console.LogQuery{}, first.Next, 1)
	if err != nil || second.Entries[0].ID != all.Entries[1].ID {
		t.Errorf("the second page has %v, %v", second.Entries, err)
	}
	if _, err := l.Search(ctx, "acc2", console.LogQuery{}, first.Next, 1); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("another operator goes on: %v", err)
	}

	e, err := l.Entry(ctx, all.Entries[0].ID)
	if err != nil || e.Meaning == "" || e.ID != all.Entries[0].ID {
		t.Errorf("the entry is %+v, %v", e, err)
	}
	for _, id := range []string{"nothing", metacharacters} {
		if _, err := l.Entry(ctx, id); !errors.Is(err, gatehouse.ErrNotFound) || wire.ProblemOf(err).Detail == "" {
			t.Errorf("entry %q: %v", id, err)
		}
		if _, err := l.Proof(ctx, id); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("the proof of %q: %v", id, err)
		}
		if _, err := l.Reveal(ctx, "acc1", id); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("revealing %q: %v", id, err)
		}
	}
	verifier, err := readVerifier(beside(p.cfg, logKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := l.Proof(ctx, e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if checked, err := audit.CheckProof(proof, verifier); err != nil || checked.Leaf.ID != e.ID {
		t.Errorf("the proof is of %+v, %v", checked, err)
	}
}

func TestConsoleStateOfTheLog(t *testing.T) {
	_, p := consoleParts(t)
	l := newLogChecker(p)
	state, err := l.State(t.Context())
	if err != nil || state.Condition != "writable" || len(state.Logs) == 0 || state.Logs[0].Size == 0 || state.Logs[0].Checkpoint == "" {
		t.Errorf("the state is %+v, %v", state, err)
	}
}

func TestConsoleKeysSource(t *testing.T) {
	_, p := consoleParts(t)
	ctx, k := t.Context(), keysSource{p, newKeyMover(p)}
	for _, name := range []string{"derive", "nothing", "system/audit-signing-key", "keyring@1", metacharacters} {
		if _, err := k.Rotate(ctx, "acc1", name); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("rotating %q: %v", name, err)
		}
	}
	said, err := k.Rotate(ctx, "acc1", "tokens@1")
	if err != nil || !strings.Contains(said, "tokens@2") {
		t.Fatalf("rotating: %q, %v", said, err)
	}
	view, err := k.Key(ctx, "tokens")
	if err != nil || len(view.Versions) != 2 || len(view.History) == 0 {
		t.Errorf("the key is %+v, %v", view, err)
	}
	entry, err := logSource{p}.Entry(ctx, view.History[0].ID)
	if err != nil || !slices.Contains(entry.Facts, console.NamedValue{Name: "operator", Value: "acc1"}) {
		t.Errorf("the entry does not say who did it: %+v, %v", entry.Facts, err)
	}
	// What cannot be done takes nobody's approval.
	for name, want := range map[string]error{"tokens@2": gatehouse.ErrConflict, "tokens": gatehouse.ErrNotFound, "tokens@9": gatehouse.ErrNotFound, metacharacters: gatehouse.ErrNotFound} {
		if _, err := k.Destroy(ctx, operator.Host(), name); !errors.Is(err, want) {
			t.Errorf("destroying %q: %v", name, err)
		}
	}
	stranger := operator.Actor{}
	if _, err := k.Destroy(ctx, stranger, "tokens@1"); err == nil {
		t.Error("nobody destroys a key")
	}
	if _, err := k.Destroy(ctx, operator.Host(), "tokens@1"); err != nil {
		t.Errorf("destroying a version that nothing needs: %v", err)
	}
	if view, err = k.Key(ctx, "tokens@1"); err != nil || view.Versions[0].State != string(vault.Scheduled) || view.Versions[0].Destroys {
		t.Errorf("the key is %+v, %v", view, err)
	}
}

// The keyring is made anew in the background, once at a time, and what came of it is kept.
func TestConsoleMakesTheKeyringAnew(t *testing.T) {
	_, p := consoleParts(t)
	ctx := t.Context()
	person, err := p.vault.NewPerson(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := p.vault.SealPersonal(ctx, person, "here", []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	m := newKeyMover(p)
	k := keysSource{p, m}
	view, err := k.Key(ctx, keyringName)
	if err != nil || len(view.Versions) != 1 || !view.Versions[0].Rotates {
		t.Fatalf("the keyring is %+v, %v", view, err)
	}
	before, err := p.keys.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(ctx, "acc1", keyringName); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(ctx, "acc1", keyringName); wire.RuleOf(err) != "console/moving" || k.Move("acc1") {
		t.Errorf("a second one beside it: %v", err)
	}
	if now := k.Moving(); now.Began.IsZero() || !now.Ended.IsZero() || !now.Keyring {
		t.Errorf("under way: %+v", now)
	}
	m.once(ctx, <-m.asked)
	now := k.Moving()
	if now.Ended.IsZero() || now.Failed != "" || now.People != 1 || now.KeyringKeys == 0 || now.What == "" {
		t.Errorf("done: %+v", now)
	}
	after, err := p.keys.Status(ctx)
	if err != nil || len(after.Daily) == 0 || after.Daily[len(after.Daily)-1].Version == before.Daily[len(before.Daily)-1].Version {
		t.Errorf("the daily key is %+v, was %+v, %v", after.Daily, before.Daily, err)
	}
	if plain, err := p.vault.OpenPersonal(ctx, person, "here", sealed); err != nil || string(plain) != "text" {
		t.Errorf("what was sealed before opens as %q, %v", plain, err)
	}
	if err := p.log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	list, err := audit.List(ctx, p.db.Audit(), audit.Filter{Action: "keys.rotate", Last: 10})
	if err != nil || len(list) == 0 || list[0].Facts["operator"] != "acc1" {
		t.Errorf("the log says %+v, %v", list, err)
	}
	// A version that is new has moved under it what can be.
	if _, err := k.Rotate(ctx, "acc1", "personal"); err != nil {
		t.Fatal(err)
	}
	m.once(ctx, <-m.asked)
	if now := k.Moving(); now.Keyring || now.Failed != "" || now.KeyringKeys == 0 {
		t.Errorf("moved: %+v", now)
	}
	// What stops is said, in the words of what stopped it.
	if ours, err := p.db.Vault().Lease(ctx, "keys", "another process", time.Now(), time.Now().Add(time.Minute)); err != nil || !ours {
		t.Fatalf("the lease: %v, %v", ours, err)
	}
	if !k.Move("acc1") {
		t.Error("after one, another cannot begin")
	}
	m.once(ctx, <-m.asked)
	if now := k.Moving(); now.Ended.IsZero() || !strings.Contains(now.Failed, "Another process works on keys") {
		t.Errorf("beside another process: %+v", now)
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if !k.Move("acc1") {
		t.Error("after one, another cannot begin")
	}
	order := <-m.asked
	m.once(stopped, order)
	if now := k.Moving(); !now.Ended.IsZero() {
		t.Errorf("a process that ends says that it is done: %+v", now)
	}
}

func TestConsoleServicesSource(t *testing.T) {
	_, p := consoleParts(t)
	ctx, s := t.Context(), servicesSource{p}
	list, err := s.Services(ctx)
	if err != nil || len(list) == 0 || len(list[0].Purposes) == 0 {
		t.Fatalf("services %+v, %v", list, err)
	}
	name := list[0].Name
	if _, err := s.MakeKey(ctx, "acc1", name, metacharacters, 0); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a key for no purpose of the service: %v", err)
	}
	if _, err := s.MakeKey(ctx, "acc1", "nothing", "", 0); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("a key for no service: %v", err)
	}
	// Of the right form, and not this service's; and a service that the configuration names no more.
	if _, err := s.MakeKey(ctx, "acc1", name, "elsewhere", 0); wire.RuleOf(err) != "console/field" {
		t.Errorf("a key for a purpose that the service has not: %v", err)
	}
	if err := p.identity.EnsureServices(ctx, append(serviceNames(p.cfg), "former")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.MakeKey(ctx, "acc1", "former", "", 0); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("a key for a service of before: %v", err)
	}
	for _, service := range []string{name, "former"} {
		if view, err := s.Service(ctx, service); err != nil || len(view.List) != 0 {
			t.Errorf("%s has the keys %+v, %v", service, view.List, err)
		}
	}
	key, err := s.MakeKey(ctx, "acc1", name, list[0].Purposes[0], 0)
	if err != nil || key.Text.IsZero() || key.Purpose != list[0].Purposes[0] {
		t.Fatalf("the key is for %q, %v", key.Purpose, err)
	}
	if err := s.RevokeKey(ctx, "acc1", "another", key.ID); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("revoking a key of another service: %v", err)
	}
	if err := s.RevokeKey(ctx, "acc1", name, metacharacters); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("revoking no key: %v", err)
	}
	if err := s.RevokeKey(ctx, "acc1", name, key.ID); err != nil {
		t.Fatal(err)
	}
	view, err := s.Service(ctx, name)
	i := slices.IndexFunc(view.List, func(k console.ServiceKeyLine) bool { return k.ID == key.ID })
	if err != nil || i < 0 || view.List[i].State != "revoked" {
		t.Errorf("the service is %+v, %v", view, err)
	}
	if _, _, err := s.CutOff(ctx, "acc1", "nothing"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("cutting off no service: %v", err)
	}
	if _, _, err := p.identity.NewHandle(ctx, identity.HandleRequest{Service: gatehouse.ServiceName(name), Connection: "con1", Purpose: gatehouse.PurposeName(list[0].Purposes[0]), Platform: gatehouse.X, App: demoX}); err != nil {
		t.Fatal(err)
	}
	if ended, more, err := s.CutOff(ctx, "acc1", name); err != nil || ended != 1 || more {
		t.Errorf("cutting off: %d, %v, %v", ended, more, err)
	}
	if err := p.log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if entries, err := audit.List(ctx, p.db.Audit(), audit.Filter{Action: "handle.revoke", Last: 10}); err != nil || len(entries) == 0 || !slices.ContainsFunc(entries, func(e audit.Shown) bool { return e.Facts["operator"] == "acc1" }) {
		t.Errorf("the log does not say who cut off: %+v, %v", entries, err)
	}
	if _, err := s.Service(ctx, metacharacters); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("no service: %v", err)
	}
}

// A key is replaced from the console as it is by the command.
func TestConsoleRotatesServiceKeys(t *testing.T) {
	_, p := consoleParts(t)
	ctx, s := t.Context(), servicesSource{p}
	list, err := s.Services(ctx)
	if err != nil || len(list) == 0 {
		t.Fatalf("services %+v, %v", list, err)
	}
	name := list[0].Name
	old, err := s.MakeKey(ctx, "acc1", name, console.KeyForNone, console.KeyWithoutEnd)
	if err != nil || !old.Expires.IsZero() {
		t.Fatalf("the key ends at %v, %v", old.Expires, err)
	}
	line := func(id string) console.ServiceKeyLine {
		t.Helper()
		view, err := s.Service(ctx, name)
		i := slices.IndexFunc(view.List, func(k console.ServiceKeyLine) bool { return k.ID == id })
		if err != nil || i < 0 {
			t.Fatalf("the service is %+v, %v", view, err)
		}
		return view.List[i]
	}
	if err := s.EndKey(ctx, "acc1", name, old.ID); wire.RuleOf(err) != "console/not-rotated" || line(old.ID).State != "works" {
		t.Errorf("ending a key without a successor: %v", err)
	}
	for _, service := range []string{"another", metacharacters} {
		if _, err := s.RotateKey(ctx, "acc1", service, old.ID, time.Hour, 0, false); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("rotating a key of another service: %v", err)
		}
		if err := s.EndKey(ctx, "acc1", service, old.ID); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("ending a key of another service: %v", err)
		}
	}
	next, err := s.RotateKey(ctx, "acc1", name, old.ID, time.Hour, 48*time.Hour, false)
	if err != nil || next.Text.IsZero() || next.Replaces != old.ID || next.Purpose != console.KeyForNone || next.OldEnds.IsZero() || time.Until(next.OldEnds) > time.Hour {
		t.Fatalf("the successor of %s is %s, %v", old.ID, next.ID, err)
	}
	if l := line(old.ID); l.State != "rotating" || l.Successor != next.ID || l.Log == "" || !l.Expires.Equal(next.OldEnds) {
		t.Errorf("the old key is %+v", l)
	}
	if l := line(next.ID); l.State != "works" || l.Replaces != old.ID || !l.Expires.Equal(next.Expires) {
		t.Errorf("the new key is %+v", l)
	}
	if _, err := s.RotateKey(ctx, "acc1", name, old.ID, time.Hour, 0, false); wire.RuleOf(err) != "console/rotated" || !strings.Contains(wire.ProblemOf(err).Detail, "not used yet") {
		t.Errorf("rotating twice: %v", err)
	}
	again, err := s.RotateKey(ctx, "acc1", name, old.ID, time.Hour, 0, true)
	if err != nil || line(next.ID).State != "revoked" || line(old.ID).Successor != again.ID {
		t.Errorf("made again: %s, %v", again.ID, err)
	}
	caller, err := p.identity.AuthenticateService(ctx, again.Text)
	if err != nil {
		t.Fatal(err)
	}
	p.identity.KeyUsed(caller.Key.ID, netip.MustParseAddr("192.0.2.1"))
	if err := p.identity.FlushKeyUses(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RotateKey(ctx, "acc1", name, old.ID, time.Hour, 0, true); wire.RuleOf(err) != "console/rotated" || !strings.Contains(wire.ProblemOf(err).Detail, "in use") || line(again.ID).State != "works" {
		t.Errorf("making one again that is in use: %v", err)
	}
	if err := s.EndKey(ctx, "acc1", name, old.ID); err != nil || line(old.ID).State != "ended" {
		t.Errorf("finishing: %v, %+v", err, line(old.ID))
	}
	if _, err := s.RotateKey(ctx, "acc1", name, old.ID, time.Hour, 0, false); wire.RuleOf(err) != "console/ended" {
		t.Errorf("rotating what ended: %v", err)
	}
	if err := s.RevokeKey(ctx, "acc1", name, again.ID); err != nil {
		t.Fatal(err)
	}
	if err := p.log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	// Each entry says who did it.
	for _, action := range []string{"service.key.create", "service.key.expire", "service.key.revoke"} {
		entries, err := audit.List(ctx, p.db.Audit(), audit.Filter{Action: action, Last: 100})
		if err != nil || len(entries) == 0 {
			t.Fatalf("%s: %d entries, %v", action, len(entries), err)
		}
		for _, e := range entries {
			if e.Kind == audit.KindIntent && e.Facts["operator"] != "acc1" {
				t.Errorf("%s does not say who did it: %v", action, e.Facts)
			}
		}
	}
}

func TestConsoleConfigurationSource(t *testing.T) {
	h, p := consoleParts(t)
	before := fileAgainst(p.configured())
	if len(before.Errors) > 0 || before.Hash != p.cfg.Hash() || len(before.Changes) > 0 || !strings.Contains(before.Text, "purposes:") {
		t.Fatalf("the file is %+v", before)
	}
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(more string) console.ConfigurationFile {
		t.Helper()
		if err := os.WriteFile(h.config, append(slices.Clone(text), more...), 0o600); err != nil {
			t.Fatal(err)
		}
		return fileAgainst(p.configured())
	}
	if f := write("\n# the password is hunter2\n"); len(f.Changes) > 0 || f.Hash == p.cfg.Hash() || strings.Contains(f.Text, "hunter2") {
		t.Errorf("with a comment, the file is %+v", f)
	}
	// A file that is not accepted may hold anything, and is not shown.
	if f := write("\nnothing_known: hunter2\n"); len(f.Errors) == 0 || f.Text != "" || strings.Contains(strings.Join(f.Errors, ""), "hunter2") {
		t.Errorf("with an unknown key, the file is %+v", f)
	}
	if err := os.Remove(h.config); err != nil {
		t.Fatal(err)
	}
	if f := fileAgainst(p.configured()); len(f.Errors) != 1 {
		t.Errorf("without the file: %+v", f)
	}
}

func TestConsolePurposesAndDestinations(t *testing.T) {
	_, p := consoleParts(t)
	view, err := purposesSource{p}.Purposes(t.Context())
	if err != nil || len(view.Purposes) != len(p.cfg.Purposes) {
		t.Fatalf("%d purposes, %v", len(view.Purposes), err)
	}
	for _, x := range view.Purposes {
		declared := p.cfg.Purposes[gatehouse.PurposeName(x.Name)]
		if x.Why != declared.Why || len(x.Calls) != len(declared.Calls) {
			t.Errorf("purpose %s is %+v", x.Name, x)
		}
	}
	parties, err := newDestinationsSource(p).Destinations(t.Context(), "acc1")
	if err != nil || len(parties.List) != len(p.cfg.ThirdParty) {
		t.Errorf("%d third parties, %v", len(parties.List), err)
	}
}

// TestConsoleConnectionOfManyEntries: of a person of whom the log has much, not all is read
// to show one connection, and what is shown says so.
func TestConsoleConnectionOfManyEntries(t *testing.T) {
	_, p := consoleParts(t)
	ctx, c := t.Context(), connectionsSource{p}
	person, err := p.vault.NewPerson(ctx)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	ids := []string{"con1", "con2"}
	for _, id := range ids {
		err := p.db.Connect().SaveConnections(ctx, connect.Record{
			ID: gatehouse.ConnectionID(id), App: demoX, Platform: gatehouse.X, Kind: connect.KindUser, Service: "demo", Person: person, Status: connect.Healthy,
			UserHash: id, SubjectHash: id, Redeemed: now, Created: now, Updated: now, Obtained: now,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	enter := func(id, action string, times int) {
		t.Helper()
		for range times {
			p.log.Refusal(audit.Entry{Action: action, Person: person, Search: id, Personal: map[string]string{"connection": id}})
		}
		if err := p.log.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	show := func(id string) console.ConnectionView {
		t.Helper()
		v, err := c.Connection(ctx, "acc1", id, true)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	enter("con1", "connect.refresh", 2)
	enter("con2", "call", 5)
	if v := show("con1"); v.PartOfEntries || v.PartOfRenewals || len(v.Renewals) != 2 || len(v.Entries) < 2 {
		t.Errorf("of few entries it shows %d renewals and %d entries, and in part: %v %v", len(v.Renewals), len(v.Entries), v.PartOfRenewals, v.PartOfEntries)
	}
	enter("con2", "call", maxOfPerson+100)
	if v := show("con1"); !v.PartOfRenewals || len(v.Renewals) != 0 || !v.PartOfEntries || len(v.Entries) >= maxEntries {
		t.Errorf("of many entries it shows %d renewals and %d entries, and in part: %v %v", len(v.Renewals), len(v.Entries), v.PartOfRenewals, v.PartOfEntries)
	}
	if v := show("con2"); v.PartOfEntries || len(v.Entries) != maxEntries {
		t.Errorf("it shows %d entries, in part: %v", len(v.Entries), v.PartOfEntries)
	}
}

// TestConsoleEntryFarFromItsOutcome: the page of an intent finds its outcome among what
// follows, and does not say that there is none where it did not look.
func TestConsoleEntryFarFromItsOutcome(t *testing.T) {
	_, p := consoleParts(t)
	ctx, l := t.Context(), logSource{p}
	begin := func() audit.Receipt {
		t.Helper()
		receipt, err := p.log.Intent(ctx, audit.Entry{Action: "call", Service: "demo"})
		if err != nil {
			t.Fatal(err)
		}
		return receipt
	}
	near, far, never := begin(), begin(), begin()
	p.log.Outcome(near, audit.Entry{})
	for range maxToOutcome {
		p.log.Refusal(audit.Entry{Action: "call", Service: "demo"})
	}
	p.log.Outcome(far, audit.Entry{})
	last := begin()
	if err := p.log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		of       audit.Receipt
		outcomes int
		notNear  bool
	}{{near, 1, false}, {far, 0, true}, {never, 0, true}, {last, 0, false}} {
		e, err := l.Entry(ctx, c.of.ID())
		if err != nil || len(e.Outcomes) != c.outcomes || e.NotNear != c.notNear {
			t.Errorf("%d outcomes, not near: %v, %v; want %+v", len(e.Outcomes), e.NotNear, err, c)
		}
		for _, o := range e.Outcomes {
			if back, err := l.Entry(ctx, o.ID); err != nil || back.Began == nil || back.Began.ID != c.of.ID() {
				t.Errorf("the outcome leads back to %+v, %v", back.Began, err)
			}
		}
	}
}

// TestConsoleDestinations: when something was last sent is kept for a moment, and then
// looked for no further back than it was known.
func TestConsoleDestinations(t *testing.T) {
	_, p := consoleParts(t)
	ctx, d := t.Context(), newDestinationsSource(p)
	sent := func(verdict string) {
		t.Helper()
		e := audit.Entry{Action: "egress.call", Service: "demo", Facts: map[string]string{"host": demoParty, "sent": "7", "received": "2"}}
		if verdict == "refuse" {
			p.log.Refusal(e)
		} else {
			receipt, err := p.log.Intent(ctx, e)
			if err != nil {
				t.Fatal(err)
			}
			if verdict == "done" {
				p.log.Outcome(receipt, e)
			}
		}
		if err := p.log.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	last := func() time.Time {
		t.Helper()
		view, err := d.Destinations(ctx, "acc1")
		if err != nil || len(view.List) != 1 || view.List[0].Host != demoParty || view.At.IsZero() {
			t.Fatalf("%+v, %v", view, err)
		}
		return view.List[0].Last
	}
	one := func() console.DestinationView {
		t.Helper()
		x, err := d.Destination(ctx, "acc1", demoParty)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	sent("refuse")
	if at := last(); !at.IsZero() || !one().Last.IsZero() {
		t.Errorf("what was refused was sent at %v", at)
	}
	sent("done")
	if at := last(); !at.IsZero() {
		t.Errorf("it is looked for again at once, and found at %v", at)
	}
	d.kept.at = d.kept.at.Add(-lastKept)
	first := last()
	if first.IsZero() || !first.Equal(one().Last) {
		t.Errorf("last sent at %v, not at %v", first, one().Last)
	}
	sent("intent")
	d.kept.at = d.kept.at.Add(-lastKept)
	if at := last(); !at.After(first) || !at.Equal(one().Last) {
		t.Errorf("what is under way was sent at %v, and what ended at %v", at, first)
	}
	// What is known stays, however far back it lies.
	long := time.Now().Add(24 * time.Hour)
	d.kept.last = map[string]time.Time{demoParty: long}
	d.kept.at = long
	if at := last(); !at.Equal(long) {
		t.Errorf("what was known is forgotten: %v", at)
	}
	if x := one(); x.Requests != 1 || x.Sent != 7 || x.Received != 2 {
		t.Errorf("the sums are %+v", x)
	}
	for range maxSentSummed {
		sent("done")
	}
	if x := one(); x.Requests != maxSentSummed || x.Sent != 7*maxSentSummed {
		t.Errorf("the sums are of %d requests: %d bytes", x.Requests, x.Sent)
	}
	if _, err := d.Destination(ctx, "acc1", "other.example"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("nobody declared: %v", err)
	}
}

// TestConsoleConnectionThatWasChanged: the console is told which row does not open.
func TestConsoleConnectionThatWasChanged(t *testing.T) {
	_, p := consoleParts(t)
	ctx, c := t.Context(), connectionsSource{p}
	person, err := p.vault.NewPerson(ctx)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	for id, name := range map[string][]byte{"con1": []byte("changed"), "con2": nil} {
		err := p.db.Connect().SaveConnections(ctx, connect.Record{
			ID: gatehouse.ConnectionID(id), App: demoX, Platform: gatehouse.X, Kind: connect.KindUser, Service: "demo", Person: person, Status: connect.Healthy,
			UserHash: id, SubjectHash: id, NameSealed: name, Redeemed: now, Created: now, Updated: now, Obtained: now,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.Connections(ctx, console.ConnectionsQuery{})
	if err != nil || len(list.Connections) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, line := range list.Connections {
		v, err := c.Connection(ctx, "acc1", line.ID, false)
		if changed := line.ID == "con1"; err != nil || line.Unreadable != changed || v.Unreadable != changed || v.Next != line.Next {
			t.Errorf("%+v, %+v, %v", line, v.ConnectionLine, err)
		}
	}
}
