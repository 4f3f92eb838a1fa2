package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func eachStepup(t *testing.T, f func(t *testing.T, s stepup.Store)) {
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, storetest.Open(t, dsn).Stepup()) })
}

func stepupRequest(id, person string) stepup.Request {
	return stepup.Request{
		ID: id, Service: "web", Person: gatehouse.PersonID(person), About: []byte{1, 0}, Methods: []stepup.Method{stepup.Passkey, stepup.TOTP}, Add: true, MaxAge: time.Minute,
		ReturnTo: "https://app.example.com/back", AppState: "s", Stage: stepup.Asked, Created: moment(0), Expires: moment(time.Hour),
	}
}

func addRequest(t *testing.T, s stepup.Store, id, person string) *stepup.Request {
	t.Helper()
	r := stepupRequest(id, person)
	if err := s.AddRequest(t.Context(), &r, []byte{9}, 20); err != nil {
		t.Fatal(err)
	}
	return &r
}

func recoveryHashes(n ...byte) (all []factor.RecoveryHash) {
	for _, b := range n {
		all = append(all, factor.RecoveryHash{b})
	}
	return all
}

func TestStepupRequestIsSavedByItsVersion(t *testing.T) {
	eachStepup(t, func(t *testing.T, s stepup.Store) {
		ctx := t.Context()
		if _, err := s.Request(ctx, "one"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown request: %v", err)
		}
		r := addRequest(t, s, "one", "ada")
		stale := *r
		r.Stage, r.BrowserHash, r.Ceremony, r.Pending = stepup.Started, "hash", []byte{2, 0}, []byte{3}
		r.Proved, r.ProvedBy, r.Enrolled, r.First, r.Wrong, r.Begun, r.CodeHash, r.Expires = moment(time.Second), stepup.TOTP, stepup.Passkey, true, 2, 3, "code", moment(2*time.Hour)
		if err := s.SaveRequest(ctx, r); err != nil {
			t.Fatal(err)
		}
		got, err := s.Request(ctx, "one")
		if err != nil || cmp.Diff(*r, got) != "" {
			t.Errorf("it comes back as %s, %v", cmp.Diff(*r, got), err)
		}
		if err := s.SaveRequest(ctx, &stale); !errors.Is(err, gatehouse.ErrConflict) || stale.Version != 1 {
			t.Errorf("saving what was read before: %v", err)
		}
		if err := s.AddRequest(ctx, &stale, nil, 20); err == nil {
			t.Error("a request is stored twice")
		}
	})
}

func TestStepupRequestsOfAPersonAreBounded(t *testing.T) {
	eachStepup(t, func(t *testing.T, s stepup.Store) {
		ctx := t.Context()
		there := func(ids ...string) {
			t.Helper()
			for _, id := range []string{"a", "b", "c", "d", "e"} {
				if _, err := s.Request(ctx, id); errors.Is(err, gatehouse.ErrNotFound) == slices.Contains(ids, id) {
					t.Errorf("request %s: %v", id, err)
				}
			}
		}
		add := func(id, person string, at time.Duration) *stepup.Request {
			t.Helper()
			r := stepupRequest(id, person)
			r.Created, r.Expires = moment(at), moment(at+time.Hour)
			if err := s.AddRequest(ctx, &r, []byte{9}, 2); err != nil {
				t.Fatal(err)
			}
			return &r
		}
		a := add("a", "ada", 0)
		if err := s.Enrol(ctx, a, stepup.Factor{ID: "fa", Person: "ada", Request: "a", Method: stepup.TOTP, Sealed: []byte{1}, Created: moment(0)}, recoveryHashes(1)); err != nil {
			t.Fatal(err)
		}
		add("b", "ada", time.Second)
		add("c", "bob", 2*time.Second)
		there("a", "b", "c")
		add("d", "ada", 3*time.Second)
		there("b", "c", "d")
		// What a set up went with it: its id and hash are free again.
		if err := s.Enrol(ctx, add("a", "ada", 4*time.Second), stepup.Factor{ID: "fa", Person: "ada", Request: "a", Method: stepup.TOTP, Sealed: []byte{1}, Created: moment(0)}, recoveryHashes(1)); err != nil {
			t.Error(err)
		}
		add("e", "eve", 26*time.Hour)
		there("e")
	})
}

