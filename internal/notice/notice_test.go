package notice_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/notice"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// world is what takes notices in, and the app that is told.
type world struct {
	*connecttest.World
	t       *testing.T
	duties  *cases.Cases
	notices *notice.Notices
	app     *connecttest.App
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: connecttest.New(t, storetest.SQLite(t), connecttest.Options{}), t: t}
	w.duties, w.notices, w.app = w.Duties(0)
	return w
}

func sum(key, message string) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(message))
	return mac.Sum(nil)
}

// signedRequest is what Meta sends, made by the rules of its documentation.
func signedRequest(secret string, payload map[string]any) string {
	body, _ := json.Marshal(payload)
	encoded := base64.RawURLEncoding.EncodeToString(body)
	return base64.RawURLEncoding.EncodeToString(sum(secret, encoded)) + "." + encoded
}

func (w *world) request(user string, at time.Time) string {
	return signedRequest(w.Meta.Apps().Facebook.AppSecret, map[string]any{"algorithm": "HMAC-SHA256", "issued_at": at.Unix(), "user_id": user})
}

func (w *world) xEvent(event string) error {
	signature := "sha256=" + base64.StdEncoding.EncodeToString(sum(w.X.App().ConsumerSecret, event))
	return w.notices.Event(w.t.Context(), gatehouse.X, "", []byte(event), signature)
}

func (w *world) metaEvent(event string) error {
	signature := "sha256=" + hex.EncodeToString(sum(w.Meta.Apps().Facebook.AppSecret, event))
	return w.notices.Event(w.t.Context(), gatehouse.Facebook, "", []byte(event), signature)
}

func (w *world) status(id gatehouse.ConnectionID) connect.Status {
	w.t.Helper()
	c, err := w.Connections.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Status
}

