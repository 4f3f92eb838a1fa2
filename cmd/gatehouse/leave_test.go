package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// appOf runs the small app of a house, so that it hears of events, until the test
// ends.
func (h *house) appOf() *demoApp {
	h.t.Helper()
	out, errOut, code := h.gatehouse("events", "secret")
	if code != 0 {
		h.t.Fatalf("events secret: %s", errOut)
	}
	app := &demoApp{
		api: h.api(), eventSecret: strings.TrimSpace(out), sessions: map[string]string{}, stepups: map[string]demoStepup{}, duties: map[string]time.Time{},
		purposes: map[string]string{demoX: "publish", demoFacebook: "pages"}, self: strings.TrimSuffix(h.load().Returns[0], "/connected"),
	}
	h.t.Cleanup(h.serve(app))
	return app
}

// page returns what a person sees at an address.
func (h *house) page(address string) string {
	h.t.Helper()
	res, err := http.Get(address)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

// eventually waits until a thing is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for until := time.Now().Add(60 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A person removes the app at Facebook and asks for deletion; another one is erased
// by an operator. The app is told by signed events, answers, and nothing is left.
func TestPeopleWhoLeave(t *testing.T) {
	h := newHouse(t)
	h.start()
	app := h.appOf()
	ada := h.connectVia(app, demoFacebook, "ada", h.box.People()[0])
	grace := h.connectVia(app, demoX, "grace", h.box.People()[1])

	hook := strings.Replace(h.ready["public"], "127.0.0.1", "localhost", 1) + "/_gatehouse/"
	if out, errOut, code := h.gatehouse("connect", "webhooks", "--register", "--json"); code != 0 || !strings.Contains(out, `"tells_revocations": true`) || !strings.Contains(out, hook+"deletion/facebook") {
		t.Fatalf("connect webhooks: %d %s %s", code, out, errOut)
	}
	h.box.Meta.SetCallbacks("facebook", hook+"webhooks/facebook", hook+"deletion/facebook")
	removal, ok := h.box.Meta.RemoveApp(t.Context(), "facebook", h.box.People()[0], true)
	if !ok || removal.Problem != "" {
		t.Fatalf("what came of the removal: %+v\n%s", removal, h.stderr)
	}
	if status, body, err := h.call(t.Context(), http.MethodGet, "/meta/v25.0/me", ada.Handle, nil); err != nil || status < 400 {
		t.Errorf("a call of the person who left gives %d %s, %v", status, body, err)
	}
	eventually(t, "the page says that it is done", func() bool { return strings.Contains(h.page(removal.URL), "Your data has been deleted") })
	if len(app.granted(demoFacebook)) != 0 {
		t.Error("the app still has its copy")
	}
	screenshots(t, "deletion", removal.URL)
	if out, _, code := h.gatehouse("person", "show", "subject:ada"); code != exitFailed || !strings.Contains(out, "Nothing is held") {
		t.Errorf("person show: %d %s", code, out)
	}

	// The operator's way: first who is meant, then the code.
	out, errOut, code := h.gatehouse("person", "erase", "subject:grace")
	confirm := regexp.MustCompile(`--confirm (\S+)`).FindStringSubmatch(out)
	if code != exitFailed || confirm == nil || !strings.Contains(out, grace.Connection) {
		t.Fatalf("person erase: %d %s %s", code, out, errOut)
	}
	if _, errOut, code := h.gatehouse("person", "erase", "subject:grace", "--confirm", "guess"); code != exitFailed || !strings.Contains(errOut, "nothing was erased") {
		t.Errorf("with a wrong code: %d %s", code, errOut)
	}
	if status, _, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", grace.Handle, nil); err != nil || status != http.StatusOK {
		t.Errorf("before the erasure a call gives %d, %v", status, err)
	}
	if out, errOut, code := h.gatehouse("person", "erase", "subject:grace", "--confirm", confirm[1]); code != exitDone || !strings.Contains(out, "brought about by the operator") {
		t.Fatalf("person erase --confirm: %d %s %s", code, out, errOut)
	}
	if status, _, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", grace.Handle, nil); err != nil || status < 400 {
		t.Errorf("after the erasure a call gives %d, %v", status, err)
	}
	type dutyRow struct {
		ID, Kind, State, Proof string
	}
	var duties []dutyRow
	eventually(t, "both duties are done", func() bool {
		out, errOut, code := h.gatehouse("case", "list", "--state", "done", "--json")
		if code != 0 {
			t.Fatalf("case list: %s", errOut)
		}
		duties = nil
		if err := json.Unmarshal([]byte(out), &duties); err != nil {
			t.Fatal(err)
		}
		return len(duties) == 2
	})
	for _, d := range duties {
		if d.Proof == "" {
			t.Errorf("duty %+v has no proof", d)
		}
	}
	if out, _, code := h.gatehouse("case", "show", duties[0].ID); code != 0 || !strings.Contains(out, "deletion requested") || strings.Contains(out, "waits for") {
		t.Errorf("case show: %d %s", code, out)
	}
	if _, errOut, code := h.gatehouse("case", "refuse", duties[0].ID, "--because", "too late"); code != exitFailed || !strings.Contains(errOut, "closed already") {
		t.Errorf("case refuse: %d %s", code, errOut)
	}
	// Asked again for somebody who is gone, it opens nothing that could never be closed.
	out, _, _ = h.gatehouse("person", "erase", grace.Connection)
	if confirm = regexp.MustCompile(`--confirm (\S+)`).FindStringSubmatch(out); confirm == nil {
		t.Fatalf("person erase, again: %s", out)
	}
	if out, errOut, code := h.gatehouse("person", "erase", grace.Connection, "--confirm", confirm[1]); code != exitDone || !strings.Contains(out, "is done") {
		t.Errorf("person erase --confirm, again: %d %s %s", code, out, errOut)
	}
	if out, _, _ := h.gatehouse("case", "list", "--state", "open"); !strings.Contains(out, "There is no such duty") {
		t.Errorf("afterwards there is open: %s", out)
	}
	if out, _, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Errorf("audit verify: %d %s", code, out)
	}
	if h.stop() != exitDone {
		t.Errorf("stopping failed: %s", h.stderr)
	}
	noTokensInFiles(t, h.box, h.dir)
}

