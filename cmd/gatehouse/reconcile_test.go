package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/reconcile"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/store/storetest"
)

// TestTokenUsedElsewhere is a theft: somebody has a person's token of X and uses it
// past Gatehouse. X's count of that token's calls shows it, on both databases; without
// the theft, the same calls and their mishaps show nothing.
func TestTokenUsedElsewhere(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { theft(t, newHouse(t)) })
	t.Run("postgres", func(t *testing.T) { theft(t, newHouseOn(t, storetest.EmptyPostgres(t))) })
}

func theft(t *testing.T, h *house) {
	h.box.X.SetRateFactor(1)
	h.start()
	ada := h.connectPerson(demoX, "ada", h.box.People()[0])
	posts := 0
	text := func() string {
		posts++
		return fmt.Sprintf("a story, part %d", posts)
	}
	calls := func(n int) {
		t.Helper()
		for range n {
			if status, b, err := h.call(t.Context(), "POST", "/x/2/tweets", ada.Handle, map[string]string{"text": text()}); err != nil || status != http.StatusCreated {
				t.Fatalf("POST /2/tweets: %d, %v\n%s", status, err, b)
			}
			if status, b, err := h.call(t.Context(), "GET", "/x/2/users/me", ada.Handle, nil); err != nil || status != http.StatusOK {
				t.Fatalf("GET /2/users/me: %d, %v\n%s", status, err, b)
			}
		}
	}
	calls(4)
	// A call that the policy refuses never reaches X.
	if status, _, err := h.call(t.Context(), "GET", "/x/2/dm_events", ada.Handle, nil); err != nil || status != http.StatusForbidden {
		t.Fatalf("GET /2/dm_events: %d, %v", status, err)
	}
	if code := h.stop(); code != 0 {
		t.Fatalf("stop: %d\n%s", code, h.stderr)
	}
	if found, code := h.reconcile(); code != 0 || len(found.Differences) > 0 || found.Handles != 1 {
		t.Fatalf("before the theft: exit status %d, %+v", code, found)
	}
	// Eight calls were let through with the handle; the one that was refused is none.
	if out, _, code := h.gatehouse("service", "handle", "list", "--json"); code != 0 || !strings.Contains(out, `"uses": 8`) || !strings.Contains(out, `"last_used_at"`) {
		t.Errorf("service handle list: exit status %d\n%s", code, out)
	}

	h.start()
	calls(1) // of another process of the same window
	const stolen = 7
	for range stolen {
		direct(t, h.box, "POST", "/2/tweets", `{"text":"`+text()+`"}`, http.StatusCreated)
	}
	calls(1)
	if code := h.stop(); code != 0 {
		t.Fatalf("stop: %d\n%s", code, h.stderr)
	}
	found, code := h.reconcile()
	if code != 1 || len(found.Differences) != 1 {
		t.Fatalf("after the theft: exit status %d, %+v", code, found)
	}
	d := found.Differences[0]
	if d.Check != "x-window" || d.Platform != "x" || d.App != demoX || d.Operation != "POST /2/tweets" || string(d.Connection) != ada.Connection || d.Excess != stolen {
		t.Errorf("the difference is %+v, want %d calls of %s", d, stolen, ada.Connection)
	}

	// It was told, and is not told again; the log has it, and only the keys say whose
	// it is.
	if again, code := h.reconcile(); code != 0 || len(again.Differences) > 0 {
		t.Errorf("the second time: exit status %d, %+v", code, again)
	}
	out, errOut, code := h.gatehouse("audit", "reconcile", "--since", "1h", "--json")
	if code != 1 || !strings.Contains(out, ada.Connection) || !strings.Contains(out, d.Entry) {
		t.Errorf("the list: exit status %d\n%s%s", code, out, errOut)
	}
	out, _, _ = h.gatehouse("audit", "show", "--action", "reconcile.difference", "--json")
	if !strings.Contains(out, d.Entry) || strings.Contains(out, ada.Connection) {
		t.Errorf("the entry names the connection, or is not there:\n%s", out)
	}
	if out, _, code := h.gatehouse("doctor"); code != 1 || !strings.Contains(out, "1 differences in the last week") {
		t.Errorf("doctor: exit status %d\n%s", code, out)
	}
	if out, _, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Errorf("verify: %d %s", code, out)
	}
}

