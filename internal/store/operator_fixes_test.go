package store_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// What a provider said of half a sign-in is stored with it.
func TestAHalfKeepsWhatAProviderSaid(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := withOperators(t, dsn, "ada")
		for _, want := range []operator.TokenRecord{
			{Hash: operator.Hash{1}, Kind: "provider", Account: "ada", Created: day, Until: day.Add(time.Minute), Groups: []string{"a, b", "c\"\n"}, Proved: day.Add(-time.Hour), MAC: "m"},
			{Hash: operator.Hash{2}, Kind: "half", Account: "ada", Binding: operator.Hash{3}, Created: day, Until: day.Add(time.Minute)},
		} {
			if err := s.AddToken(ctx, want, false); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Token(ctx, want.Hash); err != nil || !cmp.Equal(want, got) {
				t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(want, got))
			}
		}
	})
}

// rowsOf counts an account's rows in each table of what it signs in with.
func rowsOf(raw *storetest.Raw, id string) map[string]int {
	n := map[string]int{}
	for _, table := range []string{"operator_tokens", "operator_passkeys", "operator_recovery", "operator_browsers", "operator_sessions"} {
		_, rows := raw.Query("SELECT operator FROM "+table+" WHERE operator = $1", id)
		n[table] = len(rows)
	}
	return n
}

// furnish gives an active account one of all that there is.
func furnish(t *testing.T, do func(...error), s operator.Store, id operator.AccountID, n byte) {
	t.Helper()
	ctx := t.Context()
	_, err := s.OfferTOTP(ctx, id, "seed", day, day.Add(time.Hour))
	do(err, s.AcceptTOTP(ctx, id, operator.Claim{}, "seed", 10), s.SetPassword(ctx, id, operator.Claim{}, "", "hash"),
		s.PutRecovery(ctx, id, operator.Claim{}, []operator.Hash{{n}}),
		s.AddPasskey(ctx, operator.PasskeyRecord{Passkey: operator.Passkey{ID: operator.PasskeyID("key of " + id), Account: id, Created: day}, Credential: []byte("1")}, operator.Claim{}, 9),
		s.AddToken(ctx, operator.TokenRecord{Hash: operator.Hash{n, 1}, Kind: "enrol", Account: id, Created: day, Until: day.Add(time.Hour)}, true),
		s.AddSession(ctx, operator.SessionRecord{Hash: operator.Hash{n, 2}, Session: operator.Session{ID: operator.SessionID("session of " + id), Account: id, Created: day, Until: day.Add(time.Hour)}}, 9))
}

func TestEnrolmentByAProviderAndACopiedPasskeyTakeAway(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := withOperators(t, dsn, "ada", "bob")
		raw := storetest.OpenRaw(t, dsn)
		do := func(errs ...error) {
			t.Helper()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
		}
		furnish(t, do, s, "ada", 1)
		furnish(t, do, s, "bob", 2)
		all := map[string]int{"operator_tokens": 1, "operator_passkeys": 1, "operator_recovery": 1, "operator_browsers": 1, "operator_sessions": 1}
		none := map[string]int{"operator_tokens": 0, "operator_passkeys": 0, "operator_recovery": 0, "operator_browsers": 0, "operator_sessions": 0}

		if err := s.DropCloned(ctx, "ada", "key of bob"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("another's passkey: %v, want ErrNotFound", err)
		}
		wantConflict(t, "enrolling who is active", s.EnrolByProvider(ctx, "ada", day))
		if got := rowsOf(raw, "ada"); !cmp.Equal(all, got) {
			t.Fatalf("what was refused changed something: %s", cmp.Diff(all, got))
		}
		do(s.DropCloned(ctx, "ada", "key of ada"))
		want := map[string]int{"operator_tokens": 0, "operator_passkeys": 0, "operator_recovery": 1, "operator_browsers": 0, "operator_sessions": 0}
		if got := rowsOf(raw, "ada"); !cmp.Equal(want, got) {
			t.Errorf("a copied passkey (-want +got):\n%s", cmp.Diff(want, got))
		}

		raw.Exec("UPDATE operators SET state = 'invited' WHERE id = 'bob'")
		do(s.LinkSubject(ctx, "bob", "subject"), s.EnrolByProvider(ctx, "bob", day))
		if got := rowsOf(raw, "bob"); !cmp.Equal(none, got) {
			t.Errorf("enrolment by a provider (-want +got):\n%s", cmp.Diff(none, got))
		}
		r, err := s.AccountBySubject(ctx, "subject")
		if err != nil || r.Account.ID != "bob" || r.Account.State != operator.Active || r.Password != "" || r.TOTP != "" || r.Step != 0 {
			t.Errorf("the account is %+v, %v", r, err)
		}
		if r, err := s.Account(ctx, "ada"); err != nil || r.Password == "" || r.TOTP == "" {
			t.Errorf("somebody else's factors: %+v, %v", r, err)
		}
	})
}
