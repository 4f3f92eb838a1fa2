package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/store/storetest"
)

// A subject who is erased leaves no second factor behind, and nothing of what was asked
// of them; somebody else keeps theirs.
func TestErasedSubjectLeavesNoFactor(t *testing.T) {
	h := newHouse(t)
	h.start()
	app := h.appOf()
	listening(t, app)
	for _, subject := range []string{"ada", "grace"} {
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
		at, _ := read(browser.Get(app.self + "/confirm?subject=" + subject))
		_, page := read(browser.PostForm(at+"/totp", nil))
		key := regexp.MustCompile(`<p class="key"><code>([A-Z2-7 ]+)</code>`).FindStringSubmatch(page)
		if key == nil {
			t.Fatalf("the page is %s", page)
		}
		read(browser.PostForm(at+"/confirm", url.Values{"code": {factortest.Code(t, strings.ReplaceAll(key[1], " ", ""), time.Now())}}))
		if _, page = read(browser.PostForm(at+"/continue", nil)); !strings.Contains(page, "Confirmed by "+subject) {
			t.Fatalf("the app says %s", page)
		}
	}
	raw := storetest.OpenRaw(t, "sqlite:"+filepath.Join(h.dir, "gatehouse.db"))
	people := func(table string) int {
		_, rows := raw.Query("SELECT DISTINCT person FROM " + table)
		return len(rows)
	}
	tables := []string{"stepup_requests", "stepup_factors", "stepup_recovery", "stepup_people"}
	for _, table := range tables {
		if n := people(table); n != 2 {
			t.Fatalf("%s has rows of %d people", table, n)
		}
	}
	if err := h.api().do(t.Context(), http.MethodPost, "/gatehouse/v1/erasures", map[string]string{"subject": "ada"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		eventually(t, table+" has rows of one", func() bool { return people(table) == 1 })
	}
	var held struct {
		Methods []string `json:"methods"`
	}
	if err := h.api().do(t.Context(), http.MethodGet, "/gatehouse/v1/stepups/factors?subject=grace", nil, &held); err != nil || len(held.Methods) != 1 {
		t.Errorf("grace has %v, %v", held.Methods, err)
	}
}

// listening waits until the app answers.
func listening(t *testing.T, app *demoApp) {
	t.Helper()
	eventually(t, "the app answers", func() bool {
		res, err := http.Get(app.self + "/")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	})
}
