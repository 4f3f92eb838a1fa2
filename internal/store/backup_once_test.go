package store_test

import (
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

// What is good once ends with a restore, and what is a factor stays.
func TestWhatIsOnceEndsWithARestore(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		db := storetest.Open(t, dsn)
		s, raw := db.Operators(), storetest.OpenRaw(t, dsn)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(s.AddAccount(ctx, operatorRecord("ada", operator.Owner)))
		must(s.SetState(ctx, "ada", operator.StateChange{From: []operator.State{operator.Invited}, To: operator.Active, At: day}))
		must(s.PutRecovery(ctx, "ada", operator.Claim{}, []operator.Hash{{1}, {2}}))
		must(s.SetPassword(ctx, "ada", operator.Claim{}, "", "hash"))
		must(s.AddPasskey(ctx, operator.PasskeyRecord{Passkey: operator.Passkey{ID: "key", Account: "ada"}, Credential: []byte("1")}, operator.Claim{}, 1))
		must(s.AddToken(ctx, operator.TokenRecord{Hash: operator.Hash{1}, Kind: "enrol", Account: "ada"}, false))
		must(s.AddSession(ctx, operator.SessionRecord{Session: operator.Session{ID: "s", Account: "ada", Created: day}, Hash: operator.Hash{1}}, 20))
		for id, state := range map[operator.ApprovalID]operator.ApprovalState{"1": operator.Waiting, "2": operator.Approved, "3": operator.Used, "4": operator.Declined} {
			must(s.AddApproval(ctx, operator.ApprovalRecord{Approval: operator.Approval{ID: id, AskedBy: "ada", Asked: day, Until: day.Add(time.Hour), State: state}}, 10))
		}
		for _, hash := range []string{"a", "b", "c"} {
			raw.Exec("INSERT INTO stepup_recovery (person, hash, request) VALUES ('p', $1, '')", []byte(hash))
		}
		addRequest(t, db.Stepup(), "one", "p")
		got, err := db.Backup().EndWhatIsOnce(ctx)
		if want := (store.Ended{Sessions: 1, Links: 1, Approvals: 2, Codes: 2, AppCodes: 3, Stepups: 1}); err != nil || got != want {
			t.Errorf("ended %+v, %v; want %+v", got, err, want)
		}
		a, err := s.Account(ctx, "ada")
		must(err)
		if a.Account.RecoveryLeft != 0 || a.Account.Passkeys != 1 || a.Password != "hash" || a.Account.State != operator.Active || len(a.Grants) != 1 {
			t.Errorf("the account is %+v", a)
		}
		all, err := s.Approvals(ctx, 10)
		must(err)
		for _, r := range all {
			if r.Approval.State == operator.Waiting || r.Approval.State == operator.Approved {
				t.Errorf("an approval is left: %+v", r)
			}
		}
		if got, err := db.Backup().EndWhatIsOnce(ctx); err != nil || got != (store.Ended{}) {
			t.Errorf("again: %+v, %v", got, err)
		}
	})
}
