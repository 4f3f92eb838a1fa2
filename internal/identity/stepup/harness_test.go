package stepup_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/records"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

const (
	publicURL = "https://app.example.com"
	returnTo  = "https://app.example.com/back"
)

// world is step-ups on a real vault, log and database.
type world struct {
	*connecttest.World
	t        testing.TB
	stepups  *stepup.Stepups
	records  *records.Records
	settings stepup.Settings
	passkeys *factor.Passkeys

	mu   sync.Mutex
	told []stepup.Event
	deaf bool // the app cannot be told
	// dying, if not nil, is the store of a process that dies, for which telling is a
	// write too.
	dying *dying
}

// each runs a story on both engines.
func each(t *testing.T, story func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, dsn string) { story(t, newWorld(t, dsn, connecttest.Options{})) })
}

func newWorld(t testing.TB, dsn string, o connecttest.Options) *world {
	t.Helper()
	w := &world{World: connecttest.New(t, dsn, o), t: t}
	list, err := connect.NewReturnList([]string{returnTo, "https://app.example.com/below/*"})
	if err != nil {
		t.Fatal(err)
	}
	w.settings = stepup.Settings{Name: "An app", Services: []gatehouse.ServiceName{"web", "other"}, Returns: list.Allows, Methods: stepup.Methods()}
	if w.records, err = records.New(records.Config{
		Store: w.DB.Records(), Vault: w.Vault, Log: w.Log,
		May:   func(gatehouse.ServiceName, gatehouse.PurposeName) bool { return true },
		Keeps: func() map[gatehouse.PurposeName]time.Duration { return nil },
	}); err != nil {
		t.Fatal(err)
	}
	if w.passkeys, err = factor.NewPasskeys(factor.PasskeyConfig{Origin: publicURL, Name: "An app"}); err != nil {
		t.Fatal(err)
	}
	w.stepups = w.open(w.DB.Stepup())
	return w
}

