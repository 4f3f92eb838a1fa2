package identity_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"

	"github.com/google/go-cmp/cmp"
)

func TestAHandleAuthenticatesWhatItWasMadeFor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		request := w.request("c1")
		request.TTL = time.Hour
		made, text, err := w.directory.NewHandle(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if identity.Looks(text.Reveal()) != identity.HandleForm {
			t.Error("a handle does not look like one")
		}
		got, err := w.newDirectory(w.db.Identity()).AuthenticateHandle(t.Context(), text)
		if err != nil {
			t.Fatalf("AuthenticateHandle: %v", err)
		}
		if diff := cmp.Diff(made, got); diff != "" {
			t.Errorf("handle made and read (-made +read):\n%s", diff)
		}
		if got.ServiceName != "scheduler" || got.Connection != "c1" || got.Person != request.Person || got.Purpose != "publish" ||
			got.Platform != gatehouse.X || got.App != "main-x" || got.Expires.Sub(got.Created) != time.Hour {
			t.Errorf("handle %+v is not what was asked for: %+v", got, request)
		}
		if n := w.logged("handle.create", `"kind":"intent"`, "scheduler", "publish"); n != 1 {
			t.Errorf("%d intents to make a handle in the log, want 1", n)
		}
		if n := w.logged("handle.create", `"kind":"outcome"`, "done"); n != 1 {
			t.Errorf("%d outcomes in the log, want 1", n)
		}
		if n := w.logged(string(made.ID)) + w.logged(`"`+string(made.Connection)+`"`) + w.logged(string(made.Person)); n != 0 {
			t.Error("a leaf of the log names the handle, the connection or the person")
		}
	})
}

func TestLifeOfAHandleIsBounded(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	for name, c := range map[string]struct {
		ttl, want time.Duration
		refused   bool
	}{
		"default":      {0, 24 * time.Hour, false},
		"as asked":     {time.Minute, time.Minute, false},
		"the longest":  {90 * 24 * time.Hour, 90 * 24 * time.Hour, false},
		"too long":     {90*24*time.Hour + 1, 0, true},
		"negative":     {-time.Second, 0, true},
		"very, very":   {1 << 62, 0, true},
		"microseconds": {1500 * time.Nanosecond, time.Microsecond, false},
	} {
		request := w.request("c1")
		request.TTL = c.ttl
		handle, text, err := w.directory.NewHandle(t.Context(), request)
		if c.refused {
			if !errors.Is(err, gatehouse.ErrInvalid) || !text.IsZero() {
				t.Errorf("%s: %v, want ErrInvalid and no handle", name, err)
			}
		} else if err != nil || handle.Expires.Sub(handle.Created) != c.want {
			t.Errorf("%s: lives %s, %v; want %s", name, handle.Expires.Sub(handle.Created), err, c.want)
		}
	}
	for _, request := range []identity.HandleRequest{{Service: "scheduler", Purpose: "publish"}, {Service: "scheduler", Connection: "c1"}} {
		if _, _, err := w.directory.NewHandle(t.Context(), request); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("request %+v: %v, want ErrInvalid", request, err)
		}
	}
	unknown := w.request("c1")
	unknown.Service = "nobody"
	if _, _, err := w.directory.NewHandle(t.Context(), unknown); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("handle for an unknown service: %v, want ErrNotFound", err)
	}
}

