package console

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
)

// TestFiltersThatCannotBeMeant: what is none of a list's is refused with the name of the
// field, does not come back, and is not answered with an empty list; its neighbour is shown.
func TestFiltersThatCannotBeMeant(t *testing.T) {
	from := &traffic{list: ConnectionList{Platforms: []string{"x"}, Apps: []string{"app-x"}, Purposes: []string{"publish"}}}
	log := &logs{}
	d := newDesk(t, operator.Owner, append(from.pages(), Log(log, log), Operators())...)
	for wrong, right := range map[string][2]string{
		"/connections?state=nonsense":     {"/connections?state=revoked", "State: choose healthy, renewing, in_doubt, reconnect_needed, revoked or erased."},
		"/connections?platform=nonsense":  {"/connections?platform=x", "Platform: choose x."},
		"/connections?app=nonsense":       {"/connections?app=app-x", "App: choose app-x."},
		"/connections?purpose=nonsense":   {"/connections?purpose=publish", "Purpose: choose publish."},
		"/calls?outcome=nonsense":         {"/calls?outcome=failed", "Outcome: choose "},
		"/calls/live?outcome=nonsense":    {"/calls?outcome=aborted", "Outcome: choose "},
		"/?of=nonsense":                   {"/?of=day", "Time of the plots: choose day."},
		"/overview/live?of=nonsense":      {"/", "Time of the plots: choose day."},
		"/operators?sort=nonsense":        {"/operators?sort=-seen", "Order: choose name, -name, state, -state, seen or -seen."},
		"/operators?all=nonsense":         {"/operators?all=yes", "Removed ones, too: choose yes."},
		"/flows?days=8":                   {"/flows?days=7", "Time in days, 0 for all: choose 7, 30, 90 or 0."},
		"/flows/export.csv?days=nonsense": {"/flows/export.csv?days=0", "Time in days"},
		"/people/PADA?days=8":             {"/people/PADA?days=30", "Time in days"},
		"/people/number/3?days=8":         {"/people/number/3?days=30", "Time in days"},
		"/log/in-doubt?hours=nonsense":    {"/log/in-doubt?hours=24", "Time in hours: choose 1, 24 or 168."},
		// What would be left out of a list is not left out in silence.
		"/connections?state=revoked;nonsense":                                 {"/connections?state=revoked&nonsense=", "cannot be read behind its question mark"},
		"/log?service=" + strings.Repeat("a", maxQuery+1):                     {"/log?service=" + strings.Repeat("a", maxQuery), "longer than 500 bytes"},
		"/calls?purpose=%ff%zz":                                               {"/calls?purpose=%ff%20zz", "cannot be read"},
		"/connections?platform=x&platform=" + strings.Repeat("n", maxQuery+1): {"/connections?platform=x&platform=n", "longer than 500 bytes"},
	} {
		r := d.get(wrong)
		path, _, _ := strings.Cut(wrong, "?")
		r.shows(t, right[1], `class="button" href="`+path+`"`)
		if r.status != http.StatusBadRequest || strings.Contains(r.body, "nonsense") {
			t.Errorf("%s: status %d, or the page repeats it", wrong, r.status)
		}
		if r := d.get(right[0]); r.status != http.StatusOK {
			t.Errorf("%s: status %d", right[0], r.status)
		}
	}
	// What has nothing to offer, or more than a sentence holds, says so.
	from.list.Apps = nil
	d.get("/connections?app=app-x").shows(t, "App: this is none of what can be chosen.")
	from.list.Apps = make([]string, 13)
	d.get("/connections?app=app-x").shows(t, "App: this is none of what can be chosen.")
	from.list.Apps = append(from.list.Apps, "app-x")
	if r := d.get("/connections?app=app-x"); r.status != http.StatusOK {
		t.Errorf("one of many: status %d", r.status)
	}
	// Calls of a service that the configuration has no more are still in the log.
	d.get("/calls?service=gone&purpose=old").shows(t, `<option value="gone" selected>gone`, `<option value="old" selected>old`)
	d.get("/log?actor=operator").shows(t, `<option value="operator" selected>no service`, `!>operator<`)
	d.get("/log").shows(t, `<option value="operator">no service`)
}

func TestReviewsFilterThatCannotBeMeant(t *testing.T) {
	h := newHouse(t, nil)
	ada := h.join("Ada", operator.Owner)
	reviews := h.reviewing(review.Right{Kind: review.Purpose, Holder: "web", Name: "publish"})
	r, err := reviews.Begin(t.Context(), operator.By(sessionOf(t, ada)), 0, 0)
	must(t, err)
	at := "/reviews/" + string(r.ID)
	if r := ada.get(at + "?show=nonsense"); r.status != http.StatusBadRequest || strings.Contains(r.body, "nonsense") {
		t.Errorf("a filter that cannot be meant: status %d", r.status)
	}
	for _, page := range []string{"nonsense", "-17", "1e3", "99999999999999999999"} {
		r := ada.get(at + "?page=" + page)
		r.shows(t, "Page: this is no number of a page.")
		if r.status != http.StatusBadRequest || strings.Contains(r.body, page) {
			t.Errorf("page %s: status %d", page, r.status)
		}
	}
	for _, page := range []string{"0", "7"} { // one that is not there any more shows the first
		ada.get(at+"?page="+page).shows(t, "publish")
	}
	ada.get(at+"?show=undecided").shows(t, `<option value="undecided" selected>`, "publish")
}
