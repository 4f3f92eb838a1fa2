package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// asked stores a request of a person, made so long after the beginning.
func asked(t *testing.T, s stepup.Store, id, person string, after time.Duration) *stepup.Request {
	t.Helper()
	r := stepupRequest(id, person)
	r.Created, r.Expires = moment(after), moment(after+time.Hour)
	if err := s.AddRequest(t.Context(), &r, []byte("subject of "+person), 20); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestStepupHolders(t *testing.T) {
	eachStepup(t, func(t *testing.T, s stepup.Store) {
		ctx := t.Context()
		r := asked(t, s, "one", "ada", 0)
		for i, f := range []stepup.Factor{{ID: "f1", Method: stepup.Passkey}, {ID: "f2", Method: stepup.TOTP}, {ID: "f3", Method: stepup.Passkey}} {
			f.Person, f.Request, f.Sealed, f.Created = "ada", "one", []byte{1}, moment(time.Duration(i)*time.Second)
			if err := s.Enrol(ctx, r, f, recoveryHashes(1, 2)); err != nil {
				t.Fatal(err)
			}
		}
		asked(t, s, "two", "grace", time.Second)
		asked(t, s, "three", "hedy", 2*time.Second)
		asked(t, s, "four", "ada", 3*time.Second)
		// What was set up counts when it is redeemed, and not before.
		got, err := s.Holder(ctx, "ada", moment(time.Minute))
		if err != nil || got.Factors()+got.RecoveryLeft != 0 || got.Open != 2 {
			t.Errorf("before it is redeemed: %+v, %v", got, err)
		}
		r.Stage = stepup.Redeemed
		if err := errors.Join(s.Finish(ctx, r), s.Block(ctx, "f3"), s.Remember(ctx, stepup.Browser{Person: "ada", Hash: "h", Proved: moment(time.Minute), By: stepup.TOTP}, "", 10)); err != nil {
			t.Fatal(err)
		}
		want := stepup.StoredHolder{SubjectSealed: []byte("subject of ada"), Holder: stepup.Holder{
			Person: "ada", Passkeys: 1, TOTP: 1, Blocked: 1, RecoveryLeft: 2, Asked: moment(3 * time.Second), Proved: moment(time.Minute), Open: 1,
		}}
		if got, err := s.Holder(ctx, "ada", moment(time.Minute)); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("ada is %s, %v", cmp.Diff(want, got), err)
		}
		// A proof of a factor is one, wherever the browser went.
		factors, _, err := s.Factors(ctx, "ada")
		if err != nil {
			t.Fatal(err)
		}
		f := factors[0]
		f.Used = moment(2 * time.Minute)
		if err := s.UseFactor(ctx, asked(t, s, "five", "ada", 4*time.Second), f); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Holder(ctx, "ada", moment(2*time.Hour)); err != nil || !got.Proved.Equal(moment(2*time.Minute)) || got.Open != 0 {
			t.Errorf("two hours later ada is %+v, %v", got, err)
		}
		if _, err := s.Holder(ctx, "nobody", moment(0)); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("somebody for whom nothing was asked: %v", err)
		}

		people := func(behind stepup.Place, limit int) (list []string) {
			t.Helper()
			found, err := s.Holders(ctx, behind, limit, moment(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range found {
				list = append(list, string(h.Person))
			}
			return list
		}
		if got := people(stepup.Place{}, 10); !slices.Equal(got, []string{"ada", "hedy", "grace"}) {
			t.Errorf("the list is %v", got)
		}
		if got := people(stepup.Place{Asked: moment(4 * time.Second), Person: "ada"}, 1); !slices.Equal(got, []string{"hedy"}) {
			t.Errorf("behind ada there is %v", got)
		}
		opens := func(person gatehouse.PersonID, limit int, now time.Time) (list []string) {
			t.Helper()
			found, err := s.Opens(ctx, person, limit, now)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range found {
				list = append(list, o.ID+" of "+string(o.Person))
			}
			return list
		}
		if got := opens("", 10, moment(time.Minute)); !slices.Equal(got, []string{"five of ada", "four of ada", "three of hedy", "two of grace"}) {
			t.Errorf("open are %v", got)
		}
		if got := opens("ada", 1, moment(time.Minute)); !slices.Equal(got, []string{"five of ada"}) {
			t.Errorf("open of ada is %v", got)
		}
		if got := opens("", 10, moment(time.Hour+2*time.Second)); !slices.Equal(got, []string{"five of ada", "four of ada"}) {
			t.Errorf("open later are %v", got)
		}
		for most, want := range map[int]stepup.Sums{10: {Open: 4, Blocked: 1}, 1: {Open: 1, Blocked: 1}} {
			if got, err := s.Sums(ctx, most, moment(time.Minute)); err != nil || got != want {
				t.Errorf("sums up to %d are %+v, %v", most, got, err)
			}
		}

		// A reset leaves that somebody was asked for; forgetting leaves nothing.
		if n, err := s.Reset(ctx, "ada"); err != nil || n != 3 {
			t.Errorf("resetting: %d, %v", n, err)
		}
		if got, err := s.Holder(ctx, "ada", moment(time.Minute)); err != nil || got.Factors()+got.RecoveryLeft+got.Open != 0 || !got.Proved.IsZero() {
			t.Errorf("after a reset ada is %+v, %v", got, err)
		}
		if err := s.Forget(ctx, "ada"); err != nil {
			t.Fatal(err)
		}
		if got := people(stepup.Place{}, 10); !slices.Equal(got, []string{"hedy", "grace"}) {
			t.Errorf("forgotten, and the list is %v", got)
		}
	})
}

// Whoever had a factor before people were listed is listed, without a name until the
// app asks again.
func TestStepupHoldersOfBefore(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn).Stepup()
		asked(t, s, "one", "ada", 0)
		storetest.OpenRaw(t, dsn).Exec("UPDATE stepup_people SET subject = NULL")
		if got, err := s.Holder(t.Context(), "ada", moment(0)); err != nil || got.SubjectSealed != nil {
			t.Errorf("ada is %+v, %v", got, err)
		}
		asked(t, s, "two", "ada", time.Second)
		if got, err := s.Holder(t.Context(), "ada", moment(0)); err != nil || string(got.SubjectSealed) != "subject of ada" {
			t.Errorf("asked again, ada is %+v, %v", got, err)
		}
	})
}
