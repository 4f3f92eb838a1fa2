package connect_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

const makeCheckDue = "UPDATE connections SET check_at = 1000000"

// checkNow has all checks made that there are.
func checkNow(t *testing.T, w *connecttest.World) {
	t.Helper()
	age(t, w, makeCheckDue+" WHERE check_at > 0")
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// asked is how often a path of the sandbox was asked.
func asked(w *connecttest.World, path string) (n int) {
	for _, r := range w.Requests.Last(1000) {
		if strings.HasSuffix(r.Path, path) {
			n++
		}
	}
	return n
}

func stored(t *testing.T, w *connecttest.World, id gatehouse.ConnectionID) connect.Record {
	t.Helper()
	rec, err := w.DB.Connect().Connection(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func shown(t *testing.T, w *connecttest.World, id gatehouse.ConnectionID) connect.Connection {
	t.Helper()
	v, err := w.Connections.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wants checks a connection's state, its cause, and a part of what is to be done.
func wants(t *testing.T, w *connecttest.World, id gatehouse.ConnectionID, s connect.Status, cause connect.Cause, next string) {
	t.Helper()
	v := shown(t, w, id)
	if v.Status != s || v.Cause != cause || !strings.Contains(v.Next, next) || (next == "") != (v.Next == "") {
		t.Errorf("the connection is %s/%s (%s), next: %q; want %s/%s, %q", v.Status, v.Cause, v.Reason, v.Next, s, cause, next)
	}
}

// family connects a person to Facebook and lets their first page be found.
func family(t *testing.T, w *connecttest.World) (user, page gatehouse.ConnectionID, token string) {
	t.Helper()
	user = w.Connect("user-7", "pages", connecttest.Person(1)).ID
	external, pageToken := firstPage(t, w, user)
	v, err := w.Connections.Adopt(t.Context(), w.Receipt(), user, connect.Child{
		Kind: connect.KindPage, ExternalID: external, Name: "A page", Token: secret.New(pageToken),
	})
	if err != nil {
		t.Fatal(err)
	}
	return user, v.ID, pageToken
}

// A check learns what only Facebook knows, and leaves a row alone of which there
// is nothing new to know.
func TestCheckLearnsAndLeavesAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		id := w.Connect("user-7", "pages", connecttest.Person(1)).ID
		if first := time.Until(stored(t, w, id).CheckAt); first < 0 || first > 12*time.Minute {
			t.Errorf("the first check comes in %s", first)
		}
		if asked(w, "/debug_token") != 0 {
			t.Error("checked before its time")
		}
		checkNow(t, w)
		learnt := stored(t, w, id)
		if left := time.Until(learnt.DataAccessExpires); left < 89*24*time.Hour || left > 90*24*time.Hour {
			t.Errorf("access to the data ends in %s", left)
		}
		if v := shown(t, w, id); v.Next != "" || !v.DataAccessExpires.Equal(learnt.DataAccessExpires) {
			t.Errorf("%+v", v)
		}
		for range 3 {
			checkNow(t, w)
			again := stored(t, w, id)
			if next := time.Until(again.CheckAt); next < 15*time.Hour || next > 24*time.Hour {
				t.Errorf("the next check comes in %s", next)
			}
			if again.Version != learnt.Version || !again.RenewAt.Equal(learnt.RenewAt) {
				t.Error("a check that found nothing new changed the row")
			}
		}
		if n := asked(w, "/debug_token"); n != 4 {
			t.Errorf("asked %d times", n)
		}
	})
}

// Only Facebook documents such a question.
func TestOthersAreNotChecked(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	for _, purpose := range []gatehouse.PurposeName{"publish", "gallery", "threads", "generic"} {
		if rec := stored(t, w, w.Connect("user-7", purpose, connecttest.Person(1)).ID); !rec.CheckAt.IsZero() {
			t.Errorf("%s is checked at %s", purpose, rec.CheckAt)
		}
	}
	// Not even by a row that says so.
	age(t, w, makeCheckDue)
	if err := w.Connections.Tend(t.Context()); err != nil || asked(w, "/debug_token") != 0 {
		t.Errorf("asked %d times, %v", asked(w, "/debug_token"), err)
	}
	if due, err := w.DB.Connect().DueChecks(t.Context(), time.Now(), 10); err != nil || len(due) != 0 {
		t.Errorf("still due: %d, %v", len(due), err)
	}
}

// Each way in which a token dies is found without a call, takes the Page's along,
// and says what to do.
func TestCheckFindsTheDead(t *testing.T) {
	t.Parallel()
	for cause, c := range map[connect.Cause]struct {
		subcode int
		next    string
	}{
		"password-changed": {460, "changed password"},
		"checkpoint":       {459, "must clear Facebook's security check first, then connect again"},
		"invalidated":      {467, "logged out"},
		"unused":           {493, "90 days"},
		"app-removed":      {0, "removed the app at Facebook"},
	} {
		t.Run(string(cause), func(t *testing.T) {
			t.Parallel()
			w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
			user, page, _ := family(t, w)
			if c.subcode == 0 {
				w.Meta.RemoveApp(t.Context(), "facebook", connecttest.Person(1), false)
			} else {
				control(t, w, "sessions", map[string]any{"person": connecttest.Person(1), "subcode": c.subcode})
			}
			checkNow(t, w)
			wants(t, w, user, connect.ReconnectNeeded, cause, c.next)
			wants(t, w, page, connect.ReconnectNeeded, cause, "GET /me/accounts")
			if stored(t, w, user).Access == nil {
				t.Error("the token was deleted")
			}
			checks := map[string]int{}
			for _, e := range recorded(t, w, "connect.check") {
				checks[e.Kind+" "+e.Verdict]++
			}
			if n := checks["intent allow"]; n == 0 || n != checks["outcome done"] || len(checks) != 2 {
				t.Errorf("the log holds of checks %v", checks)
			}
			if dead := recorded(t, w, "connect.dead"); len(dead) < 2 || dead[0].Rule != "platform/"+string(cause) {
				t.Errorf("the log holds %d deaths", len(dead))
			}
			// The dead are not asked about again.
			n := asked(w, "/debug_token")
			checkNow(t, w)
			if asked(w, "/debug_token") != n {
				t.Error("a dead token was checked again")
			}
		})
	}
}

// A platform that is silent, throttles, refuses the app itself or answers about
// something else changes no connection's state; the check comes back.
func TestCheckBelievesOnlyAClearWord(t *testing.T) {
	t.Parallel()
	json := func(status int, body string) world.Fault {
		return world.Fault{Status: status, ContentType: "application/json", Body: body}
	}
	for name, f := range map[string]world.Fault{
		"down":            {Status: 503},
		"broken":          {Status: 500},
		"lost":            {LoseReply: true},
		"cut":             {CutBody: true},
		"redirect":        {Redirect: "http://127.0.0.1:1/"},
		"throttled":       json(400, `{"error":{"code":4,"message":"(#4) Application request limit reached"}}`),
		"too many":        {Status: 429},
		"app refused":     json(400, `{"error":{"code":190,"message":"Invalid OAuth access token signature."}}`),
		"app refused too": json(401, `{"error":{"code":190,"error_subcode":460,"message":"x"}}`),
		"secret":          json(400, `{"error":{"code":1,"message":"Error validating client secret."}}`),
		"empty":           json(200, `{}`),
		"no data":         json(200, `{"data":{}}`),
		"no verdict":      json(200, `{"data":{"app_id":"APP","type":"USER","expires_at":0,"scopes":[]}}`),
		"null verdict":    json(200, `{"data":{"app_id":"APP","type":"USER","is_valid":null}}`),
		"other trouble":   json(200, `{"data":{"app_id":"APP","type":"USER","is_valid":false,"error":{"code":2,"message":"x"}}}`),
		"both":            json(200, `{"data":{"app_id":"APP","type":"USER","is_valid":true,"error":{"code":190,"subcode":460}}}`),
		"other app":       json(200, `{"data":{"app_id":"1","type":"USER","is_valid":true,"scopes":[]}}`),
		"other app, dead": json(200, `{"data":{"app_id":"1","type":"USER","is_valid":false,"error":{"code":190,"subcode":460}}}`),
		"other kind":      json(200, `{"data":{"app_id":"APP","type":"PAGE","is_valid":true,"scopes":[]}}`),
		"other kind dead": json(200, `{"data":{"app_id":"APP","type":"PAGE","is_valid":false,"error":{"code":190}}}`),
		"list":            json(200, `{"data":[]}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
			id := w.Connect("user-7", "pages", connecttest.Person(1)).ID
			before := stored(t, w, id)
			f.Body = strings.ReplaceAll(f.Body, "APP", w.Meta.Apps().Facebook.AppID)
			f.Match, f.Times = world.FaultMatch{Path: "/v25.0/debug_token"}, -1
			if err := w.Faults.Add(f); err != nil {
				t.Fatal(err)
			}
			checkNow(t, w)
			after := stored(t, w, id)
			if after.Version != before.Version || after.Status != connect.Healthy || after.Reason != "" {
				t.Errorf("the connection is %s (%s), version %d after %d", after.Status, after.Reason, after.Version, before.Version)
			}
			if again := time.Until(after.CheckAt); again < 40*time.Minute || again > 80*time.Minute {
				t.Errorf("the check comes back in %s", again)
			}
			w.Faults.Clear()
			checkNow(t, w)
			if stored(t, w, id).DataAccessExpires.IsZero() {
				t.Error("the next check learnt nothing")
			}
		})
	}
	// The near miss: the same answer about this app and kind is a clear word.
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	id := w.Connect("user-7", "pages", connecttest.Person(1)).ID
	f := json(200, `{"data":{"app_id":"`+w.Meta.Apps().Facebook.AppID+`","type":"USER","is_valid":false,"error":{"code":190,"subcode":460}}}`)
	f.Match = world.FaultMatch{Path: "/v25.0/debug_token"}
	if err := w.Faults.Add(f); err != nil {
		t.Fatal(err)
	}
	checkNow(t, w)
	wants(t, w, id, connect.ReconnectNeeded, "password-changed", "connect again")
}

// A wrong secret in our own configuration costs nobody a grant.
func TestCheckWithAWrongSecret(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	user, page, token := family(t, w)
	w.Meta.Revoke(token)
	wrong := w.Open(connecttest.Options{Apps: func(apps []connect.App) []connect.App {
		for i := range apps {
			if apps[i].Name == "pages" {
				apps[i].ClientSecret = secret.New("wrong")
			}
		}
		return apps
	}})
	age(t, w, makeCheckDue+" WHERE check_at > 0")
	if err := wrong.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants(t, w, user, connect.Healthy, "", "")
	wants(t, w, page, connect.Healthy, "", "")
	checkNow(t, w)
	if fresh := stored(t, w, page); fresh.Status != connect.Healthy || asked(w, "/debug_token") < 4 {
		t.Errorf("with the right one again: %s", fresh.Status)
	}
}

// Two processes find the same check due: one makes it, however late the other
// comes to it.
func TestCheckIsMadeOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := &oldChecks{}
		w := connecttest.New(t, dsn, connecttest.Options{})
		late := w.Open(connecttest.Options{Store: func(real connect.Store) connect.Store { s.Store = real; return s }})
		id := w.Connect("user-7", "pages", connecttest.Person(1)).ID
		age(t, w, makeCheckDue)
		s.old = stored(t, w, id)
		var both sync.WaitGroup
		for _, c := range []*connect.Connections{w.Connections, late, late} {
			both.Go(func() {
				if err := c.Tend(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		tend(t, late)
		if n := asked(w, "/debug_token"); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// The person connects again while a check of the old token is under way: what is
// said of the old one says nothing of the new.
func TestCheckOfAReplacedToken(t *testing.T) {
	t.Parallel()
	s := &oldChecks{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	late := w.Open(connecttest.Options{Store: func(real connect.Store) connect.Store { s.Store = real; return s }})
	id, page, _ := family(t, w)
	age(t, w, makeCheckDue)
	s.old = stored(t, w, id)
	control(t, w, "sessions", map[string]any{"person": connecttest.Person(1), "subcode": 460})
	w.Connect("user-7", "pages", connecttest.Person(1))
	age(t, w, makeCheckDue)
	if err := late.Tend(t.Context()); err != nil || asked(w, "/debug_token") != 1 {
		t.Fatalf("asked %d times, %v", asked(w, "/debug_token"), err)
	}
	wants(t, w, id, connect.Healthy, "", "")
	wants(t, w, page, connect.Healthy, "", "")
	if status, err := w.Call(id, http.MethodGet, w.MetaURL+"/v25.0/me"); status != http.StatusOK || err != nil {
		t.Errorf("calling gives %d, %v", status, err)
	}
}

// A scope that the person took back goes from one list to the other, and returns
// with them.
func TestCheckSeesScopesTakenBack(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	user, page, _ := family(t, w)
	const scope = "pages_read_engagement"
	// One that was declined from the beginning is no news.
	age(t, w, `UPDATE connections SET declined = '["email"]'`)
	for _, c := range []struct {
		granted bool
		cause   connect.Cause
		next    string
	}{{true, "", ""}, {false, "scope-withdrawn", "agree to it"}, {true, "", ""}} {
		if !w.Meta.SetPermission("facebook", connecttest.Person(1), scope, c.granted) {
			t.Fatal("the sandbox knows no such permission")
		}
		for range 2 { // it stays said; and a page follows its parent
			checkNow(t, w)
			checkNow(t, w)
			for _, id := range []gatehouse.ConnectionID{user, page} {
				v := shown(t, w, id)
				if slices.Contains(v.Scopes, scope) != c.granted || slices.Contains(v.Declined, scope) == c.granted ||
					strings.Contains(v.Reason, scope) == c.granted || !slices.Contains(v.Declined, "email") {
					t.Errorf("granted %t: scopes %v, declined %v (%s)", c.granted, v.Scopes, v.Declined, v.Reason)
				}
				wants(t, w, id, connect.Healthy, c.cause, c.next)
			}
			if !c.granted {
				// A renewal does not make it unsaid, nor does one that fails.
				if err := w.Faults.Add(world.Fault{Match: world.FaultMatch{Path: "/v25.0/oauth/access_token"}, Status: 503}); err != nil {
					t.Fatal(err)
				}
				age(t, w, makeDue+" WHERE kind = 'user'")
				if err := w.Connections.Tend(t.Context()); err != nil || shown(t, w, user).Cause != c.cause || !strings.Contains(shown(t, w, user).Reason, "503") {
					t.Errorf("after a failed renewal it is %+v, %v", shown(t, w, user), err)
				}
				age(t, w, makeDue+" WHERE kind = 'user'")
				if err := w.Connections.Tend(t.Context()); err != nil || shown(t, w, user).Cause != c.cause {
					t.Errorf("after a renewal the cause is %q, %v", shown(t, w, user).Cause, err)
				}
			}
		}
	}
}

// Facebook ends access to the data 90 days after the last login: it is said two
// weeks before, with the date, and then the person must connect again.
func TestDataAccessEnds(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	id := w.Connect("user-7", "pages", connecttest.Person(1)).ID
	end := func(in time.Duration) string {
		until := time.Now().Add(in)
		if !w.Meta.SetDataAccess("facebook", connecttest.Person(1), until) {
			t.Fatal("the sandbox knows no such grant")
		}
		checkNow(t, w)
		return until.UTC().Format(time.DateOnly)
	}
	const day = 24 * time.Hour
	end(15 * day)
	wants(t, w, id, connect.Healthy, "", "")
	date := end(13 * day)
	wants(t, w, id, connect.Healthy, "data-access-ending", "log in again by "+date)
	if v := shown(t, w, id); !strings.Contains(v.Reason, date) {
		t.Errorf("the reason is %q", v.Reason)
	}
	date = end(2 * day)
	wants(t, w, id, connect.Healthy, "data-access-ending", "log in again by "+date)
	end(time.Hour)
	if at := time.Until(stored(t, w, id).CheckAt); at > time.Hour {
		t.Errorf("its end is looked at in %s", at)
	}
	// Logging in again moves the end, and all is well.
	w.Connect("user-7", "pages", connecttest.Person(1))
	wants(t, w, id, connect.Healthy, "", "")
	checkNow(t, w)
	wants(t, w, id, connect.Healthy, "", "")
	end(-time.Hour)
	wants(t, w, id, connect.ReconnectNeeded, "data-access-ended", "90 days without use")
	_, err := w.Connections.Credential(t.Context(), w.Receipt(), id)
	refused(t, err, "connect/reconnect-needed")
	if w.Connect("user-7", "pages", connecttest.Person(1)).ID != id {
		t.Error("connecting again gives another connection")
	}
	checkNow(t, w)
	wants(t, w, id, connect.Healthy, "", "")
}

// A Page's token dies alone: its parent brings another, for the same connection
// and the same handles. It is found by the daily check, or as soon as a call is
// refused.
func TestPageTokenIsFetchedAgain(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{RequireProof: true})
	user, page, token := family(t, w)
	w.Meta.Revoke(token)
	checkNow(t, w)
	wants(t, w, page, connect.Healthy, "", "")
	if status, err := w.Call(page, http.MethodGet, w.MetaURL+"/v25.0/me"); status != http.StatusOK || err != nil {
		t.Fatalf("calling as the page gives %d, %v", status, err)
	}
	_, token = firstPage(t, w, user)
	k, err := w.Connections.Credential(t.Context(), w.Receipt(), page)
	if err != nil || !k.Is(token) {
		t.Fatalf("the page has another token than its parent brings: %v", err)
	}
	w.Meta.Revoke(token)
	for range 3 { // many calls are refused
		if err := w.Connections.TokenRefused(t.Context(), k, "invalidated"); err != nil {
			t.Fatal(err)
		}
	}
	wants(t, w, page, connect.Healthy, "", "")
	before := asked(w, "/debug_token")
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := asked(w, "/debug_token") - before; n != 3 { // the page, its parent, the new one
		t.Errorf("asked %d times", n)
	}
	if status, err := w.Call(page, http.MethodGet, w.MetaURL+"/v25.0/me"); status != http.StatusOK || err != nil {
		t.Errorf("calling as the page gives %d, %v", status, err)
	}
	// A page that is refused all the time is not checked all the time.
	if err := w.Connections.TokenRefused(t.Context(), k, "invalidated"); err != nil {
		t.Fatal(err)
	}
	fresh, err := w.Connections.Credential(t.Context(), w.Receipt(), page)
	if err != nil {
		t.Fatal(err)
	}
	before = asked(w, "/debug_token")
	for range 3 {
		_ = w.Connections.TokenRefused(t.Context(), fresh, "invalidated")
		_ = w.Connections.Tend(t.Context())
	}
	if n := asked(w, "/debug_token") - before; n > 1 {
		t.Errorf("asked %d times", n)
	}
}

// A Page's token that expires (its parent's was short-lived when it was found) is
// not renewed by itself, and does not die by our clock: when Facebook no longer
// takes it, the parent brings another.
func TestPageTokenThatExpires(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	user, page, _ := family(t, w)
	_, token := firstPage(t, w, user)
	w.Meta.Revoke(token)
	var external string
	external, token = firstPage(t, w, user)
	if _, err := w.Connections.Adopt(t.Context(), w.Receipt(), user, connect.Child{
		Kind: connect.KindPage, ExternalID: external, Token: secret.New(token), Expires: time.Now().Add(time.Hour),
	}); err != nil {
		t.Fatal(err)
	}
	if rec := stored(t, w, page); !rec.RenewAt.IsZero() {
		t.Errorf("it is renewed at %s", rec.RenewAt)
	}
	age(t, w, "UPDATE connections SET access_expires = 1000000 WHERE kind = 'page'")
	w.Meta.Revoke(token)
	if status, err := w.Call(page, http.MethodGet, w.MetaURL+"/v25.0/me"); status != http.StatusBadRequest || err != nil {
		t.Errorf("calling gives %d, %v", status, err)
	}
	checkNow(t, w)
	wants(t, w, page, connect.Healthy, "", "")
	if status, err := w.Call(page, http.MethodGet, w.MetaURL+"/v25.0/me"); status != http.StatusOK || err != nil {
		t.Errorf("then calling gives %d, %v", status, err)
	}
}

// What becomes of a Page whose token died depends on its parent alone, and an
// outage in between decides nothing.
func TestPageIsLostOnlyByAClearWord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before       func(t *testing.T, w *connecttest.World)
		user, page   connect.Status
		cause, again connect.Cause
	}{
		"the parent may not": {func(t *testing.T, w *connecttest.World) {
			for _, scope := range []string{"pages_show_list", "pages_read_engagement"} {
				w.Meta.SetPermission("facebook", connecttest.Person(1), scope, false)
			}
		}, connect.Healthy, connect.ReconnectNeeded, "invalidated", "scope-withdrawn"},
		"the parent is dead": {func(t *testing.T, w *connecttest.World) {
			control(t, w, "sessions", map[string]any{"person": connecttest.Person(1), "subcode": 459})
		}, connect.ReconnectNeeded, connect.ReconnectNeeded, "checkpoint", "checkpoint"},
		"an outage": {func(t *testing.T, w *connecttest.World) {
			if err := w.Faults.Add(world.Fault{Match: world.FaultMatch{Path: "/v25.0/[0-9]*"}, Times: -1, Status: 503}); err != nil {
				t.Fatal(err)
			}
		}, connect.Healthy, connect.Healthy, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
			user, page, token := family(t, w)
			c.before(t, w)
			if name != "the parent is dead" {
				w.Meta.Revoke(token)
			}
			// The page first, so that the parent is found by it.
			age(t, w, makeCheckDue+" WHERE kind = 'page'")
			if err := w.Connections.Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
			if v := shown(t, w, page); v.Status != c.page || v.Cause != c.cause {
				t.Errorf("the page is %s/%s (%s)", v.Status, v.Cause, v.Reason)
			}
			checkNow(t, w)
			if v := shown(t, w, user); v.Status != c.user || v.Cause != c.again {
				t.Errorf("the parent is %s/%s (%s)", v.Status, v.Cause, v.Reason)
			}
			w.Faults.Clear()
			if c.page == connect.Healthy {
				checkNow(t, w)
				if status, err := w.Call(page, http.MethodGet, w.MetaURL+"/v25.0/me"); status != http.StatusOK || err != nil {
					t.Errorf("after the outage, calling as the page gives %d, %v", status, err)
				}
			}
		})
	}
}

// A system user's token of the 60-day kind is renewed as one; the other kind has
// nothing to renew.
func TestSystemUserTokens(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	const life = 60 * 24 * time.Hour
	in := func(token string, subject gatehouse.Subject) gatehouse.ConnectionID {
		t.Helper()
		done, err := w.Connections.Import(t.Context(), connect.ImportRequest{
			App: "pages", Service: "scheduler", Subject: subject, Purposes: []gatehouse.PurposeName{"pages"},
			Kind: connect.KindSystemUser, Access: secret.New(token),
		})
		if err != nil {
			t.Fatal(err)
		}
		return done.Connection.ID
	}
	forever := in(w.Meta.MintSystemUser(), "business-1")
	old := w.Meta.MintSystemUserFor(life)
	sixty := in(old, "business-2")
	if rec := stored(t, w, forever); !rec.RenewAt.IsZero() || !rec.AccessExpires.IsZero() {
		t.Errorf("a token that never expires is renewed at %s", rec.RenewAt)
	}
	if rec := stored(t, w, sixty); rec.RenewAt.IsZero() || rec.RenewAt.After(rec.AccessExpires) {
		t.Errorf("it is renewed at %s, and expires at %s", rec.RenewAt, rec.AccessExpires)
	}
	age(t, w, makeDue+", access_expires = access_expires - 3000000000000 WHERE access_expires > 0")
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec := stored(t, w, sixty)
	if left := time.Until(rec.AccessExpires); rec.Status != connect.Healthy || left < life-time.Minute || left > life+time.Minute {
		t.Fatalf("after the renewal it is %s (%s) and lives %s", rec.Status, rec.Reason, left)
	}
	k, err := w.Connections.Credential(t.Context(), w.Receipt(), sixty)
	if err != nil || k.Is(old) {
		t.Errorf("the token was not replaced: %v", err)
	}
	checkNow(t, w)
	for _, id := range []gatehouse.ConnectionID{forever, sixty} {
		wants(t, w, id, connect.Healthy, "", "")
		if status, err := w.Call(id, http.MethodGet, w.MetaURL+"/v25.0/me"); status != http.StatusOK || err != nil {
			t.Errorf("calling gives %d, %v", status, err)
		}
	}
	if rec := stored(t, w, forever); !rec.AccessExpires.IsZero() || !rec.DataAccessExpires.IsZero() {
		t.Errorf("%s, %s", rec.AccessExpires, rec.DataAccessExpires)
	}
}

// Facebook says another expiry than the exchange did: it is believed, and the
// renewal moves with it. A second more or less is no news.
func TestCheckCorrectsTheExpiry(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	id := w.Connect("user-7", "pages", connecttest.Person(1)).ID
	right := stored(t, w, id)
	age(t, w, "UPDATE connections SET access_expires = access_expires + 1000000000000, renew_at = renew_at + 1000000000000")
	checkNow(t, w)
	rec := stored(t, w, id)
	if rec.AccessExpires.Sub(right.AccessExpires).Abs() > 5*time.Second || rec.RenewAt.After(rec.AccessExpires) || rec.RenewAt.IsZero() {
		t.Errorf("it expires at %s and is renewed at %s", rec.AccessExpires, rec.RenewAt)
	}
	age(t, w, "UPDATE connections SET access_expires = access_expires + 5000000")
	checkNow(t, w)
	if again := stored(t, w, id); again.Version != rec.Version {
		t.Error("five seconds were news")
	}
}