func TestRefusedHandles(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		_, handle := w.handle("c1")
		key, err := w.directory.NewServiceKey(t.Context(), "scheduler")
		if err != nil {
			t.Fatal(err)
		}
		text := handle.Reveal()
		for name, c := range map[string]struct{ handle, rule string }{
			"nothing":             {"", "identity/handle-malformed"},
			"a platform's token":  {"EAACEdEose0cBAsomethingthatlookslikeatoken", "identity/handle-malformed"},
			"a service key":       {key.Reveal(), "identity/handle-malformed"},
			"cut":                 {text[:79], "identity/handle-malformed"},
			"a changed character": {text[:50] + "-" + text[51:], "identity/handle-malformed"},
			"SQL":                 {"gth_hnd_' OR 1=1 --", "identity/handle-malformed"},
			"never made":          {identity.HookTestOnlyCompose("gth_hnd_", someID, someSecret), "identity/handle-unknown"},
			"another secret":      {identity.HookTestOnlyCompose("gth_hnd_", text[8:30], someSecret), "identity/handle-unknown"},
		} {
			got, err := w.directory.AuthenticateHandle(t.Context(), secret.New(c.handle))
			refused(t, name, err, c.rule, c.handle)
			if got != (identity.Handle{}) {
				t.Errorf("%s: a handle in spite of the refusal", name)
			}
		}
		w.raw.Exec("UPDATE services SET environment = 'staging'")
		_, err = w.directory.AuthenticateHandle(t.Context(), handle)
		refused(t, "service of another environment", err, "identity/other-environment", text)
	})
	// A handle of another deployment's database is simply unknown.
	one, two := newWorld(t, storetest.SQLite(t)), newWorld(t, storetest.SQLite(t))
	_, foreign := one.handle("c1")
	_, err := two.directory.AuthenticateHandle(t.Context(), foreign)
	refused(t, "handle of another database", err, "identity/handle-unknown", foreign.Reveal())
}

func TestAHandleExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, storetest.SQLite(t))
		handle, text := w.handle("c1")
		d := w.newDirectory(w.db.Identity())
		set, err := w.directory.OAuth1Set(t.Context(), handle.ID)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(handle.Expires) - time.Microsecond)
		if _, err := d.AuthenticateHandle(t.Context(), text); err != nil {
			t.Errorf("a microsecond before its end: %v", err)
		}
		time.Sleep(time.Microsecond)
		_, err = d.AuthenticateHandle(t.Context(), text)
		refused(t, "at its end", err, "identity/handle-expired", text.Reveal())
		refused(t, "recheck", d.Recheck(t.Context(), handle.ID), "identity/handle-expired")
		_, err = d.OAuth1Set(t.Context(), handle.ID)
		refused(t, "its OAuth 1.0a set", err, "identity/handle-expired")
		_, err = d.AuthenticateOAuth1(t.Context(), set.ConsumerKey, set.Token, "n", time.Now(), accept)
		refused(t, "a signature", err, "identity/handle-expired")
	})
}

func TestRevocationReachesTheWholeFamily(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		parent, parentText := w.handle("c1")
		_, otherText := w.handle("c1")
		child, err := w.directory.ChildHandle(t.Context(), parent, "page1", parent.Person)
		if err != nil {
			t.Fatal(err)
		}
		childHandle, err := w.directory.AuthenticateHandle(t.Context(), child)
		if err != nil {
			t.Fatal(err)
		}
		grandchild, err := w.directory.ChildHandle(t.Context(), childHandle, "page2", parent.Person)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // repeating it is no error
			if err := w.directory.RevokeHandle(t.Context(), parent.ID); err != nil {
				t.Fatalf("RevokeHandle: %v", err)
			}
		}
		for name, text := range map[string]secret.Text{"parent": parentText, "child": child, "grandchild": grandchild} {
			_, err := w.directory.AuthenticateHandle(t.Context(), text)
			refused(t, name, err, "identity/handle-revoked", text.Reveal())
		}
		if _, err := w.directory.AuthenticateHandle(t.Context(), otherText); err != nil {
			t.Errorf("another handle of the connection: %v", err)
		}
		refused(t, "recheck", w.directory.Recheck(t.Context(), parent.ID), "identity/handle-revoked")
		refused(t, "recheck of nothing", w.directory.Recheck(t.Context(), "nothing"), "identity/handle-unknown")

		// What was revoked gives no new children and does not rise again.
		_, err = w.directory.ChildHandle(t.Context(), parent, "page3", parent.Person)
		if !errors.Is(err, gatehouse.ErrDenied) {
			t.Errorf("a child of a revoked parent: %v, want ErrDenied", err)
		}
		_, err = w.directory.ChildHandle(t.Context(), parent, "page1", parent.Person)
		refused(t, "the same child again", err, "identity/handle-revoked")
		if err := w.directory.RevokeHandle(t.Context(), "nothing"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("revoking an unknown handle: %v, want ErrNotFound", err)
		}
		if n := w.logged("handle.revoke", `"kind":"intent"`); n != 2 {
			t.Errorf("%d intents to revoke in the log, want 2", n)
		}
	})
}

