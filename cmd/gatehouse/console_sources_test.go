package main

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/console"
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
	ctx, k := t.Context(), keysSource{p}
	for _, name := range []string{"derive", "nothing", "system/audit-signing-key", "keyring", metacharacters} {
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

func TestConsoleServicesSource(t *testing.T) {
	_, p := consoleParts(t)
	ctx, s := t.Context(), servicesSource{p}
	list, err := s.Services(ctx)
	if err != nil || len(list) == 0 || len(list[0].Purposes) == 0 {
		t.Fatalf("services %+v, %v", list, err)
	}
	name := list[0].Name
	if _, err := s.MakeKey(ctx, "acc1", name, metacharacters); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a key for no purpose of the service: %v", err)
	}
	if _, err := s.MakeKey(ctx, "acc1", "nothing", ""); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("a key for no service: %v", err)
	}
	key, err := s.MakeKey(ctx, "acc1", name, list[0].Purposes[0])
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
	if _, err := s.Service(ctx, metacharacters); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("no service: %v", err)
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
	parties, err := destinationsSource{p, newFlowsSource(p)}.Destinations(t.Context(), "acc1")
	if err != nil || len(parties.List) != len(p.cfg.ThirdParty) {
		t.Errorf("%d third parties, %v", len(parties.List), err)
	}
}
