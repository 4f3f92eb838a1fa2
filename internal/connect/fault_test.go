package connect_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// failing is a connect.Store whose next saves of connections fail, before or
// after they took effect.
type failing struct {
	connect.Store
	before, after atomic.Int32
}

func (f *failing) SaveConnections(ctx context.Context, records ...connect.Record) error {
	if records[0].Status != connect.Renewing && f.before.Load() > 0 {
		f.before.Add(-1)
		return gatehouse.ErrUnavailable
	}
	err := f.Store.SaveConnections(ctx, records...)
	if records[0].Status != connect.Renewing && f.after.Load() > 0 {
		f.after.Add(-1)
		return gatehouse.ErrUnavailable
	}
	return err
}

// The store fails at the moment when the new pair must become durable, with and
// without having stored it: the pair is saved in the end, and works.
func TestNewPairSurvivesAFailingStore(t *testing.T) {
	t.Parallel()
	for name, count := range map[string]func(*failing) *atomic.Int32{
		"not stored": func(f *failing) *atomic.Int32 { return &f.before },
		"stored":     func(f *failing) *atomic.Int32 { return &f.after },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &failing{}
			w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{
				Store: func(s connect.Store) connect.Store { f.Store = s; return f },
			})
			id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
			age(t, w, makeExpired)
			count(f).Store(2)
			call(t, w, id)
			if n := count(f).Load(); n > 1 {
				t.Errorf("the store was not made to fail: %d", n)
			}
		})
	}
}

// While a renewal is under way the connection is revoked: the fresh pair is
// given back too, and the connection stays revoked.
func TestRevokedDuringRenewal(t *testing.T) {
	t.Parallel()
	w, id := expired(t, storetest.SQLite(t))
	held, release := holdAt(w, "answered")
	defer release()
	// The platform takes the revocation of the spent token for done, and the
	// fresh one lives on.
	if err := w.Faults.Add(world.Fault{
		Match: world.FaultMatch{Path: "/2/oauth2/revoke"}, Status: http.StatusOK, ContentType: "application/json", Body: `{"revoked":true}`,
	}); err != nil {
		t.Fatal(err)
	}
	var renewing sync.WaitGroup
	renewing.Go(func() { _, _ = w.Connections.Credential(t.Context(), w.Receipt(), id) })
	<-held
	if err := w.Connections.Revoke(t.Context(), id, "asked by a test"); err != nil {
		t.Fatal(err)
	}
	release()
	renewing.Wait()
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := w.Connections.Get(t.Context(), id)
	if err != nil || after.Status != connect.Revoked || after.RevokeOutstanding {
		t.Errorf("%+v, %v", after, err)
	}
	rec, err := w.DB.Connect().Connection(t.Context(), id)
	if err != nil || rec.Access != nil || rec.Refresh != nil {
		t.Errorf("tokens are kept: %v", err)
	}
	if status := callWith(t, w, lastIssued(w, "x access")); status != http.StatusUnauthorized {
		t.Errorf("the fresh token still works at the platform: %d", status)
	}
}

// closedLog is an audit.Store that cannot be written.
type closedLog struct {
	audit.Store
	closed atomic.Bool
}

func (l *closedLog) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	if l.closed.Load() {
		return errors.New("no space left on device")
	}
	return l.Store.Append(ctx, expect, b)
}