func TestHandlesOfAnErasedPersonCanBeRevoked(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	one, _ := w.handle("c1")
	two, _ := w.handle("c2")
	for _, handle := range []identity.Handle{one, two} {
		if err := w.vault.DestroyPerson(t.Context(), handle.Person); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.directory.RevokeHandle(t.Context(), one.ID); err != nil {
		t.Errorf("RevokeHandle: %v", err)
	}
	if err := w.directory.RevokeConnection(t.Context(), "c2"); err != nil {
		t.Errorf("RevokeConnection: %v", err)
	}
	refused(t, "first", w.directory.Recheck(t.Context(), one.ID), "identity/handle-revoked")
	refused(t, "second", w.directory.Recheck(t.Context(), two.ID), "identity/handle-revoked")
	if n := w.logged("handle.revoke", `"kind":"intent"`); n != 2 {
		t.Errorf("%d intents to revoke in the log, want 2", n)
	}
}

func TestRevokingAConnectionRevokesAllItsHandles(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		one, oneText := w.handle("c1")
		_, twoText := w.handle("c1")
		_, bystander := w.handle("c2")
		child, err := w.directory.ChildHandle(t.Context(), one, "page1", one.Person)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.directory.RevokeConnection(t.Context(), "c1"); err != nil {
			t.Fatalf("RevokeConnection: %v", err)
		}
		for name, text := range map[string]secret.Text{"first": oneText, "second": twoText, "child": child} {
			_, err := w.directory.AuthenticateHandle(t.Context(), text)
			refused(t, name, err, "identity/handle-revoked", text.Reveal())
		}
		if _, err := w.directory.AuthenticateHandle(t.Context(), bystander); err != nil {
			t.Errorf("a handle of another connection: %v", err)
		}
		if err := w.directory.RevokeConnection(t.Context(), "c3"); err != nil {
			t.Errorf("a connection without handles: %v", err)
		}
		if err := w.directory.RevokeConnection(t.Context(), ""); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("no connection: %v, want ErrInvalid", err)
		}
		if n := w.logged("handle.revoke", `"kind":"intent"`, "connection"); n != 1 {
			t.Errorf("%d intents to revoke in the log, want 1", n)
		}
	})
}

func TestAChildHandleIsAlwaysTheSame(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		parent, parentText := w.handle("c1")
		sibling, _ := w.handle("c1")
		var mu sync.Mutex
		texts := map[string]bool{}
		var group sync.WaitGroup
		for range 6 {
			d := w.newDirectory(w.db.Identity())
			group.Go(func() {
				child, err := d.ChildHandle(t.Context(), parent, "page1", parent.Person)
				if err != nil {
					t.Errorf("ChildHandle: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				texts[child.Reveal()] = true
			})
		}
		group.Wait()
		if len(texts) != 1 {
			t.Fatalf("the same child has %d texts", len(texts))
		}
		for _, other := range []struct {
			parent identity.Handle
			child  gatehouse.ConnectionID
		}{{parent, "page2"}, {sibling, "page1"}} {
			child, err := w.directory.ChildHandle(t.Context(), other.parent, other.child, parent.Person)
			if err != nil || texts[child.Reveal()] {
				t.Errorf("another parent or child has the same text, or %v", err)
			}
			texts[child.Reveal()] = true
		}
		if texts[parentText.Reveal()] {
			t.Error("a child has its parent's text")
		}
		handles, err := w.directory.Handles(t.Context(), identity.Filter{Connection: "page1"})
		if err != nil || len(handles) != 2 {
			t.Fatalf("handles of the page: %d, %v; want 2", len(handles), err)
		}
		for _, child := range handles {
			if child.Parent == parent.ID && (!child.Expires.Equal(parent.Expires) || child.Service != parent.Service || child.Purpose != parent.Purpose) {
				t.Errorf("child %+v does not follow its parent %+v", child, parent)
			}
		}
		if _, err := w.directory.ChildHandle(t.Context(), parent, "", ""); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("a child of no connection: %v, want ErrInvalid", err)
		}
	})
}