func (w *world) open() []cases.Duty {
	w.t.Helper()
	list, err := w.duties.List(w.t.Context(), cases.Filter{})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// refusals returns the rules of the notices that the log says were refused.
func (w *world) refusals() []string {
	w.t.Helper()
	// Whoever is refused does not wait until that is on disk.
	if err := w.Log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	shown, err := audit.List(w.t.Context(), w.DB.Audit(), audit.Filter{Action: "notice.refuse", Last: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	var rules []string
	for _, s := range shown {
		rules = append(rules, s.Rule)
	}
	return rules
}

// A person removes the app, then asks for deletion: they are cut off at once, the
// app is asked, and when it has answered nothing of them is left.
func TestDeletionFromBeginningToEnd(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	mine, other := w.Connect("user-7", "pages", connecttest.Person(1)), w.Connect("user-8", "pages", connecttest.Person(2))
	user := w.UserOf(mine.ID)
	if err := w.notices.Deauthorized(ctx, gatehouse.Facebook, "", w.request(user, time.Now())); err != nil {
		t.Fatal(err)
	}
	if got := w.status(mine.ID); got != connect.Revoked {
		t.Errorf("after the deauthorization the connection is %s", got)
	}
	answer, err := w.notices.DeletionRequested(ctx, gatehouse.Facebook, "pages", w.request(user, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if answer.URL != connecttest.PublicURL+"/_gatehouse/deletion/"+answer.Code || len(answer.Code) != 26 || strings.Trim(answer.Code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		t.Errorf("the answer is %+v", answer)
	}
	// One duty, under the stronger word.
	duties := w.open()
	if len(duties) != 1 || duties[0].Kind != cases.DeletionRequested || duties[0].Code != answer.Code {
		t.Fatalf("the duties are %+v", duties)
	}
	if err := w.duties.Tend(ctx); err != nil {
		t.Fatal(err)
	}
	if asked := w.app.Asked[duties[0].ID]; !slices.Contains(asked, "user-7") || !slices.Contains(asked, user) {
		t.Errorf("the app was asked for %v", asked)
	}
	d, err := w.duties.Get(ctx, duties[0].ID)
	if err != nil || d.State(time.Now()) != cases.Open || d.Revoked.IsZero() || !d.Shredded.IsZero() {
		t.Fatalf("before the app's answer: %+v, %v", d, err)
	}
	if _, err := w.duties.Answer(ctx, d.ID, "scheduler"); err != nil {
		t.Fatal(err)
	}
	if d, err = w.duties.Advance(ctx, d.ID); err != nil || d.State(time.Now()) != cases.Done || d.Shredded.IsZero() || d.Proof == "" {
		t.Fatalf("after the app's answer: %+v, %v", d, err)
	}
	if got := w.status(mine.ID); got != connect.Erased {
		t.Errorf("the connection is %s", got)
	}
	if got := w.status(other.ID); got != connect.Healthy {
		t.Errorf("somebody else's connection is %s", got)
	}
	if people, err := w.Connections.People(ctx, connect.Who{App: "pages", User: user}); err != nil || len(people) > 0 {
		t.Errorf("the person is still known: %v, %v", people, err)
	}
	// The same request again finds the same duty; a new one, nothing to delete.
	later, err := w.notices.DeletionRequested(ctx, gatehouse.Facebook, "", w.request(user, time.Now().Add(time.Second)))
	if err != nil || later.Code == answer.Code {
		t.Errorf("a request after the erasure gives %+v, %v", later, err)
	}
	nothing, err := w.duties.ByCode(ctx, later.Code)
	if err != nil || nothing.State(time.Now()) != cases.Done || nothing.Person != "" {
		t.Errorf("its duty is %+v, %v", nothing, err)
	}
}

// Whoever reconnects while they are being erased is somebody new, and stays.
func TestReturnDuringErasure(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	old := w.Connect("user-7", "pages", connecttest.Person(1))
	user := w.UserOf(old.ID)
	removed := time.Now()
	if _, err := w.notices.DeletionRequested(ctx, gatehouse.Facebook, "", w.request(user, removed)); err != nil {
		t.Fatal(err)
	}
	back := w.Connect("user-7", "pages", connecttest.Person(1))
	if back.ID == old.ID || back.Person == old.Person {
		t.Fatalf("the new grant joined the old connection: %+v", back)
	}
	d := w.open()[0]
	if _, err := w.duties.Answer(ctx, d.ID, "scheduler"); err != nil {
		t.Fatal(err)
	}
	if d, err := w.duties.Advance(ctx, d.ID); err != nil || d.State(time.Now()) != cases.Done {
		t.Fatalf("the duty is %+v, %v", d, err)
	}
	if got := w.status(old.ID); got != connect.Erased {
		t.Errorf("the old connection is %s", got)
	}
	if got := w.status(back.ID); got != connect.Healthy {
		t.Errorf("the new connection is %s", got)
	}
	if status, err := w.Call(back.ID, "GET", w.MetaURL+"/v25.0/me"); err != nil || status != 200 {
		t.Errorf("a call with the new grant gives %d, %v", status, err)
	}
	// The callback for the old removal, delivered late, ends nothing.
	if err := w.notices.Deauthorized(ctx, gatehouse.Facebook, "", w.request(user, removed.Add(-time.Minute))); err != nil {
		t.Fatal(err)
	}
	if got := w.status(back.ID); got != connect.Healthy {
		t.Errorf("an old deauthorization made the new connection %s", got)
	}
}

// A request for deletion that arrives again ends nothing that the person granted
// after it: the first arrival has joined the duty of the removal, so that only its
// time tells.
func TestDeletionRequestAfterReturn(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	old := w.Connect("user-7", "pages", connecttest.Person(1))
	user, removed := w.UserOf(old.ID), time.Now().Add(-5*time.Minute)
	storetest.OpenRaw(t, w.DSN).Exec("UPDATE connections SET created = created - 600000000, obtained = obtained - 600000000")
	if err := w.notices.Deauthorized(ctx, gatehouse.Facebook, "", w.request(user, removed)); err != nil {
		t.Fatal(err)
	}
	request := w.request(user, removed)
	if _, err := w.notices.DeletionRequested(ctx, gatehouse.Facebook, "", request); err != nil {
		t.Fatal(err)
	}
	d := w.open()[0]
	if _, err := w.duties.Answer(ctx, d.ID, "scheduler"); err != nil {
		t.Fatal(err)
	}
	if d, err := w.duties.Advance(ctx, d.ID); err != nil || d.State(time.Now()) != cases.Done {
		t.Fatalf("the duty is %+v, %v", d, err)
	}
	back := w.Connect("user-7", "pages", connecttest.Person(1))
	answer, err := w.notices.DeletionRequested(ctx, gatehouse.Facebook, "", request)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.status(back.ID); got != connect.Healthy {
		t.Errorf("an old request made the new connection %s", got)
	}
	if nothing, err := w.duties.ByCode(ctx, answer.Code); err != nil || nothing.Person != "" || nothing.State(time.Now()) != cases.Done {
		t.Errorf("its duty is %+v, %v", nothing, err)
	}
	// One that is younger than the grant is meant.
	if _, err := w.notices.DeletionRequested(ctx, gatehouse.Facebook, "", w.request(user, time.Now())); err != nil {
		t.Fatal(err)
	}
	if got := w.status(back.ID); got != connect.Revoked {
		t.Errorf("a new request made the new connection %s", got)
	}
}

// Platforms tell of what we did ourselves, too: a person whose connection the app
// ended is not erased for it.
func TestEchoOfOwnRevocation(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c := w.Connect("user-7", "pages", connecttest.Person(1))
	user := w.UserOf(c.ID)
	if err := w.Connections.Revoke(ctx, c.ID, "the person signed out"); err != nil {
		t.Fatal(err)
	}
	if err := w.notices.Deauthorized(ctx, gatehouse.Facebook, "", w.request(user, time.Now())); err != nil {
		t.Fatal(err)
	}
	if duties := w.open(); len(duties) > 0 {
		t.Errorf("our own revocation opened %+v", duties)
	}
	// Much later, it is the person.
	if err := w.notices.Deauthorized(ctx, gatehouse.Facebook, "", w.request(user, time.Now().Add(-11*time.Minute))); err != nil {
		t.Fatal(err)
	}
	if duties := w.open(); len(duties) != 1 {
		t.Errorf("the person's own removal opened %+v", duties)
	}
}

func TestSignedRequestsAreJudged(t *testing.T) {
	w := newWorld(t)
	user := w.UserOf(w.Connect("user-7", "pages", connecttest.Person(1)).ID)
	secret := w.Meta.Apps().Facebook.AppSecret
	payload := func(edit func(map[string]any)) string {
		p := map[string]any{"algorithm": "HMAC-SHA256", "issued_at": time.Now().Unix(), "user_id": user}
		edit(p)
		return signedRequest(secret, p)
	}
	same := func(map[string]any) {}
	good := payload(same)
	for name, test := range map[string]struct {
		platform gatehouse.Platform
		only     gatehouse.AppName
		raw      string
		rule     string // "" means that it is taken
	}{
		"right":              {gatehouse.Facebook, "", good, ""},
		"for its app":        {gatehouse.Facebook, "pages", good, ""},
		"for another app":    {gatehouse.Facebook, "insta", good, "notice/signature"},
		"another platform's": {gatehouse.Instagram, "", good, "notice/signature"},
		"X has none":         {gatehouse.X, "", good, "notice/platform"},
		"another secret":     {gatehouse.Facebook, "", signedRequest("guess", map[string]any{"algorithm": "HMAC-SHA256", "issued_at": time.Now().Unix(), "user_id": user}), "notice/signature"},
		"changed payload":    {gatehouse.Facebook, "", good[:strings.IndexByte(good, '.')+1] + base64.RawURLEncoding.EncodeToString([]byte(`{"user_id":"1"}`)), "notice/signature"},
		"unknown algorithm":  {gatehouse.Facebook, "", payload(func(p map[string]any) { p["algorithm"] = "none" }), "notice/signature"},
		"other spelling":     {gatehouse.Facebook, "", payload(func(p map[string]any) { p["algorithm"] = "hmac-sha256" }), ""},
		"no algorithm":       {gatehouse.Facebook, "", payload(func(p map[string]any) { delete(p, "algorithm") }), "notice/signature"},
		"too old":            {gatehouse.Facebook, "", payload(func(p map[string]any) { p["issued_at"] = time.Now().Add(-49 * time.Hour).Unix() }), "notice/stale"},
		"just not too old":   {gatehouse.Facebook, "", payload(func(p map[string]any) { p["issued_at"] = time.Now().Add(-47 * time.Hour).Unix() }), ""},
		"from the future":    {gatehouse.Facebook, "", payload(func(p map[string]any) { p["issued_at"] = time.Now().Add(6 * time.Minute).Unix() }), "notice/stale"},
		"a little ahead":     {gatehouse.Facebook, "", payload(func(p map[string]any) { p["issued_at"] = time.Now().Add(4 * time.Minute).Unix() }), ""},
		"no time":            {gatehouse.Facebook, "", payload(func(p map[string]any) { delete(p, "issued_at") }), "notice/stale"},
		"expired":            {gatehouse.Facebook, "", payload(func(p map[string]any) { p["expires"] = time.Now().Add(-time.Minute).Unix() }), "notice/stale"},
		"not expired":        {gatehouse.Facebook, "", payload(func(p map[string]any) { p["expires"] = time.Now().Add(time.Minute).Unix() }), ""},
		"no user":            {gatehouse.Facebook, "", payload(func(p map[string]any) { delete(p, "user_id") }), "notice/malformed"},
		"hostile user":       {gatehouse.Facebook, "", payload(func(p map[string]any) { p["user_id"] = "1' OR '1'='1" }), "notice/malformed"},
		"empty":              {gatehouse.Facebook, "", "", "notice/signature"},
		"no dot":             {gatehouse.Facebook, "", "abc", "notice/signature"},
		"huge":               {gatehouse.Facebook, "", strings.Repeat("a", 70<<10), "notice/malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.notices.DeletionRequested(t.Context(), test.platform, test.only, test.raw)
			if got := wire.RuleOf(err); got != test.rule {
				t.Errorf("it is judged %q (%v), want %q", got, err, test.rule)
			}
			if test.rule != "" && !errors.Is(err, gatehouse.ErrDenied) {
				t.Errorf("the refusal is %v", err)
			}
		})
	}
	if got := w.refusals(); !slices.Contains(got, "notice/stale") || !slices.Contains(got, "notice/signature") {
		t.Errorf("the log holds the refusals %v", got)
	}
}

// The signed request that Meta's documentation is recomputed for, as Meta would have
// sent it at its time: with this secret, this payload and this signature.
func TestDocumentedSignedRequest(t *testing.T) {
	const vector = "hwWF5NbORS769CAtPRO6hA97S5_nbAebr5z5MJlJhsg.eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsImlzc3VlZF9hdCI6MTcwMDAwMDAwMCwidXNlcl9pZCI6IjIxODQ3MSJ9"
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(1700000000, 0).Add(-6 * time.Minute)))
		w := &world{World: connecttest.New(t, storetest.SQLite(t), connecttest.Options{Offline: true, FacebookSecret: "app-secret-demo"}), t: t}
		w.duties, w.notices, w.app = w.Duties(0)
		ask := func() (notice.Deletion, error) {
			return w.notices.DeletionRequested(t.Context(), gatehouse.Facebook, "", vector)
		}
		if _, err := ask(); wire.RuleOf(err) != "notice/stale" {
			t.Errorf("before its time: %v", err)
		}
		time.Sleep(7 * time.Minute)
		first, err := ask()
		if err != nil || first.Code == "" {
			t.Fatalf("at its time: %+v, %v", first, err)
		}
		if err := w.notices.Deauthorized(t.Context(), gatehouse.Facebook, "", vector); err != nil {
			t.Errorf("as a deauthorization: %v", err)
		}
		time.Sleep(47 * time.Hour)
		if again, err := ask(); err != nil || again != first {
			t.Errorf("again: %+v, %v", again, err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := ask(); wire.RuleOf(err) != "notice/stale" {
			t.Errorf("after its time: %v", err)
		}
	})
}

// A challenge that is no short opaque token would have us sign a forged event.
func TestChallengeIsNoOracle(t *testing.T) {
	w := newWorld(t)
	forged := `{"data":{"event_type":"oauth.revoke","payload":{"user_id":"1"}}}`
	for _, token := range []string{forged, "", "a b", strings.Repeat("a", 201), "a\nb", `a"b`, "a{b"} {
		if answer, err := w.notices.AnswerCRC(t.Context(), "main-x", token); answer != "" || wire.RuleOf(err) != "notice/crc-token" {
			t.Errorf("the token %.20q gets %q, %v", token, answer, err)
		}
	}
	want := "sha256=" + base64.StdEncoding.EncodeToString(sum(w.X.App().ConsumerSecret, "MTQ1-opaque_token"))
	// Two X apps are configured, and one of them has a consumer secret.
	for _, only := range []gatehouse.AppName{"", "main-x"} {
		if answer, err := w.notices.AnswerCRC(t.Context(), only, "MTQ1-opaque_token"); answer != want || err != nil {
			t.Errorf("the right token gets %q, %v", answer, err)
		}
	}
	for _, only := range []gatehouse.AppName{"public-x", "pages", "nowhere"} {
		if answer, err := w.notices.AnswerCRC(t.Context(), only, "MTQ1-opaque_token"); answer != "" || wire.RuleOf(err) != "notice/which-app" {
			t.Errorf("for %s the right token gets %q, %v", only, answer, err)
		}
	}
}

func TestSubscriptionIsChecked(t *testing.T) {
	w := newWorld(t)
	own, err := w.Connections.VerifyToken(t.Context(), "pages")
	if err != nil {
		t.Fatal(err)
	}
	insta, err := w.Connections.VerifyToken(t.Context(), "insta")
	if err != nil {
		t.Fatal(err)
	}
	if own.Equal(insta) {
		t.Error("two apps have one verify token")
	}
	for name, test := range map[string]struct {
		platform gatehouse.Platform
		only     gatehouse.AppName
		token    string
		ok       bool
	}{
		"right":         {gatehouse.Facebook, "", own.Reveal(), true},
		"named":         {gatehouse.Facebook, "pages", own.Reveal(), true},
		"another app's": {gatehouse.Facebook, "", insta.Reveal(), false},
		"empty":         {gatehouse.Facebook, "", "", false},
		"unknown app":   {gatehouse.Facebook, "nowhere", own.Reveal(), false},
	} {
		if err := w.notices.CheckSubscription(t.Context(), test.platform, test.only, test.token); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Events reach the app once, in order, unchanged, and only with the right signature.
func TestEventsAreForwarded(t *testing.T) {
	w := newWorld(t)
	c := w.Connect("user-7", "pages", connecttest.Person(1))
	user := w.UserOf(c.ID)
	event := fmt.Sprintf(`{"object":"user","entry":[{"id":%q,"time":1,"changed_fields":["feed"],"n":1},{"uid":%q,"time":2,"text":"caf\u00e9 \/ <"},{"id":"99","time":3}]}`, user, user)
	for range 2 {
		if err := w.metaEvent(event); err != nil {
			t.Fatal(err)
		}
	}
	told := w.app.Told
	if len(told) != 3 {
		t.Fatalf("the app was told %d times", len(told))
	}
	if told[0].Stream != told[1].Stream || told[0].Stream == told[2].Stream || told[0].Person != c.Person || told[2].Person != "" || told[0].App != "pages" {
		t.Errorf("the app was told %+v", told)
	}
	if strings.Contains(told[0].Stream, user) || strings.Contains(told[0].ID, user) {
		t.Error("the person's id stands in what is kept in clear")
	}
	want := fmt.Sprintf(`{"platform":"facebook","object":"user","entry":{"uid":%q,"time":2,"text":"caf\u00e9 \/ <"}}`, user)
	if got := string(told[1].Data); got != want {
		t.Errorf("the second is\n%s, want\n%s", got, want)
	}
	for name, signature := range map[string]string{
		"none": "", "another key's": "sha256=" + hex.EncodeToString(sum("guess", event)), "another body's": "sha256=" + hex.EncodeToString(sum(w.Meta.Apps().Facebook.AppSecret, event+" ")),
		"X's form": "sha256=" + base64.StdEncoding.EncodeToString(sum(w.Meta.Apps().Facebook.AppSecret, event)), "SHA-1": "sha1=00",
	} {
		if err := w.notices.Event(t.Context(), gatehouse.Facebook, "", []byte(event), signature); wire.RuleOf(err) != "notice/signature" {
			t.Errorf("with the signature %s: %v", name, err)
		}
	}
	for name, body := range map[string]string{
		"no object": `{"entry":[{"id":"1"}]}`, "no entry": `{"object":"user","entry":[]}`,
		"not JSON": `{"object":`, "a list": `[]`, "two documents": `{"object":"user","entry":[{"id":"1"}]}{}`,
	} {
		if err := w.metaEvent(body); wire.RuleOf(err) != "notice/malformed" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An id of another form orders nothing and leads to nobody; the event is the app's.
	if err := w.metaEvent(`{"object":"user","entry":[{"id":"1 OR 1"}]}`); err != nil || len(w.app.Told) != 4 || w.app.Told[3].Person != "" {
		t.Errorf("with a strange id: %v, %+v", err, w.app.Told[3:])
	}
	if len(w.app.Told) != 4 {
		t.Errorf("the app was told of what was refused: %v", w.app.Told[3:])
	}
}

// While an app secret is being replaced, what Meta signs with either is genuine.
func TestNoticesUnderTheSecretThatIsReplaced(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{FacebookSecret: "the new one"})
	_, notices, _ := w.Duties(0)
	const event = `{"object":"user","entry":[{"id":"1"}]}`
	for key, rule := range map[string]string{"the new one": "", w.Meta.Apps().Facebook.AppSecret: "", "another": "notice/signature"} {
		err := notices.Event(t.Context(), gatehouse.Facebook, "", []byte(event), "sha256="+hex.EncodeToString(sum(key, event)))
		if got := wire.RuleOf(err); got != rule {
			t.Errorf("an event under %.7s… is judged %q", key, got)
		}
		payload := map[string]any{"algorithm": "HMAC-SHA256", "issued_at": time.Now().Unix(), "user_id": "1"}
		if err := notices.Deauthorized(t.Context(), gatehouse.Facebook, "", signedRequest(key, payload)); wire.RuleOf(err) != rule {
			t.Errorf("a request under %.7s… is judged %v", key, err)
		}
	}
}

// A change of permissions has the grant looked at.
func TestPermissionsAreRechecked(t *testing.T) {
	w := newWorld(t)
	c := w.Connect("user-7", "pages", connecttest.Person(1))
	if err := w.metaEvent(fmt.Sprintf(`{"object":"permissions","entry":[{"id":%q,"time":1,"changes":[{"field":"pages_show_list","value":{"verb":"revoked"}}]},{"id":"99","time":1}]}`, w.UserOf(c.ID))); err != nil {
		t.Fatal(err)
	}
	if got := w.app.Rechecked; len(got) != 1 || got[0] != c.Person {
		t.Errorf("rechecked are %v", got)
	}
}

// X tells that a person removed the app: in its present form and in the older one.
func TestRevocationAtX(t *testing.T) {
	for name, event := range map[string]string{
		"activity":         `{"data":{"event_uuid":"u1","event_type":"oauth.revoke","filter":{},"payload":{"date_time":%[2]q,"user_id":%[1]q,"app_id":"7"}}}`,
		"account activity": `{"user_event":{"revoke":{"date_time":%[2]q,"target":{"app_id":"7"},"source":{"user_id":%[1]q}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.Connect("user-7", "publish", connecttest.Person(1))
			user := w.UserOf(c.ID)
			if err := w.xEvent(fmt.Sprintf(event, user, c.Created.Add(-time.Hour).UTC().Format(time.RFC3339))); err != nil {
				t.Fatal(err)
			}
			if got := w.status(c.ID); got != connect.Healthy {
				t.Errorf("an event older than the grant made it %s", got)
			}
			now := strings.Replace(event, `"u1"`, `"u2"`, 1)
			if err := w.xEvent(fmt.Sprintf(now, user, time.Now().UTC().Format(time.RFC3339Nano))); err != nil {
				t.Fatal(err)
			}
			if got := w.status(c.ID); got != connect.Revoked {
				t.Errorf("the connection is %s", got)
			}
			if duties := w.open(); len(duties) != 1 || duties[0].Kind != cases.Deauthorized || duties[0].Deadline.Sub(duties[0].Opened) > 24*time.Hour {
				t.Errorf("the duties are %+v", duties)
			}
			if len(w.app.Told) != 2 {
				t.Errorf("the app was told %d times", len(w.app.Told))
			}
		})
	}
	w := newWorld(t)
	if err := w.xEvent(`{"data":{"event_type":"oauth.revoke","payload":{"user_id":"1"}}}`); wire.RuleOf(err) != "notice/malformed" {
		t.Errorf("a revocation without a time: %v", err)
	}
}

// Whatever it dies after, the platform sends it again, and nothing is lost or
// doubled.
func TestNoticeThatWasInterrupted(t *testing.T) {
	for _, step := range []string{"revoke", "ask", "forward"} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			c := w.Connect("user-7", "publish", connecttest.Person(1))
			broken := errors.New("the power went")
			w.app.Fail = func(s string) error {
				if s == step {
					return broken
				}
				return nil
			}
			event := fmt.Sprintf(`{"data":{"event_uuid":"u1","event_type":"oauth.revoke","payload":{"date_time":%q,"user_id":%q}}}`, time.Now().UTC().Format(time.RFC3339Nano), w.UserOf(c.ID))
			if err := w.xEvent(event); !errors.Is(err, broken) {
				t.Fatalf("interrupted at %s: %v", step, err)
			}
			w.app.Fail = nil
			for range 2 {
				if err := w.xEvent(event); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.duties.Tend(context.WithoutCancel(t.Context())); err != nil {
				t.Fatal(err)
			}
			// A step that failed is looked at again after a pause.
			d, err := w.duties.Advance(t.Context(), w.open()[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.status(c.ID); got != connect.Revoked || len(w.open()) != 1 || len(w.app.Told) != 1 || len(w.app.Asked) != 1 || d.Asked.IsZero() || d.Revoked.IsZero() {
				t.Errorf("the connection is %s, duties %+v, told %d, asked %d", got, w.open(), len(w.app.Told), len(w.app.Asked))
			}
		})
	}
}
