package console

import (
	"net/url"
	"regexp"
	"testing"

	"gatehouse/internal/identity/operator"
)

// TestReinviteTakesAWord: who has factors loses them by the word only; who is only invited
// has none, and gets another link at one press.
func TestReinviteTakesAWord(t *testing.T) {
	d := newDesk(t, operator.Owner, Operators())
	grace := d.house.join("Grace", operator.Developer)
	at := "/operators/" + string(grace.account.ID)
	d.get(at).shows(t, "Lost everything: make a new link", "authenticator app and recovery codes are deleted now", "<kbd>new link</kbd>", "!in the place of the one before")
	for _, word := range []string{"", "link", "remove"} {
		if r := d.post(at+"/reinvite", "typed", word); r.status != 400 {
			t.Errorf("the word %q: status %d", word, r.status)
		}
	}
	if r := grace.get("/account"); r.status != 200 {
		t.Errorf("without the word the account is gone: status %d", r.status)
	}
	d.post(at+"/reinvite", "typed", "new link").shows(t, "/enrol")
	if r := grace.get("/account"); r.status == 200 {
		t.Error("its sessions go on")
	}
	ids := regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(d.get(at).body, -1)
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id[1]] {
			t.Errorf("two things have the id %q", id[1])
		}
		seen[id[1]] = true
	}

	d.get(at).shows(t, "in the place of the one before", "!Lost everything")
	d.post(at+"/reinvite").shows(t, "/enrol")
}

// TestReviewTakesAWord: a review ends what nobody confirms, so it takes a word to begin.
func TestReviewTakesAWord(t *testing.T) {
	for word, want := range map[string]bool{"begin": true, " begin ": true, "": false, "Begin": false, "review": false} {
		f := &form{values: url.Values{"typed": {word}}, taken: map[string]bool{}}
		new(reviewStart).read(f)
		if got := f.err() == nil; got != want {
			t.Errorf("the word %q: taken is %v", word, got)
		}
	}
}