// When nothing can be logged nothing is begun, granted or opened, and a
// connection can still be cut off.
func TestWithoutALog(t *testing.T) {
	log := &closedLog{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Audit: func(s audit.Store) audit.Store { log.Store = s; return log }})
	revoked := []string{}
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	begun, b, code := w.Begin("user-8", "publish"), w.Start(w.Begin("user-8", "publish")), w.Code("user-9", "publish", connecttest.Person(2))
	back := b.Decide(connecttest.Person(1), "allow", "")
	cut := must(connect.New(connect.Config{
		Store: w.DB.Connect(), Log: w.Log, Vault: w.Vault, Egress: w.Egress, PublicURL: connecttest.PublicURL, Apps: w.Apps(),
		Scopes: func([]gatehouse.PurposeName) ([]string, error) { return nil, nil },
		RevokeHandles: func(_ context.Context, id gatehouse.ConnectionID) error {
			revoked = append(revoked, string(id))
			return nil
		},
	}))(t)
	log.closed.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	_, err := w.Connections.Begin(ctx, connect.BeginRequest{
		App: "main-x", Subject: "user-8", Purposes: []gatehouse.PurposeName{"publish"}, ReturnTo: connecttest.ReturnTo, Service: "scheduler",
	})
	_, _, errStart := w.Connections.Start(ctx, begun.ID)
	_, errCallback := w.Connections.Callback(ctx, "main-x", back, b.Cookie)
	_, errRedeem := w.Connections.Redeem(ctx, code, "user-9", "scheduler")
	for what, err := range map[string]error{"begin": err, "start": errStart, "callback": errCallback, "redeem": errRedeem} {
		if !errors.Is(err, gatehouse.ErrUnavailable) {
			t.Errorf("%s without a log gives %v", what, err)
		}
	}
	if err := cut.Revoke(ctx, c.ID, "asked by a test"); err != nil {
		t.Fatalf("revoking without a log: %v", err)
	}
	after, err := w.Connections.Get(ctx, c.ID)
	if err != nil || after.Status != connect.Revoked || !after.RevokeOutstanding || len(revoked) != 1 {
		t.Errorf("%+v, %v, handles of %v", after, err, revoked)
	}
	log.closed.Store(false)
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if _, err := w.Log.Record(ctx, audit.Entry{Action: "connect.begin"}); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	// What was not done without a log can be done now: nothing was used up.
	if q := b.Back("main-x", back); q.Get("code") == "" {
		t.Errorf("after the outage the callback gives %v", q)
	}
	if _, err := w.Connections.Redeem(ctx, code, "user-9", "scheduler"); err != nil {
		t.Errorf("after the outage redeeming gives %v", err)
	}
	if err := w.Connections.Revoke(ctx, c.ID, "again"); err != nil {
		t.Fatal(err)
	}
	if after, err := w.Connections.Get(ctx, c.ID); err != nil || after.RevokeOutstanding {
		t.Errorf("after the outage: %+v, %v", after, err)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Two redemptions race: of one code, one succeeds; of two codes of the same
// person and subject, both end at the same connection.
func TestRedeemingAtTheSameTime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		one, two := w.Code("user-7", "publish", connecttest.Person(1)), w.Code("user-7", "publish", connecttest.Person(1))
		var mu sync.Mutex
		ids, failures := map[gatehouse.ConnectionID]int{}, 0
		var all sync.WaitGroup
		for _, code := range []secret.Text{one, one, two, two} {
			all.Go(func() {
				c, err := w.Connections.Redeem(t.Context(), code, "user-7", "scheduler")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					ids[c.ID]++
				case errors.Is(err, gatehouse.ErrConflict):
					failures++
				default:
					t.Errorf("redeeming: %v", err)
				}
			})
		}
		all.Wait()
		if len(ids) != 1 || failures != 2 {
			t.Errorf("connections %v, %d refused", ids, failures)
		}
	})
}

// A redemption that dies after its code was used up, and before the connection
// stands, costs nobody a consent: the app, which got no answer, asks again. Nor
// does it open anything: another subject's attempt burns the code, however far
// that comes.
func TestRedemptionThatDies(t *testing.T) {
	dying := &failing{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Store: func(s connect.Store) connect.Store {
		dying.Store = s
		return dying
	}})
	redeem := func(code secret.Text, subject gatehouse.Subject) error {
		_, err := w.Connections.Redeem(t.Context(), code, subject, "scheduler")
		return err
	}
	code := w.Code("user-7", "publish", connecttest.Person(1))
	dying.before.Store(1)
	if err := redeem(code, "user-7"); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Fatalf("with a store that is gone: %v", err)
	}
	if err := redeem(code, "user-7"); err != nil {
		t.Fatalf("asked again: %v", err)
	}
	refused(t, redeem(code, "user-7"), "connect/code-used")

	code = w.Code("user-8", "publish", connecttest.Person(2))
	dying.after.Store(1)
	if err := redeem(code, "somebody else"); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Fatalf("with a store that is gone: %v", err)
	}
	refused(t, redeem(code, "user-8"), "connect/code-used")
}

