package stepup_test

import (
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// person is the person of a subject.
func (w *world) person(subject string) gatehouse.PersonID {
	w.t.Helper()
	p, err := w.records.PersonOfSubject(w.t.Context(), gatehouse.Subject(subject), false)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestHolders(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		if list, next, err := w.stepups.Holders(ctx, stepup.Place{}, 10); err != nil || len(list) > 0 || !next.IsZero() {
			t.Errorf("an empty list is %+v, %v, %v", list, next, err)
		}
		ada := w.enrolled("ada", stepup.TOTP, stepup.Passkey)
		w.human("grace").begin(ask("grace"))
		open, _ := ada.begin(ask("ada"))
		list, next, err := w.stepups.Holders(ctx, stepup.Place{}, 1)
		if err != nil || len(list) != 1 || list[0].Person != w.person("ada") || list[0].Subject != "" || next.IsZero() {
			t.Fatalf("the first of the list is %+v, %v, %v", list, next, err)
		}
		want := stepup.Holder{Person: w.person("ada"), Passkeys: 1, TOTP: 1, RecoveryLeft: 10, Open: 1}
		if d := cmp.Diff(want, list[0], cmpopts.IgnoreFields(stepup.Holder{}, "Asked", "Proved")); d != "" || list[0].Proved.IsZero() || list[0].Asked.IsZero() {
			t.Errorf("ada is %s", d)
		}
		again, err := stepup.ParsePlace(next.String())
		if err != nil || again != next {
			t.Errorf("the place %q is read as %v, %v", next, again, err)
		}
		if list, next, err = w.stepups.Holders(ctx, again, 1); err != nil || len(list) != 1 || list[0].Person != w.person("grace") || !next.IsZero() || list[0].Factors() != 0 || list[0].Open != 1 {
			t.Errorf("the second is %+v, %v, %v", list, next, err)
		}

		h, factors, opens, err := w.stepups.Holder(ctx, w.person("ada"))
		if err != nil || h.Subject != "ada" || len(factors) != 2 || len(opens) != 1 || opens[0].ID != open || opens[0].Stage != stepup.Started || opens[0].Service != "web" {
			t.Errorf("ada is %+v with %+v and %+v, %v", h, factors, opens, err)
		}
		for _, f := range factors {
			if f.Sealed != nil || f.Step != 0 {
				t.Error("an operator is shown what a factor consists of")
			}
		}
		if list, err := w.stepups.Opens(ctx, 10); err != nil || len(list) != 2 || list[0].ID != open {
			t.Errorf("open are %+v, %v", list, err)
		}
		if sums, err := w.stepups.Sums(ctx, 10); err != nil || sums != (stepup.Sums{Open: 2}) {
			t.Errorf("the sums are %+v, %v", sums, err)
		}
		_, _, _, err = w.stepups.Holder(ctx, "perNobody")
		wantRule(t, "somebody for whom nothing was asked", "stepup/no-holder", err)
		if dump := w.dump(); strings.Contains(dump, `"ada"`) || strings.Contains(dump, "\nada\n") {
			t.Error("the database holds a subject in clear")
		}
	})
}

func TestResetHolder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		h := w.enrolled("ada", stepup.Passkey)
		w.enrolled("grace", stepup.Passkey)
		open, _ := h.begin(ask("ada"))
		ada := w.person("ada")
		_, err := w.stepups.ResetHolder(ctx, "perNobody", "")
		wantRule(t, "nobody", "stepup/no-holder", err)
		_, err = w.stepups.ResetHolder(ctx, ada, "grace")
		wantRule(t, "another's name", "stepup/not-theirs", err)
		w.deaf = true
		if _, err := w.stepups.ResetHolder(ctx, ada, ""); err == nil {
			t.Error("factors go without a word")
		}
		w.deaf = false
		if held, err := w.stepups.Holds(ctx, "web", "ada"); err != nil || len(held.Methods) != 1 {
			t.Fatalf("after what was refused, ada has %+v, %v", held, err)
		}
		if n, err := w.stepups.ResetHolder(ctx, ada, ""); err != nil || n != 1 {
			t.Errorf("resetting: %d, %v", n, err)
		}
		if held, err := w.stepups.Holds(ctx, "web", "ada"); err != nil || len(held.Methods)+held.RecoveryLeft > 0 {
			t.Errorf("ada has %+v, %v", held, err)
		}
		if held, err := w.stepups.Holds(ctx, "web", "grace"); err != nil || len(held.Methods) != 1 {
			t.Errorf("grace has %+v, %v", held, err)
		}
		_, err = h.touch(open)
		wantRule(t, "a step-up of before", "stepup/unknown-link", err)
		if got := w.events(); !slices.Contains(got, "stepup.reset ada ") {
			t.Errorf("the app was told %q", got)
		}
		_, err = w.stepups.ResetHolder(ctx, ada, "")
		wantRule(t, "a second time", "stepup/nothing", err)
		for _, e := range w.entries("stepup.reset") {
			if e.Service != "" {
				t.Errorf("an operator's reset is %q's", e.Service)
			}
		}
	})
}

// Somebody whose name is not noted is reset by it.
func TestResetHolderOfNoName(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.enrolled("ada", stepup.Passkey)
		storetest.OpenRaw(t, w.DSN).Exec("UPDATE stepup_people SET subject = NULL")
		_, err := w.stepups.ResetHolder(t.Context(), w.person("ada"), "")
		wantRule(t, "without a name", "stepup/nameless", err)
		if n, err := w.stepups.ResetHolder(t.Context(), w.person("ada"), "ada"); err != nil || n != 1 {
			t.Errorf("by name: %d, %v", n, err)
		}
		if got := w.events(); !slices.Contains(got, "stepup.reset ada ") {
			t.Errorf("the app was told %q", got)
		}
	})
}

func TestPlace(t *testing.T) {
	for _, bad := range []string{"x", "-per", "zz!-per", "-1-per", "1-", "1-a\x00", "99999999999999999999-per", "1-" + strings.Repeat("p", 101)} {
		_, err := stepup.ParsePlace(bad)
		wantRule(t, bad, "stepup/place", err)
	}
	if p, err := stepup.ParsePlace(""); err != nil || !p.IsZero() || p.String() != "" {
		t.Errorf("the beginning is %v, %v", p, err)
	}
	if p, err := stepup.ParsePlace("1-" + strings.Repeat("p", 100)); err != nil || p.Asked.UnixMicro() != 1 {
		t.Errorf("a place is %v, %v", p, err)
	}
}

func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{"", "1-perA", "hq3z-perB", "-", "1-\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := stepup.ParsePlace(text)
		if err != nil {
			return
		}
		if again, err := stepup.ParsePlace(p.String()); err != nil || again != p {
			t.Errorf("%q is %v, which is read as %v, %v", text, p, again, err)
		}
	})
}