// TestAppUsedElsewhere is a theft at Meta, which counts no token's calls, but says how much of
// its hour an app has used: that grows while hardly anything is called here.
func TestAppUsedElsewhere(t *testing.T) {
	h := newHouse(t)
	if res, err := http.Post(h.box.MetaURL+"/_sandbox/app-calls", "application/json", strings.NewReader(`{"per_hour": 200}`)); err != nil {
		t.Fatal(err)
	} else if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusNoContent {
		t.Fatalf("setting the app's calls: %d (%v)", res.StatusCode, err)
	}
	h.start()
	grace := h.connectPerson(demoFacebook, "grace", h.box.People()[1])
	call := func() {
		t.Helper()
		if status, b, err := h.call(t.Context(), "GET", "/meta/v25.0/me?fields=id", grace.Handle, nil); err != nil || status != http.StatusOK {
			t.Fatalf("GET /me: %d, %v\n%s", status, err, b)
		}
	}
	for _, stolen := range []int{0, 150} {
		call()
		token := ""
		for _, issued := range h.box.Ledger() {
			if issued.Kind == "facebook user token" {
				token = issued.Value
			}
		}
		for range stolen {
			res, err := http.Get(h.box.MetaURL + "/v25.0/me?fields=id&access_token=" + token)
			if err != nil {
				t.Fatal(err)
			}
			if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("GET /me past Gatehouse: %d (%v)", res.StatusCode, err)
			}
		}
		call()
		if code := h.stop(); code != 0 {
			t.Fatalf("stop: %d\n%s", code, h.stderr)
		}
		found, code := h.reconcile()
		if want := min(stolen, 1); code != want || len(found.Differences) != want {
			t.Errorf("%d calls stolen: exit status %d, %+v", stolen, code, found)
		}
		for _, d := range found.Differences {
			if d.Check != "meta-app" || d.App != demoFacebook || d.Excess <= 0 || d.Excess > int64(stolen) {
				t.Errorf("%d calls stolen: %+v", stolen, d)
			}
		}
		h.start()
	}
}

// reconcile runs the command.
func (h *house) reconcile() (reconcile.Report, int) {
	h.t.Helper()
	out, errOut, code := h.gatehouse("audit", "reconcile", "--json")
	var report reconcile.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		h.t.Fatalf("audit reconcile: %v\n%s%s", err, out, errOut)
	}
	return report, code
}