// No secret that the sandbox issued, no subject and no name stands in the files
// of the database.
func TestDatabaseHoldsNoSecret(t *testing.T) {
	dsn := storetest.SQLite(t)
	w := connecttest.New(t, dsn, connecttest.Options{})
	const subject = "subject-canary-4711"
	c := w.Connect(subject, "publish", connecttest.Person(1))
	w.Connect(subject, "pages", connecttest.Person(1))
	w.Connect(subject, "gallery", connecttest.Person(1))
	w.Code(subject, "threads", connecttest.Person(1))
	b := beginOAuth1(t, w)
	b.Back("main-x", b.Decide(connecttest.Person(1), "allow", ""))
	if err := w.Log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var files []byte
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(strings.TrimPrefix(dsn, "sqlite:") + suffix)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data...)
	}
	text := string(files)
	if !strings.Contains(text, string(c.ID)) {
		t.Fatal("the files do not even hold the connection's id")
	}
	canaries := []string{subject, c.PlatformUser, b.Cookie.Reveal()}
	for _, one := range w.Tokens() {
		canaries = append(canaries, one.Value)
	}
	for _, canary := range canaries {
		if strings.Contains(text, canary) {
			t.Errorf("the files hold %d bytes that must not be there: %.6s…", len(canary), canary)
		}
	}
}

// readOnly is a connect.Store whose rows cannot be changed while told so.
type readOnly struct {
	connect.Store
	only atomic.Bool
}

func (r *readOnly) SaveConnections(ctx context.Context, records ...connect.Record) error {
	if r.only.Load() {
		return fmt.Errorf("reading only: %w", gatehouse.ErrUnavailable)
	}
	return r.Store.SaveConnections(ctx, records...)
}

// A connection that cannot be cut off in the store is cut off before anything else
// is admitted, and then given back to its platform.
func TestRevokedWhileTheStoreOnlyReads(t *testing.T) {
	log, rows := &closedLog{}, &readOnly{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{
		Audit: func(s audit.Store) audit.Store { log.Store = s; return log },
		Store: func(s connect.Store) connect.Store { rows.Store = s; return rows },
		Aside: t.TempDir(),
	})
	w.Log.Redo(t.Context(), func(ctx context.Context, d audit.Deed) error {
		known, err := w.Connections.Redo(ctx, d)
		if !known {
			t.Errorf("a deed of kind %q is not this package's", d.Kind)
		}
		return err
	})
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	other := w.Connect("user-8", "publish", connecttest.Person(2)).ID
	log.closed.Store(true)
	rows.only.Store(true)
	if err := w.Connections.Revoke(t.Context(), id, "asked by a test"); wire.RuleOf(err) != "log/deferred" {
		t.Fatalf("Revoke: %v, want it noted", err)
	}
	log.closed.Store(false)
	rows.only.Store(false)
	for deadline := time.Now().Add(time.Minute); w.Log.State().Condition != audit.Writable; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", w.Log.State())
		}
	}
	con, err := w.Connections.Get(t.Context(), id)
	if err != nil || con.Status != connect.Revoked || con.Reason != "asked by a test" || !con.RevokeOutstanding {
		t.Errorf("after the recovery: %+v, %v; want it revoked here, for its reason, and outstanding at the platform", con, err)
	}
	if con, err := w.Connections.Get(t.Context(), other); err != nil || !con.Status.Usable() {
		t.Errorf("another connection: %+v, %v", con, err)
	}
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if con, err := w.Connections.Get(t.Context(), id); err != nil || con.RevokeOutstanding {
		t.Errorf("it was not given back: %+v, %v", con, err)
	}
}