// connectVia is connectPerson with an app that goes on running.
func (h *house) connectVia(app *demoApp, registration, subject, username string) *demoGrant {
	h.t.Helper()
	eventually(h.t, "the app answers", func() bool {
		res, err := http.Get(app.self + "/")
		if err != nil {
			return false
		}
		return res.Body.Close() == nil
	})
	h.browse(app, registration, subject, username)
	granted := app.granted(registration)
	return granted[len(granted)-1]
}

// An app that is away does not make its duty done: it is overdue, and an operator
// may answer for it or refuse.
func TestAppThatDoesNotAnswer(t *testing.T) {
	h := newHouse(t)
	h.start()
	h.connectPerson(demoX, "ada", h.box.People()[0])
	var opened struct {
		Duties []struct{ ID, State string } `json:"duties"`
	}
	if err := h.api().do(t.Context(), http.MethodPost, "/gatehouse/v1/erasures", map[string]string{"subject": "ada"}, &opened); err != nil || len(opened.Duties) != 1 {
		t.Fatalf("erasing: %+v, %v", opened, err)
	}
	id := opened.Duties[0].ID
	if out, _, code := h.gatehouse("case", "show", id); code != 0 || !strings.Contains(out, "gatehouse case done "+id) || !strings.Contains(out, "the app's word") {
		t.Errorf("case show: %d %s", code, out)
	}
	if out, _, code := h.gatehouse("case", "list", "--state", "overdue"); code != 0 || !strings.Contains(out, "no such duty") {
		t.Errorf("case list: %d %s", code, out)
	}
	if out, errOut, code := h.gatehouse("case", "done", id); code != 0 || !strings.Contains(out, "is done") {
		t.Errorf("case done: %d %s %s", code, out, errOut)
	}
	for args, want := range map[string]string{
		"case list --state late": "open, overdue", "person show nobody": "names nobody", "person show mastodon:1": "no app of platform",
		"case show dtyunknown": "no such duty", "case refuse " + id: "because",
	} {
		if _, errOut, code := h.gatehouse(strings.Fields(args)...); code == 0 || !strings.Contains(errOut, want) {
			t.Errorf("%s: %d %s", args, code, errOut)
		}
	}
	h.stop()
}

// screenshots keeps pictures of a page as a browser shows it, light and dark, wide
// and as narrow as a phone, where people can look at them.
func screenshots(t *testing.T, name, address string) {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if browser, err = exec.LookPath("chromium-browser"); err != nil {
			t.Fatal("this test looks at a page with Chromium, which is not installed: scripts/setup installs it")
		}
	}
	dir := filepath.Join("..", "..", "artefacts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		t.Fatal(err)
	}
	for _, view := range []struct{ name, size string }{{"wide", "1100,760"}, {"phone", "500,860"}} {
		for _, scheme := range []string{"light", "dark"} {
			file := filepath.Join(dir, name+"-"+view.name+"-"+scheme+".png")
			if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			args := []string{"--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--user-data-dir=" + t.TempDir(),
				"--window-size=" + view.size, "--screenshot=" + file}
			if os.Geteuid() == 0 {
				args = append(args, "--no-sandbox") // Chromium's own refuses root
			}
			if scheme == "dark" {
				args = append(args, "--blink-settings=preferredColorScheme=0")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			out, err := exec.CommandContext(ctx, browser, append(args, address)...).CombinedOutput()
			cancel()
			if info, missing := os.Stat(file); err != nil || missing != nil || info.Size() < 5000 {
				t.Fatalf("Chromium took no picture: %v %v\n%s", err, missing, out)
			}
		}
	}
}