func TestStepupFactorsCountWhenFinished(t *testing.T) {
	eachStepup(t, func(t *testing.T, s stepup.Store) {
		ctx := t.Context()
		has := func(person string, left int, ids ...string) []stepup.Factor {
			t.Helper()
			factors, n, err := s.Factors(ctx, gatehouse.PersonID(person))
			var got []string
			for _, f := range factors {
				got = append(got, f.ID)
			}
			if err != nil || n != left || !slices.Equal(got, ids) {
				t.Errorf("%s has %v and %d codes, %v; want %v and %d", person, got, n, err, ids, left)
			}
			return factors
		}
		enrol := func(request, id string, codes ...byte) *stepup.Request {
			t.Helper()
			r := addRequest(t, s, request, "ada")
			r.Stage, r.Enrolled, r.First = stepup.Coded, stepup.Passkey, true
			f := stepup.Factor{ID: id, Person: "ada", Request: request, Method: stepup.Passkey, Site: "example.com", Sealed: []byte{7, 0}, Step: 5, Created: moment(0)}
			if err := s.Enrol(ctx, r, f, recoveryHashes(codes...)); err != nil {
				t.Fatal(err)
			}
			return r
		}
		one, two, three := enrol("one", "f1", 1, 2), enrol("two", "f2", 3, 4), enrol("three", "f3", 5)
		has("ada", 0)
		two.Stage = stepup.Burnt
		if err := s.SaveRequest(ctx, two); err != nil {
			t.Fatal(err)
		}
		one.Stage, two.Stage, three.Stage = stepup.Redeemed, stepup.Redeemed, stepup.Redeemed
		if err := s.Finish(ctx, one); err != nil {
			t.Fatal(err)
		}
		factors := has("ada", 2, "f1")
		want := []stepup.Factor{{ID: "f1", Person: "ada", Method: stepup.Passkey, Site: "example.com", Sealed: []byte{7, 0}, Step: 5, Created: moment(0), Version: 2}}
		if d := cmp.Diff(want, factors); d != "" {
			t.Error(d)
		}
		if err := s.Finish(ctx, three); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("a first factor beside another: %v", err)
		}
		has("ada", 2, "f1")
		three.First = false
		if err := s.Finish(ctx, three); err != nil {
			t.Fatal(err)
		}
		has("ada", 1, "f1", "f3") // new codes take the place of the old ones
		two.First = false
		if err := s.Finish(ctx, two); err != nil {
			t.Fatal(err)
		}
		has("ada", 1, "f1", "f3") // what was burnt does not come back
		if err := s.Finish(ctx, &stepup.Request{ID: "one", Version: 1}); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("finishing what was read before: %v", err)
		}
		if n, err := s.Reset(ctx, "ada"); err != nil || n != 2 {
			t.Errorf("Reset = %d, %v", n, err)
		}
		has("ada", 0)
		if _, err := s.Request(ctx, "one"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a request after a reset: %v", err)
		}
	})
}

func TestStepupFactorIsUsedOnce(t *testing.T) {
	eachStepup(t, func(t *testing.T, s stepup.Store) {
		ctx := t.Context()
		r := addRequest(t, s, "one", "ada")
		f := stepup.Factor{ID: "f", Person: "ada", Request: "one", Method: stepup.TOTP, Sealed: []byte{7}, Step: 5, Created: moment(0), Version: 1}
		if err := s.Enrol(ctx, r, f, recoveryHashes(1, 2)); err != nil {
			t.Fatal(err)
		}
		use := func(what string, want error, change func(*stepup.Factor)) {
			t.Helper()
			next := f
			change(&next)
			before := *r
			err := s.UseFactor(ctx, r, next)
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
			if got, err := s.Request(ctx, "one"); err != nil || got.Version != r.Version || want != nil && r.Version != before.Version {
				t.Errorf("%s: the request has version %d, %v", what, got.Version, err)
			}
		}
		use("one that does not count", gatehouse.ErrConflict, func(n *stepup.Factor) { n.Step = 6 })
		if err := s.UseRecovery(ctx, r, recoveryHashes(1)[0]); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a recovery code that does not count: %v", err)
		}
		if err := s.Finish(ctx, r); err != nil {
			t.Fatal(err)
		}
		use("what was read before", gatehouse.ErrConflict, func(n *stepup.Factor) { n.Step = 6 })
		f.Version = 2
		use("the same step", gatehouse.ErrConflict, func(*stepup.Factor) {})
		use("an older step", gatehouse.ErrConflict, func(n *stepup.Factor) { n.Step = 4 })
		use("the next step", nil, func(n *stepup.Factor) { n.Step, n.Used, n.Sealed = 6, moment(time.Hour), []byte{8} })
		use("the next step again", gatehouse.ErrConflict, func(n *stepup.Factor) { n.Step = 7 })
		factors, _, err := s.Factors(ctx, "ada")
		if err != nil || len(factors) != 1 || factors[0].Step != 6 || !factors[0].Used.Equal(moment(time.Hour)) || factors[0].Sealed[0] != 8 || factors[0].Version != 3 {
			t.Errorf("the factor is %+v, %v", factors, err)
		}
		f.Version, f.Step = 3, 7
		stale := *r
		stale.Version--
		if err := s.UseFactor(ctx, &stale, f); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("with a request that was read before: %v", err)
		}
		known := func(person gatehouse.PersonID) error { _, err := s.Browser(ctx, person, "b"); return err }
		for _, person := range []gatehouse.PersonID{"ada", "eve"} {
			if err := s.Remember(ctx, stepup.Browser{Person: person, Hash: "b", Proved: moment(0), By: stepup.TOTP}, "", 3); err != nil || known(person) != nil {
				t.Fatal(err, known(person))
			}
		}
		if err := s.Block(ctx, "f"); err != nil {
			t.Fatal(err)
		}
		if err := known("ada"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a browser that is known by a factor that was copied: %v", err)
		}
		if err := known("eve"); err != nil {
			t.Errorf("somebody else's browser: %v", err)
		}
		f.Version = 4
		use("a blocked one", gatehouse.ErrConflict, func(*stepup.Factor) {})

		if err := s.UseRecovery(ctx, r, recoveryHashes(2)[0]); err != nil {
			t.Errorf("a recovery code: %v", err)
		}
		if err := s.UseRecovery(ctx, r, recoveryHashes(2)[0]); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a recovery code again: %v", err)
		}
		bob := addRequest(t, s, "two", "bob")
		if err := s.UseRecovery(ctx, bob, recoveryHashes(1)[0]); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("somebody else's recovery code: %v", err)
		}
	})
}

