package console

import (
	"maps"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
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

// TestWhatCannotBeUndoneTakesItsWord: every form that does something for good is taken with
// the word that its page asks for, and with no other.
func TestWhatCannotBeUndoneTakesItsWord(t *testing.T) {
	scope := func(app, platform string) url.Values {
		return url.Values{"app": {app}, "platform": {platform}, "reason": {"they left"}}
	}
	for _, c := range []struct {
		command interface{ read(f *form) }
		word    string
		fields  url.Values
	}{
		{new(passkeyChoice), "remove", url.Values{"passkey": {"k"}}},
		{new(recoveryRenewal), "new codes", nil},
		{new(revoking), "revoke", nil},
		{new(cuttingOff), "everything", scope("", "")},
		{new(cuttingOff), "shop", scope("shop", "")},
		{new(cuttingOff), "x", scope("", "x")},
		{new(cuttingOff), "shop x", scope("shop", "x")},
		{new(rotating), "rotate", nil},
		{new(destroying), "destroy", nil},
		{new(heirEntry), "hand over", url.Values{"to": {"a"}}},
		{new(removal), "remove", nil},
		{new(erasing), "erase", nil},
		{new(reviewStart), "begin", nil},
		{new(finishing), "finish", nil},
		{new(remaking), "again", nil},
		{new(endingKey), "finish", nil},
		{new(cutting), "cut off", nil},
		{new(resettingFactors), "reset", nil},
	} {
		for _, typed := range []string{c.word, " " + c.word + " ", "", c.word[:len(c.word)-1], c.word + "s", strings.ToUpper(c.word), "yes", "everything"} {
			values := url.Values{"typed": {typed}}
			maps.Copy(values, c.fields)
			f := &form{values: values, taken: map[string]bool{}}
			c.command.read(f)
			err := f.err()
			if want := strings.TrimSpace(typed) == c.word; (err == nil) != want {
				t.Errorf("%T with %q for the word %q: %v", c.command, typed, c.word, err)
			} else if err != nil && wire.RuleOf(err) != "console/typed" {
				t.Errorf("%T with %q: the refusal is %v", c.command, typed, err)
			}
		}
	}
}