// open opens the step-ups on a store, as another process would.
func (w *world) open(s stepup.Store) *stepup.Stepups {
	w.t.Helper()
	n, err := stepup.New(stepup.Config{
		Store: s, Log: w.Log, Passkeys: w.passkeys, PublicURL: publicURL, Settings: func() stepup.Settings { return w.settings },
		Keys: w.StepupKeys(w.records),
		Tell: func(_ context.Context, e stepup.Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.deaf {
				return errors.New("the outbox cannot be written")
			}
			tell := func() error { w.told = append(w.told, e); return nil }
			if w.dying != nil {
				return w.dying.Write(tell)
			}
			return tell()
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// events returns what the app was told, as type and subject or cause.
func (w *world) events() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, e := range w.told {
		list = append(list, e.Type+" "+string(e.Subject)+" "+string(e.Method)+e.Cause)
	}
	return list
}

func ask(subject string) stepup.Ask {
	return stepup.Ask{Service: "web", Subject: gatehouse.Subject(subject), Reason: "Delete the account", Account: subject + "@example.com", ReturnTo: returnTo, State: "s1"}
}

// human is a person with a browser and what they hold in their hands.
type human struct {
	w       *world
	subject string
	cookies map[string]secret.Text // by request
	known   secret.Text
	device  *factortest.Authenticator
	totp    string // the secret in their app
	codes   []secret.Text
	now     func() time.Time
}

func (w *world) human(subject string) *human {
	return &human{w: w, subject: subject, cookies: map[string]secret.Text{}, device: factortest.New(w.t, publicURL), now: time.Now}
}

func (h *human) at(id string) stepup.Visitor {
	return stepup.Visitor{ID: id, Browser: h.cookies[id], Known: h.known}
}

// took keeps the cookies of a visit.
func (h *human) took(id string, v stepup.Visit) stepup.Visit {
	if !v.Browser.IsZero() {
		h.cookies[id] = v.Browser
	}
	if !v.Known.IsZero() {
		h.known = v.Known
	}
	if len(v.Page.Codes) > 0 {
		h.codes = v.Page.Codes
	}
	return v
}

// begin has the app ask, and the browser open the link.
func (h *human) begin(a stepup.Ask) (string, stepup.Visit) {
	h.w.t.Helper()
	b, err := h.w.stepups.Begin(h.w.t.Context(), a)
	if err != nil {
		h.w.t.Fatal(err)
	}
	v, err := h.w.stepups.Open(h.w.t.Context(), h.at(b.ID))
	if err != nil {
		h.w.t.Fatal(err)
	}
	return b.ID, h.took(b.ID, v)
}

// code answers with a code of the app, n steps from now.
func (h *human) code(n int) string {
	return factortest.Code(h.w.t, h.totp, h.now().Add(time.Duration(n)*factor.TOTPStep))
}

// setUpTOTP sets up an authenticator app in a request, and continues.
func (h *human) setUpTOTP(id string) string {
	h.w.t.Helper()
	ctx := h.w.t.Context()
	v, err := h.w.stepups.BeginTOTP(ctx, h.at(id))
	if err != nil {
		h.w.t.Fatal(err)
	}
	h.totp = v.Page.Key.Reveal()
	if v, err = h.w.stepups.ConfirmTOTP(ctx, h.at(id), h.code(0)); err != nil || v.Page.Step != stepup.Saved {
		h.w.t.Fatalf("confirming: %v, %+v", err, v.Page)
	}
	h.took(id, v)
	return h.proceed(id)
}

// setUpPasskey sets up a passkey in a request, and continues.
func (h *human) setUpPasskey(id string) string {
	h.w.t.Helper()
	ctx := h.w.t.Context()
	options, err := h.w.stepups.PasskeyOptions(ctx, h.at(id))
	if err != nil {
		h.w.t.Fatal(err)
	}
	v, err := h.w.stepups.PasskeyAnswer(ctx, h.at(id), h.device.Register(options))
	if err != nil || v.Page.Step != stepup.Saved {
		h.w.t.Fatalf("registering: %v, %+v", err, v.Page)
	}
	h.took(id, v)
	return h.proceed(id)
}

func (h *human) proceed(id string) string {
	h.w.t.Helper()
	v, err := h.w.stepups.Continue(h.w.t.Context(), h.at(id))
	if err != nil {
		h.w.t.Fatal(err)
	}
	return v.To
}

// touch proves a passkey.
func (h *human) touch(id string) (stepup.Visit, error) {
	h.w.t.Helper()
	ctx := h.w.t.Context()
	options, err := h.w.stepups.PasskeyOptions(ctx, h.at(id))
	if err != nil {
		return stepup.Visit{}, err
	}
	v, err := h.w.stepups.PasskeyAnswer(ctx, h.at(id), h.device.Sign(options))
	return h.took(id, v), err
}

// types types a code.
func (h *human) types(id, code string) (stepup.Visit, error) {
	v, err := h.w.stepups.Code(h.w.t.Context(), h.at(id), code)
	return h.took(id, v), err
}

// codeIn is the one-time code of the address that a browser was sent to.
func (w *world) codeIn(to string) secret.Text {
	w.t.Helper()
	u, err := url.Parse(to)
	if err != nil || u.Scheme+"://"+u.Host+u.Path != returnTo || u.Query().Get("state") != "s1" || u.Query().Get("code") == "" {
		w.t.Fatalf("the browser is sent to %q", to)
	}
	return secret.New(u.Query().Get("code"))
}

// redeem has the app redeem what came back.
func (w *world) redeem(id, to, subject string) stepup.Result {
	w.t.Helper()
	r, err := w.stepups.Redeem(w.t.Context(), "web", id, w.codeIn(to), gatehouse.Subject(subject))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// enrolled returns a person who has set up both kinds of factor.
func (w *world) enrolled(subject string, methods ...stepup.Method) *human {
	w.t.Helper()
	h := w.human(subject)
	for i, m := range methods {
		a := ask(subject)
		a.Add = i > 0
		a.Methods = []stepup.Method{m}
		id, v := h.begin(a)
		if i > 0 {
			if v.Page.Step != stepup.Prove {
				w.t.Fatalf("the page is %+v", v.Page)
			}
			if methods[0] == stepup.TOTP {
				if v, err := h.types(id, h.code(1)); err != nil || v.Page.Step != stepup.Setup {
					w.t.Fatalf("proving: %+v, %v", v.Page, err)
				}
			} else if _, err := h.touch(id); err != nil {
				w.t.Fatal(err)
			}
		}
		to := ""
		if m == stepup.TOTP {
			to = h.setUpTOTP(id)
		} else {
			to = h.setUpPasskey(id)
		}
		w.redeem(id, to, subject)
	}
	return h
}

func wantRule(t testing.TB, what, rule string, err error) {
	t.Helper()
	if got := wire.RuleOf(err); got != rule {
		t.Errorf("%s: %v (rule %q), want %s", what, err, got, rule)
	}
}

// virtual runs a story in virtual time.
func virtual(t *testing.T, story func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { story(t, newWorld(t, storetest.SQLite(t), connecttest.Options{Offline: true})) })
}

// count returns how many rows a table has.
func (w *world) count(table string) int {
	w.t.Helper()
	_, rows := storetest.OpenRaw(w.t, w.DSN).Query("SELECT 1 FROM " + table)
	return len(rows)
}

// dump returns all that the database holds, as text.
func (w *world) dump() string {
	w.t.Helper()
	if err := w.Log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	raw := storetest.OpenRaw(w.t, w.DSN)
	var all strings.Builder
	for _, table := range []string{"stepup_requests", "stepup_factors", "stepup_recovery", "stepup_browsers", "stepup_people", "audit_entries", "record_subjects", "vault_person_keys"} {
		_, rows := raw.Query("SELECT * FROM " + table)
		for _, row := range rows {
			for _, v := range row {
				if b, ok := v.([]byte); ok {
					v = string(b)
				}
				fmt.Fprintln(&all, v)
			}
		}
	}
	return all.String()
}

// entries returns the log's entries of an action, oldest first.
func (w *world) entries(action string) []audit.Shown {
	w.t.Helper()
	if err := w.Log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	list, err := audit.List(w.t.Context(), w.DB.Audit(), audit.Filter{Action: action, Last: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}