// direct makes a call to the sandbox with the person's token, past Gatehouse.
func direct(t *testing.T, box *sandbox.Server, method, path, body string, want int) {
	t.Helper()
	token := ""
	for _, issued := range box.Ledger() {
		if issued.Kind == "x access token" {
			token = issued.Value
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, box.XURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != want {
		t.Fatalf("%s %s past Gatehouse: %d, want %d (%v)", method, path, res.StatusCode, want, err)
	}
}

// TestMishapsAreNoTheft is a day without a theft: replies are lost on kept connections,
// so that net/http sends again; a token is renewed in the middle of a call; the program
// is killed; X's clock is off and its windows begin anew; its limit is reached. None of
// it is taken for somebody else.
func TestMishapsAreNoTheft(t *testing.T) {
	h := newHouse(t)
	h.box.X.SetRateFactor(1)
	h.box.SetSkew(40 * time.Second)
	h.start()
	ada := h.connectPerson(demoX, "ada", h.box.People()[0])
	get := func(n int) (statuses map[int]int) {
		t.Helper()
		statuses = map[int]int{}
		for range n {
			status, b, err := h.call(t.Context(), "GET", "/x/2/users/me", ada.Handle, nil)
			if err != nil {
				t.Fatalf("GET /2/users/me: %v\n%s", err, b)
			}
			statuses[status]++
		}
		return statuses
	}
	fault := func(f world.Fault) {
		t.Helper()
		f.Match = world.FaultMatch{Method: "GET", Path: "/2/users/me"}
		if err := h.box.Fault(f); err != nil {
			t.Fatal(err)
		}
	}
	get(3)
	for range 4 {
		get(1)
		fault(world.Fault{LoseReply: true})
		if got := get(1); got[http.StatusOK] != 1 {
			t.Errorf("a reply that is lost on a kept connection: %v", got)
		}
	}
	token := ""
	for _, issued := range h.box.Ledger() {
		if issued.Kind == "x access token" {
			token = issued.Value
		}
	}
	if !h.box.Revoke(token) {
		t.Fatal("nothing to revoke")
	}
	if got := get(2); got[http.StatusOK] != 2 {
		t.Errorf("after the token was ended: %v", got)
	}
	if code := h.stop(); code != 0 {
		t.Fatalf("stop: %d\n%s", code, h.stderr)
	}
	// Before anything happens that leaves intents behind which X never counted.
	if found, code := h.reconcile(); code != 0 || len(found.Differences) > 0 {
		t.Errorf("after calls that were sent twice: exit status %d, %+v", code, found)
	}
	h.start()
	fault(world.Fault{Status: http.StatusServiceUnavailable})
	get(2)
	h.kill()
	// If it was comparing, nobody else begins for a minute: that is over.
	storetest.OpenRaw(t, h.load().Store.Text().Reveal()).ExecUncounted("UPDATE reconcile_work SET lease_until = 0 WHERE id = 1")
	h.start()
	get(3)
	fault(world.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	_, _, _ = h.call(ctx, "GET", "/x/2/users/me", ada.Handle, nil) // hangs up
	cancel()
	if got := get(80); got[http.StatusTooManyRequests] == 0 {
		t.Errorf("nothing was refused for its number: %v", got)
	}
	h.box.SetSkew(20 * time.Minute) // the next window
	get(3)
	h.box.SetSkew(-time.Minute)
	get(3)
	if code := h.stop(); code != 0 {
		t.Fatalf("stop: %d\n%s", code, h.stderr)
	}
	if found, code := h.reconcile(); code != 0 || len(found.Differences) > 0 {
		t.Errorf("without a theft: exit status %d, %+v", code, found)
	}
	// What a person reads; and a time that makes no sense.
	if out, errOut, code := h.gatehouse("audit", "reconcile"); code != 0 || !strings.Contains(out, "handles: 0 more, the log allows 0 to 0") || !strings.Contains(out, "No difference.") {
		t.Errorf("audit reconcile: %d\n%s%s", code, out, errOut)
	}
	if out, errOut, code := h.gatehouse("audit", "reconcile", "--since", "-1h"); code != 2 || !strings.Contains(errOut, "--since") {
		t.Errorf("--since -1h: %d\n%s%s", code, out, errOut)
	}
	if out, errOut, code := h.gatehouse("audit", "reconcile", "--since", "1h"); code != 0 || out != "No difference.\n" {
		t.Errorf("--since 1h: %d\n%s%s", code, out, errOut)
	}
}

// TestPostsUsedElsewhere is a theft that no window shows: of an operation that is not
// called through Gatehouse. X's count of posts does, asked for with the app's own bearer.
func TestPostsUsedElsewhere(t *testing.T) {
	h := newHouseWith(t, "compliance: {keep: 720h}}", `compliance: {keep: 720h}, usage: {app_id: "29104731"}}`)
	h.start()
	ada := h.connectPerson(demoX, "ada", h.box.People()[0])
	search := func() {
		t.Helper()
		if status, b, err := h.call(t.Context(), "GET", "/x/2/tweets/search/recent?query=the&max_results=20", ada.Handle, nil); err != nil || status != http.StatusOK {
			t.Fatalf("searching: %d, %v\n%s", status, err, b)
		}
	}
	for _, stolen := range []int{0, 0, 4} { // the first time is only noted
		search()
		for range stolen {
			direct(t, h.box, "GET", "/2/tweets/search/recent?query=the&max_results=100", "", http.StatusOK)
		}
		if code := h.stop(); code != 0 {
			t.Fatalf("stop: %d\n%s", code, h.stderr)
		}
		found, code := h.reconcile()
		if want := min(stolen, 1); code != want || len(found.Differences) != want || found.UsageFailed+found.UsageUnjudged != 0 {
			t.Errorf("%d times stolen: exit status %d, %+v", stolen, code, found)
		}
		for _, d := range found.Differences {
			if d.Check != "x-posts" || d.App != demoX || d.Excess <= 0 || d.Excess > int64(stolen)*100 {
				t.Errorf("%d times stolen: %+v", stolen, d)
			}
		}
		h.start()
	}
	out, errOut, code := h.gatehouse("audit", "show", "--action", "connect.app", "--json")
	if code != 0 || !strings.Contains(out, "GET /2/usage/tweets") {
		t.Errorf("the log does not say that X was asked: exit status %d\n%s%s", code, out, errOut)
	}
}