func TestAChildIsNeverWorthMoreThanItsRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		parent, _ := w.handle("c1")
		page := w.person()
		text, err := w.directory.ChildHandle(t.Context(), parent, "page1", page)
		if err != nil {
			t.Fatal(err)
		}
		child, err := w.directory.AuthenticateHandle(t.Context(), text)
		if err != nil || child.Person != page || child.Connection != "page1" || child.Parent != parent.ID {
			t.Errorf("child = %+v, %v; want it for the page's person", child, err)
		}
		// Should a child ever have been missed when its parent was revoked, it is
		// refused all the same.
		w.raw.Exec("UPDATE handles SET revoked = 1 WHERE id = $1", string(parent.ID))
		_, err = w.directory.AuthenticateHandle(t.Context(), text)
		refused(t, "child of a revoked parent", err, "identity/handle-revoked", text.Reveal())
		w.raw.Exec("UPDATE handles SET revoked = 0")
		// A row that is not the child's own is not given out as if it were.
		w.raw.Exec("UPDATE handles SET hash = (SELECT hash FROM handles WHERE id = $1) WHERE id = $2", string(parent.ID), string(child.ID))
		if got, err := w.directory.ChildHandle(t.Context(), parent, "page1", page); !errors.Is(err, gatehouse.ErrConflict) || !got.IsZero() {
			t.Errorf("ChildHandle over a foreign row: %v, want ErrConflict", err)
		}
	})
}

