package connect_test

import (
	"net/http"
	"testing"
	"time"

	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/store/storetest"
)

// age changes rows directly, as time would.
func age(t *testing.T, w *connecttest.World, statement string) {
	t.Helper()
	storetest.OpenRaw(t, w.DSN).Exec(statement)
}

// Links, states and codes end with their time.
func TestEverythingInAnAttemptExpires(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		const past = "UPDATE connect_attempts SET expires = 1000000"

		begun := w.Begin("user-7", "publish")
		if left := time.Until(begun.Expires); left < 9*time.Minute || left > 10*time.Minute {
			t.Errorf("a link lives %s", left)
		}
		age(t, w, past)
		_, _, err := w.Connections.Start(t.Context(), begun.ID)
		refused(t, err, "connect/link-expired")

		// A link that somebody keeps opening ends too.
		kept := w.Begin("user-7", "publish")
		age(t, w, "UPDATE connect_attempts SET created = created - 1260000000") // 21 minutes
		if _, _, err := w.Connections.Start(t.Context(), kept.ID); err != nil {
			t.Fatal(err)
		}
		_, _, err = w.Connections.Start(t.Context(), kept.ID)
		refused(t, err, "connect/link-expired")

		b := w.Start(w.Begin("user-7", "publish"))
		back := b.Decide(connecttest.Person(1), "allow", "")
		age(t, w, past)
		_, err = w.Connections.Callback(t.Context(), "main-x", back, b.Cookie)
		refused(t, err, "connect/state-expired")

		code := w.Code("user-7", "publish", connecttest.Person(1))
		age(t, w, past)
		_, err = w.Connections.Redeem(t.Context(), code, "user-7", "scheduler")
		refused(t, err, "connect/code-expired")
	})
}

// A grant that the app never redeems is given back when its time has passed,
// not before.
func TestUnredeemedGrantIsGivenBack(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	w.Code("user-7", "publish", connecttest.Person(1))
	token := lastIssued(w, "x access")
	tend := func() int {
		t.Helper()
		for range 2 { // first it is cut off here, then at the platform
			if err := w.Connections.Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return callWith(t, w, token)
	}
	if status := tend(); status != http.StatusOK {
		t.Fatalf("the grant was given back at once: %d", status)
	}
	age(t, w, "UPDATE connections SET created = 1000000")
	if status := tend(); status != http.StatusUnauthorized {
		t.Errorf("the grant still works: %d", status)
	}
}

// The owner of a renewal died. While the old token is good, calls go on with
// it, and nobody spends what may be spent already; when it has expired, the next
// owner tries the old refresh token.
func TestRenewalWhoseOwnerDied(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	age(t, w, "UPDATE connections SET status = 'renewing', renew_at = 1000000, lease_until = 9000000000000000")
	start := time.Now()
	call(t, w, c.ID)
	if waited := time.Since(start); waited > 6*time.Second || refreshes(w) != 0 {
		t.Errorf("the call waited %s, and the platform was asked %d times", waited, refreshes(w))
	}
	age(t, w, "UPDATE connections SET lease_until = 1000000")
	call(t, w, c.ID)
	doubtful, err := w.Connections.Get(t.Context(), c.ID)
	if err != nil || doubtful.Status != connect.InDoubt || doubtful.Reason == "" || refreshes(w) != 0 {
		t.Errorf("%+v, %v, asked %d times", doubtful, err, refreshes(w))
	}
	age(t, w, "UPDATE connections SET access_expires = 1000000, updated = 1000000")
	call(t, w, c.ID)
	after, err := w.Connections.Get(t.Context(), c.ID)
	if err != nil || after.Status != connect.Healthy || refreshes(w) != 1 {
		t.Errorf("%+v, %v, asked %d times", after, err, refreshes(w))
	}
}

// An app that left the configuration costs nobody a grant and keeps nobody busy.
func TestAppOutsideTheConfiguration(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	age(t, w, "UPDATE connections SET app = 'gone', renew_at = 1000000")
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if due, err := w.DB.Connect().Due(t.Context(), "", time.Now(), time.Time{}, 10); err != nil || len(due) != 0 {
		t.Errorf("still due: %d, %v", len(due), err)
	}
	_, err := w.Connections.Credential(t.Context(), w.Receipt(), c.ID)
	refused(t, err, "connect/unknown-app")
	age(t, w, "UPDATE connections SET app = 'main-x'")
	call(t, w, c.ID)
}
