package console

import (
	"bufio"
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// keys is a source of the pages about keys.
type keys struct {
	view  KeysView
	key   KeyView
	allow func(ctx context.Context, by operator.Actor, name string) error
	done  []string
	move  KeyMove
	// needed says that something needs the old version.
	needed bool
}

func (k *keys) Keys(context.Context) (KeysView, error) { return k.view, nil }
func (k *keys) Key(_ context.Context, name string) (KeyView, error) {
	if name == "nothing" {
		return KeyView{}, errNoSuch("key")
	}
	key := k.key
	if strings.Contains(name, "@") {
		if name != "tokens@1" || !k.needed {
			key.Needed = nil
		}
		key.Versions = slices.DeleteFunc(slices.Clone(key.Versions), func(r KeyRow) bool { return r.Name != name })
	}
	return key, nil
}

func (k *keys) Moving() KeyMove { return k.move }

func (k *keys) Move(actor string) bool {
	if k.move.Ended.IsZero() && !k.move.Began.IsZero() {
		return false
	}
	k.done = append(k.done, "move by "+actor)
	return true
}

func (k *keys) Rotate(_ context.Context, actor, name string) (string, error) {
	k.done = append(k.done, "rotate "+name+" by "+actor)
	return "tokens@2 is active.", nil
}

func (k *keys) Destroy(ctx context.Context, by operator.Actor, name string) (string, error) {
	if err := k.allow(ctx, by, name); err != nil {
		return "", err
	}
	k.done = append(k.done, "destroy "+name+" by "+string(by.Account()))
	return "It is scheduled.", nil
}

func TestKeys(t *testing.T) {
	now := time.Now()
	domain := KeyRow{Name: "tokens@2", Kind: "domain", State: "active", Purpose: "seals tokens", Created: now.AddDate(0, 0, -400), Used: now, WrappedBy: "root/a", Rotates: true}
	old := KeyRow{Name: "tokens@1", Kind: "domain", State: "decrypt-only", Created: now.AddDate(-2, 0, 0), Destroys: true}
	from := &keys{view: KeysView{Root: Check{Name: "Root key", Tone: Good, State: "answers", Says: "It can be used."}, Keys: []KeyRow{domain, old, {Name: "service/a/b", Kind: "service", State: "active"}}}, key: KeyView{Versions: []KeyRow{domain, old}, Needed: []string{"tokens@1: 12 keys of people"}}}
	d := newDesk(t, operator.Owner, Keys(from), Operators())
	from.allow = func(ctx context.Context, by operator.Actor, name string) error {
		return d.house.directory.Allow(ctx, by, operator.Proposal{Act: operator.ActDestroyKey, Target: "version " + name, Digest: operator.Digest(operator.ActDestroyKey, name)})
	}
	r := d.get("/keys")
	r.shows(t, "Root key", "answers", "Domain keys", `href="/keys/tokens@2"`, `href="/keys/service%2Fa%2Fb"`, "1 y ago", "!Left to do", "!Keyring</h2>")
	from.view.Unfinished = []string{"Something is left."}
	d.get("/keys").shows(t, "Left to do", "Something is left.")
	d.get("/keys/tokens").shows(t, "12 keys of people", "Make a new version", `href="/keys/tokens@1"`, "!Destroy tokens@1", "before there is a log")
	d.get("/keys/tokens@1").shows(t, "Destroy tokens@1", "!Make a new version")
	from.needed = true
	d.get("/keys/tokens@1").shows(t, "12 keys of people", "when a newer one seals", "!Destroy tokens@1")
	from.needed = false
	d.get("/keys/tokens@2").shows(t, "Make a new version", "!Destroy tokens@2")
	if r := d.get("/keys/nothing"); r.status != 404 {
		t.Errorf("a key that is not there: status %d", r.status)
	}

	if r := d.post("/keys/tokens@2/rotate", "typed", "Rotate"); r.status != 400 || len(from.done) != 0 {
		t.Errorf("another word: status %d, done %q", r.status, from.done)
	}
	d.post("/keys/tokens@2/rotate", "typed", "rotate").goesTo(t, "/keys")
	d.get("/keys").shows(t, "tokens@2 is active.")

	// With nobody else to decide, one is enough; with somebody, it waits for them.
	d.post("/keys/tokens@1/destroy", "typed", "destroy").goesTo(t, "/keys/tokens@1")
	other := d.house.join("Grace", operator.Security)
	d.post("/keys/tokens@0/destroy", "typed", "destroy").goesTo(t, "/operators/approvals")
	other.get("/operators/approvals").shows(t, "version tokens@0")
	want := []string{"rotate tokens@2 by " + string(d.account.ID), "destroy tokens@1 by " + string(d.account.ID)}
	if !slices.Equal(from.done, want) {
		t.Errorf("done %q, want %q", from.done, want)
	}
	waiting, err := d.house.directory.Approvals(t.Context())
	must(t, err)
	must(t, d.house.directory.Approve(t.Context(), operator.By(sessionOf(t, other)), waiting[0].ID))
	d.post("/keys/tokens@0/destroy", "typed", "destroy").goesTo(t, "/keys/tokens@0")
	if len(from.done) != 3 {
		t.Errorf("with approval: done %q", from.done)
	}

	auditor := d.house.join("Guest", operator.Auditor)
	auditor.get("/keys/tokens").shows(t, "12 keys of people", "!Make a new version")
	auditor.get("/keys/tokens@1").shows(t, "decrypt-only", "!Destroy tokens@1")
	for _, path := range []string{"/keys/tokens@2/rotate", "/keys/tokens@1/destroy"} {
		word := path[strings.LastIndex(path, "/")+1:]
		if r := auditor.post(path, "typed", word); r.status != 403 || len(from.done) != 3 {
			t.Errorf("an auditor, %s: status %d", path, r.status)
		}
	}
	keeper := d.house.join("Olga", operator.Operator)
	keeper.get("/keys/tokens").shows(t, "Make a new version")
	keeper.get("/keys/tokens@1").shows(t, "decrypt-only", "!Destroy tokens@1")
	developer := d.house.join("Dev", operator.Developer)
	for _, path := range []string{"/keys", "/keys/tokens"} {
		if r := developer.get(path); r.status != 403 {
			t.Errorf("a developer, %s: status %d", path, r.status)
		}
	}
	d.house.ahead.Store(int64(11 * time.Minute))
	for _, path := range []string{"/keys/tokens@2/rotate", "/keys/tokens@1/destroy"} {
		if r := d.post(path, "typed", path[strings.LastIndex(path, "/")+1:]); !strings.HasPrefix(r.header.Get("Location"), "/prove") || len(from.done) != 3 {
			t.Errorf("%s without a recent proof: status %d", path, r.status)
		}
	}
}

// sessionOf is the session of a browser.
func sessionOf(t *testing.T, d *desk) operator.Session {
	t.Helper()
	s, _, err := d.house.directory.Session(t.Context(), d.browser(), secretOf(d))
	must(t, err)
	return s
}

// The keyring is made anew, and what is moved is shown while it is and afterwards.
func TestKeysAreMoved(t *testing.T) {
	now := time.Now()
	ring := KeyRow{Name: "keyring", Kind: "keyring", State: "active", Rotates: true}
	from := &keys{view: KeysView{Root: Check{Name: "Root key", Tone: Good, State: "answers"}, Keys: []KeyRow{ring}}, key: KeyView{Versions: []KeyRow{ring}}}
	d := newDesk(t, operator.Operator, Keys(from))
	me := string(d.account.ID)
	d.get("/keys").shows(t, `data-live="/keys/live"`, "!Moving keys", "!Move what can be moved now")
	d.get("/keys/keyring").shows(t, "Make the keyring anew", "the key of every person", "<kbd>rotate</kbd>", "!Make a new version")
	if r := d.post("/keys/keyring/rotate", "typed", "yes"); r.status != 400 || len(from.done) != 0 {
		t.Errorf("another word: status %d", r.status)
	}
	d.post("/keys/keyring/rotate", "typed", "rotate").goesTo(t, "/keys")

	from.view.Unfinished = []string{"Something is left."}
	d.get("/keys").shows(t, "Move what can be moved now")
	d.post("/keys/move").goesTo(t, "/keys")
	d.get("/keys").shows(t, "It has begun")
	if want := []string{"rotate keyring by " + me, "move by " + me}; !slices.Equal(from.done, want) {
		t.Errorf("done %q, want %q", from.done, want)
	}

	from.move = KeyMove{Began: now, Keyring: true, What: "keys of people", Done: 250, Total: 1000}
	d.get("/keys").shows(t, "Making the keyring anew", "under way", "Keys of people: 250 of 1\u202f000", "25 %", "reload", "!Move what can be moved now")
	d.post("/keys/move").goesTo(t, "/keys")
	d.get("/keys").shows(t, "there is one move at a time")
	server := httptest.NewServer(d.house.handler)
	watching, leave := context.WithCancel(t.Context())
	res := d.open(watching, server.URL, "/keys/live")
	said := ""
	for lines := bufio.NewScanner(res.Body); !strings.Contains(said, "250 of") && lines.Scan(); {
		said += lines.Text() + "\n"
	}
	leave()
	res.Body.Close()
	server.Close() // waits for the stream's end
	if !strings.Contains(said, "event: replace") || !strings.Contains(said, "250 of") {
		t.Errorf("the stream says %q", said)
	}
	from.move.Total = 0
	d.get("/keys").shows(t, "under way", "250 of 250")
	from.move = KeyMove{Began: now, Ended: now, People: 1000, KeyringKeys: 3}
	d.get("/keys").shows(t, "Moving keys under the newest", "done", "1\u202f000 keys of people, 3 keyring keys", "!did not open")
	from.move.Unreadable = 2
	d.get("/keys").shows(t, "not all could be opened", "2 did not open")
	from.move.Failed = "Another process works on keys."
	d.get("/keys").shows(t, "stopped", "Another process works on keys.")

	auditor := d.house.join("Guest", operator.Auditor)
	auditor.get("/keys").shows(t, "stopped", "!Move what can be moved now")
	if r := auditor.post("/keys/move"); r.status != 403 || len(from.done) != 2 {
		t.Errorf("an auditor moves keys: status %d", r.status)
	}
	d.house.ahead.Store(int64(11 * time.Minute))
	if r := d.post("/keys/move"); !strings.HasPrefix(r.header.Get("Location"), "/prove") || len(from.done) != 2 {
		t.Errorf("without a recent proof: status %d", r.status)
	}
}
