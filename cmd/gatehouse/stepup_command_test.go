package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/factor/factortest"
)

// setUpFactor has one of the app's users set up an authenticator app, as a browser
// without a script does.
func setUpFactor(t *testing.T, app *demoApp, subject string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	read := func(res *http.Response, err error) (string, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s, %v", res.Request.URL.Path, res.Status, b, err)
		}
		return res.Request.URL.String(), string(b)
	}
	at, _ := read(browser.Get(app.self + "/confirm?subject=" + url.QueryEscape(subject)))
	_, page := read(browser.PostForm(at+"/totp", nil))
	key := regexp.MustCompile(`<p class="key"><code>([A-Z2-7 ]+)</code>`).FindStringSubmatch(page)
	if key == nil {
		t.Fatalf("the page is %s", page)
	}
	read(browser.PostForm(at+"/confirm", url.Values{"code": {factortest.Code(t, strings.ReplaceAll(key[1], " ", ""), time.Now())}}))
	if _, page = read(browser.PostForm(at+"/continue", nil)); !strings.Contains(page, "set up just now") {
		t.Fatalf("the app says %s", page)
	}
}

// TestStepupCommands is somebody on duty whom a user calls who has lost their phone.
func TestStepupCommands(t *testing.T) {
	h := newHouse(t)
	if out, _, code := h.gatehouse("stepup", "list"); code != 0 || !strings.Contains(out, "No step-up was asked for anybody.") {
		t.Errorf("an empty list: %d %s", code, out)
	}
	h.start()
	app := h.appOf()
	listening(t, app)
	setUpFactor(t, app, "ada")
	setUpFactor(t, app, "grace")
	// Ada is in the middle of one.
	if err := h.api().do(t.Context(), http.MethodPost, "/gatehouse/v1/stepups", map[string]any{"subject": "ada", "return_url": app.self + confirmedPath}, nil); err != nil {
		t.Fatal(err)
	}

	list := func(args ...string) (found []holderView) {
		t.Helper()
		out, errOut, code := h.gatehouse(append([]string{"stepup", "list", "--json"}, args...)...)
		if code != 0 {
			t.Fatalf("listing: %s", errOut)
		}
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	all := list()
	if len(all) != 2 || all[0].TOTP != 1 || all[0].Recovery != 10 || all[0].Open != 1 || all[0].Subject != "" || all[0].Asked == "" {
		t.Fatalf("the list is %+v", all)
	}
	if open := list("--open"); len(open) != 1 || open[0].Person != all[0].Person {
		t.Errorf("open are %+v", open)
	}
	if first := list("--last", "1"); len(first) != 1 {
		t.Errorf("the first is %+v", first)
	}
	completing := exec.Command(os.Args[0], "__complete", "stepup", "show", "--config", h.config, "")
	completing.Env = append(os.Environ(), asProgram+"=1")
	if out, err := completing.Output(); err != nil || !strings.Contains(string(out), string(all[0].Person)) {
		t.Errorf("completed is %s, %v", out, err)
	}

	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"show", "x:12"}, 2, "names nobody"},
		{[]string{"show", "subject:"}, 2, "names nobody"},
		{[]string{"show", "subject:nobody"}, 1, "no step-up was ever asked"},
		{[]string{"show", "perNobody"}, 1, "nothing to reset"},
		{[]string{"list", "--last", "0"}, 2, "--last"},
		{[]string{"reset", "subject:ada", "--confirm", "aaaa-bbbb"}, 1, "nothing was reset"},
		{[]string{"show", "subject:ada"}, 0, "1 authenticator app"},
		{[]string{"show", string(all[0].Person)}, 0, "ada"},
	} {
		if out, errOut, code := h.gatehouse(append([]string{"stepup"}, test.args...)...); code != test.code || !strings.Contains(out+errOut, test.says) {
			t.Errorf("%s: exit status %d, want %d with %q\n%s%s", strings.Join(test.args, " "), code, test.code, test.says, out, errOut)
		}
	}

	out, _, code := h.gatehouse("stepup", "reset", "subject:ada")
	confirm := regexp.MustCompile(`--confirm (\S+)`).FindStringSubmatch(out)
	if code != 1 || confirm == nil || !strings.Contains(out, "end 1 open step-up") || list()[0].TOTP != 1 {
		t.Fatalf("the first run: %d %s", code, out)
	}
	// The code is for this person, however they are named, and for nobody else.
	if _, errOut, code := h.gatehouse("stepup", "reset", "subject:grace", "--confirm", confirm[1]); code != 1 || !strings.Contains(errOut, "nothing was reset") {
		t.Errorf("with the code of another person: %d %s", code, errOut)
	}
	if out, errOut, code := h.gatehouse("stepup", "reset", string(all[0].Person), "--confirm", confirm[1]); code != 0 || !strings.Contains(out, "1 factor removed") {
		t.Fatalf("resetting: %d %s%s", code, out, errOut)
	}
	if left := list(); left[0].TOTP+left[0].Recovery+left[0].Open != 0 || left[1].TOTP != 1 {
		t.Errorf("left is %+v", left)
	}
	if out, _, _ := h.gatehouse("events", "list", "--type", "stepup.reset", "--json"); strings.Count(out, `"stepup.reset"`) != 1 {
		t.Errorf("the app is told %s", out)
	}
	if out, _, _ := h.gatehouse("audit", "search", "--action", "stepup.reset"); !strings.Contains(out, "stepup.reset") {
		t.Errorf("the log says %s", out)
	}
	setUpFactor(t, app, "ada") // the way back in
}