func TestListingHandles(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		a, _ := w.handle("c1")
		b, _ := w.handle("c2")
		request := w.request("c1")
		request.Service = "analytics"
		c, _, err := w.directory.NewHandle(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.directory.RevokeHandle(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			filter identity.Filter
			want   []gatehouse.HandleID
		}{
			"all that are valid":        {identity.Filter{}, []gatehouse.HandleID{c.ID, a.ID}},
			"all":                       {identity.Filter{Ended: true}, []gatehouse.HandleID{c.ID, b.ID, a.ID}},
			"of a service":              {identity.Filter{Service: "analytics"}, []gatehouse.HandleID{c.ID}},
			"of a connection":           {identity.Filter{Connection: "c1"}, []gatehouse.HandleID{c.ID, a.ID}},
			"of both":                   {identity.Filter{Connection: "c1", Service: "scheduler"}, []gatehouse.HandleID{a.ID}},
			"revoked, not asked for":    {identity.Filter{Connection: "c2"}, nil},
			"revoked, asked for":        {identity.Filter{Connection: "c2", Ended: true}, []gatehouse.HandleID{b.ID}},
			"the newest":                {identity.Filter{Ended: true, Limit: 1}, []gatehouse.HandleID{c.ID}},
			"of a service that is none": {identity.Filter{Service: "nobody"}, nil},
		} {
			handles, err := w.directory.Handles(t.Context(), test.filter)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var got []gatehouse.HandleID
			for _, handle := range handles {
				got = append(got, handle.ID)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		got, err := w.directory.Handle(t.Context(), b.ID)
		if err != nil || got.Revoked.IsZero() || got.Connection != "c2" {
			t.Errorf("Handle = %+v, %v; want the revoked one", got, err)
		}
		if _, err := w.directory.Handle(t.Context(), "nothing"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown handle: %v, want ErrNotFound", err)
		}
	})
}

func TestWritesThatFailLoseNothing(t *testing.T) {
	for _, fault := range []string{"failed, not stored", "failed, stored"} {
		t.Run(fault, func(t *testing.T) {
			stored := fault == "failed, stored"
			w := newWorld(t, storetest.SQLite(t))
			faulty := &faultyStore{Store: w.db.Identity()}
			d := w.newDirectory(faulty)
			fail := func() { faulty.before, faulty.after = !stored, stored }
			heal := func() { faulty.before, faulty.after = false, false }

			fail()
			if _, text, err := d.NewHandle(t.Context(), w.request("c1")); !errors.Is(err, errInjected) || !text.IsZero() {
				t.Errorf("NewHandle: %v, want the fault and no handle", err)
			}
			if key, err := d.NewServiceKey(t.Context(), "scheduler"); !errors.Is(err, errInjected) || !key.IsZero() {
				t.Errorf("NewServiceKey: %v, want the fault and no key", err)
			}
			if n := w.logged("create", `"kind":"outcome"`, "failed"); n != 2 {
				t.Errorf("%d failed outcomes in the log, want 2", n)
			}
			parent, text := w.handle("c1")
			if _, err := d.ChildHandle(t.Context(), parent, "page1", parent.Person); !errors.Is(err, errInjected) {
				t.Errorf("ChildHandle: %v, want the fault", err)
			}
			heal()
			if _, err := d.ChildHandle(t.Context(), parent, "page1", parent.Person); err != nil {
				t.Errorf("ChildHandle again: %v", err)
			}
			for name, revoke := range map[string]func() error{
				"RevokeHandle":     func() error { return d.RevokeHandle(t.Context(), parent.ID) },
				"RevokeConnection": func() error { return d.RevokeConnection(t.Context(), "c1") },
			} {
				fail()
				if err := revoke(); !errors.Is(err, errInjected) {
					t.Errorf("%s: %v, want the fault", name, err)
				}
				heal()
				if err := revoke(); err != nil {
					t.Errorf("%s again: %v", name, err)
				}
			}
			_, err := d.AuthenticateHandle(t.Context(), text)
			refused(t, "the revoked handle", err, "identity/handle-revoked", text.Reveal())
		})
	}
}

// If the log cannot be written, nothing is given out, and things can still be
// taken away.
func TestWithoutTheLogOnlyReductionsWork(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	handle, text := w.handle("c1")
	second, secondText := w.handle("c2")
	w.raw.Exec("ALTER TABLE audit_head RENAME TO away")

	if _, text, err := w.directory.NewHandle(t.Context(), w.request("c3")); err == nil || !text.IsZero() {
		t.Errorf("NewHandle without a log: %v, want an error and no handle", err)
	}
	if key, err := w.directory.NewServiceKey(t.Context(), "scheduler"); err == nil || !key.IsZero() {
		t.Errorf("NewServiceKey without a log: %v, want an error and no key", err)
	}
	for name, revoke := range map[string]func(context.Context) error{
		"RevokeHandle":     func(ctx context.Context) error { return w.directory.RevokeHandle(ctx, handle.ID) },
		"RevokeConnection": func(ctx context.Context) error { return w.directory.RevokeConnection(ctx, second.Connection) },
	} {
		if err := revoke(t.Context()); err == nil || !strings.Contains(err.Error(), "was done, but not recorded") {
			t.Errorf("%s: %v, want it to say that it was done and not recorded", name, err)
		}
	}
	for _, text := range []secret.Text{text, secondText} {
		_, err := w.directory.AuthenticateHandle(t.Context(), text)
		refused(t, "revoked without the log", err, "identity/handle-revoked", text.Reveal())
	}

	w.raw.Exec("ALTER TABLE away RENAME TO audit_head")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, _, err := w.directory.NewHandle(t.Context(), w.request("c3")); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("NewHandle with the log back: %v", err)
		}
	}
}

// readOnly is a store that cannot be written while told so.
type readOnly struct {
	identity.Store
	only atomic.Bool
}