func TestStepupBrowsers(t *testing.T) {
	eachStepup(t, func(t *testing.T, s stepup.Store) {
		ctx := t.Context()
		for i := range 4 {
			b := stepup.Browser{Person: "ada", Hash: fmt.Sprint("b", i), Proved: moment(time.Duration(i) * time.Second), By: stepup.TOTP}
			if err := s.Remember(ctx, b, "", 3); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Browser(ctx, "ada", b.Hash); err != nil || got != b {
				t.Errorf("it comes back as %+v, %v", got, err)
			}
		}
		for _, missing := range [][2]string{{"ada", "b0"}, {"bob", "b1"}, {"ada", ""}} {
			if _, err := s.Browser(ctx, gatehouse.PersonID(missing[0]), missing[1]); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("browser %v: %v", missing, err)
			}
		}
		again := stepup.Browser{Person: "ada", Hash: "b1", Proved: moment(time.Hour), By: stepup.Passkey}
		if err := s.Remember(ctx, again, "", 3); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Browser(ctx, "ada", "b1"); err != nil || got != again {
			t.Errorf("it comes back as %+v, %v", got, err)
		}
		// In the place of another: of the same person only.
		for _, b := range []stepup.Browser{
			{Person: "ada", Hash: "new", Proved: moment(2 * time.Hour), By: stepup.Passkey}, {Person: "bob", Hash: "bobs", Proved: moment(2 * time.Hour), By: stepup.Passkey},
		} {
			if err := s.Remember(ctx, b, map[bool]string{true: "b1", false: "b3"}[b.Person == "ada"], 3); err != nil {
				t.Fatal(err)
			}
		}
		for hash, there := range map[string]bool{"b1": false, "b3": true, "new": true} {
			if _, err := s.Browser(ctx, "ada", hash); (err == nil) != there {
				t.Errorf("browser %s: %v", hash, err)
			}
		}
	})
}

func TestStepupGuesses(t *testing.T) {
	eachStepup(t, func(t *testing.T, s stepup.Store) {
		ctx := t.Context()
		guess := func(hash string, at time.Duration) (time.Time, error) {
			return s.Guess(ctx, "ada", hash, moment(at), time.Minute, 3)
		}
		// Many at once take no more than there are.
		var group sync.WaitGroup
		outcomes := make(chan error, 8)
		for range 8 {
			group.Go(func() { _, err := guess("", 0); outcomes <- err })
		}
		group.Wait()
		taken := 0
		for range 8 {
			if err := <-outcomes; err == nil {
				taken++
			} else if !errors.Is(err, gatehouse.ErrLimited) {
				t.Error(err)
			}
		}
		if taken != 3 {
			t.Errorf("%d guesses of a budget of 3", taken)
		}
		if next, err := guess("", 0); !errors.Is(err, gatehouse.ErrLimited) || !next.Equal(moment(time.Minute)) {
			t.Errorf("the next guess is at %v, %v", next, err)
		}
		if _, err := guess("known", 0); err != nil {
			t.Errorf("a known browser's: %v", err)
		}
		if _, err := guess("", time.Minute-time.Microsecond); !errors.Is(err, gatehouse.ErrLimited) {
			t.Errorf("just before it: %v", err)
		}
		if _, err := guess("", time.Minute); err != nil {
			t.Errorf("then: %v", err)
		}
		if _, err := guess("", time.Minute); !errors.Is(err, gatehouse.ErrLimited) {
			t.Errorf("and again: %v", err)
		}
		if err := s.Unguess(ctx, "ada", "", time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := guess("", time.Minute); err != nil {
			t.Errorf("what was given back: %v", err)
		}
		// A browser that has only guessed is not known.
		if _, err := s.Browser(ctx, "ada", "known"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a browser that has only guessed: %v", err)
		}
	})
}
