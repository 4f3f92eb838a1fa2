package operator_test

import (
	"sync"
	"testing"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

func TestSameName(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"Grace", "Grace", true}, {"Grace", "gRACE", true}, {"Grace Hopper", " Grace   Hopper ", true}, {"Ren\u00e9", "Rene\u0301", true},
		{"\uff27race", "Grace", true}, {"Grace", "Grace H.", false}, {"Grace", "Gracee", false}, {"Ren\u00e9", "Rene", false}, {"Grace", "", false},
	} {
		if got := operator.SameName(c.a, c.b); got != c.same {
			t.Errorf("SameName(%q, %q) = %t", c.a, c.b, got)
		}
	}
}

// Whoever decides about somebody sees a name: two have none in common.
func TestNobodyTakesAnothersName(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		w.join("owner", operator.Owner)
		grace := w.join("grace", operator.Developer)
		m := w.join("mallory", operator.Developer)
		for _, name := range []string{"grace", "Grace", " GRACE "} {
			refused(t, name, w.d.SetProfile(ctx, m.self(), name, m.email), "operator/name")
		}
		if err := w.d.SetProfile(ctx, m.self(), "grace h.", m.email); err != nil {
			t.Errorf("a name of their own: %v", err)
		}
		if err := w.d.SetProfile(ctx, m.self(), "Grace H.", m.email); err != nil {
			t.Errorf("the same name, written otherwise: %v", err)
		}
		refused(t, "the address of another, with a name of their own", w.d.SetProfile(ctx, m.self(), "mallory", grace.email), "operator/email")

		invite := func(name, email string) error {
			_, _, err := w.d.Invite(ctx, operator.Host(), operator.Invitation{Name: name, Email: email, Role: operator.Developer})
			return err
		}
		refused(t, "inviting another of the name", invite("GRACE", "second@example.com"), "operator/name")
		for _, email := range []string{"nobody@example.com", "no-one@example.com"} {
			if err := invite("", email); err != nil { // who has no name yet gives one on enrolling
				t.Errorf("inviting without a name: %v", err)
			}
		}
		// A name that is free again, since its account is gone.
		if err := w.d.Remove(ctx, operator.Host(), grace.id); err != nil {
			t.Fatal(err)
		}
		if err := invite("Grace", "second@example.com"); err != nil {
			t.Errorf("inviting with the name of who was removed: %v", err)
		}
		// Of two at the same moment one gets it.
		errs := make([]error, 2)
		var group sync.WaitGroup
		for i, email := range []string{"a@example.com", "b@example.com"} {
			group.Go(func() { errs[i] = invite("Twin", email) })
		}
		group.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("two with one name at once: %v", errs)
		}
	})
}