func (r *readOnly) refuse() error {
	if r.only.Load() {
		return fmt.Errorf("reading only: %w", gatehouse.ErrUnavailable)
	}
	return nil
}

func (r *readOnly) RevokeHandle(ctx context.Context, id gatehouse.HandleID, at time.Time) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Store.RevokeHandle(ctx, id, at)
}

func (r *readOnly) RevokeConnection(ctx context.Context, id gatehouse.ConnectionID, at time.Time) (int, error) {
	if err := r.refuse(); err != nil {
		return 0, err
	}
	return r.Store.RevokeConnection(ctx, id, at)
}

func (r *readOnly) RevokeServiceKey(ctx context.Context, id identity.ServiceKeyID, at time.Time) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Store.RevokeServiceKey(ctx, id, at)
}

// With a directory beside the log, a reduction while the log cannot be written is
// recorded, and one while the rows cannot be written is noted, and done before
// anything is given out again.
func TestReductionsBesideTheLog(t *testing.T) {
	w := newWorldBeside(t, storetest.SQLite(t), t.TempDir())
	store := &readOnly{Store: w.db.Identity()}
	w.directory = w.newDirectory(store)
	w.log.Redo(t.Context(), func(ctx context.Context, d audit.Deed) error {
		known, err := w.directory.Redo(ctx, d)
		if !known {
			t.Errorf("a deed of kind %q is nobody's", d.Kind)
		}
		return err
	})
	first, firstText := w.handle("c1")
	_, secondText := w.handle("c2")
	third, thirdText := w.handle("c3")
	if _, err := w.directory.NewServiceKey(t.Context(), "scheduler"); err != nil {
		t.Fatal(err)
	}
	keys, err := w.directory.ServiceKeys(t.Context(), "scheduler")
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}

	w.raw.Exec("ALTER TABLE audit_head RENAME TO away")
	if err := w.directory.RevokeHandle(t.Context(), first.ID); err != nil {
		t.Errorf("RevokeHandle without the log: %v", err)
	}
	if _, err := w.directory.AuthenticateHandle(t.Context(), firstText); wire.RuleOf(err) != "identity/handle-revoked" {
		t.Errorf("the handle that was revoked without the log: %v", err)
	}
	store.only.Store(true)
	for name, revoke := range map[string]func() error{
		"RevokeConnection": func() error { return w.directory.RevokeConnection(t.Context(), "c2") },
		"RevokeHandle":     func() error { return w.directory.RevokeHandle(t.Context(), third.ID) },
		"RevokeServiceKey": func() error { return w.directory.RevokeServiceKey(t.Context(), keys[0].ID) },
	} {
		if err := revoke(); wire.RuleOf(err) != "log/deferred" || !errors.Is(err, gatehouse.ErrUnavailable) {
			t.Errorf("%s while nothing can be written: %v, want it noted", name, err)
		}
	}
	w.raw.Exec("ALTER TABLE away RENAME TO audit_head")
	// The log can be written, the rows not yet: nothing is given out.
	if _, _, err := w.directory.NewHandle(t.Context(), w.request("c4")); err == nil {
		t.Error("a handle was given out while a revocation was owed")
	}
	store.only.Store(false)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, _, err := w.directory.NewHandle(t.Context(), w.request("c4")); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("NewHandle with everything back: %v", err)
		}
	}
	for _, text := range []secret.Text{secondText, thirdText} {
		_, err := w.directory.AuthenticateHandle(t.Context(), text)
		refused(t, "what was noted", err, "identity/handle-revoked", text.Reveal())
	}
	if keys, err = w.directory.ServiceKeys(t.Context(), "scheduler"); err != nil || keys[0].Revoked.IsZero() {
		t.Errorf("the service key that was noted: %v, %v", keys, err)
	}
}

func BenchmarkAuthenticateHandle(b *testing.B) {
	w := newWorld(b, storetest.SQLite(b))
	_, text := w.handle("c1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.directory.AuthenticateHandle(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
}
