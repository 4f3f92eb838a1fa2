package connect

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
)

var everyStatus = []Status{Pending, Healthy, Renewing, InDoubt, ReconnectNeeded, Revoked, Erased}

// Every state has its sentence, every cause a way to it, and nothing is left
// unfilled. Only when all is well is there nothing to say.
func TestNextSteps(t *testing.T) {
	c := &Connections{apps: map[gatehouse.AppName]App{"here": {Platform: gatehouse.Facebook}}}
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	seen := map[string]bool{}
	for status, sentences := range nextSteps {
		for cause := range sentences {
			for _, p := range []gatehouse.Platform{gatehouse.X, gatehouse.Facebook, gatehouse.Instagram, gatehouse.Threads, gatehouse.OAuth2} {
				for _, outstanding := range []bool{false, true} {
					rec := Record{Status: status, Cause: cause, Platform: p, App: "here", AccessExpires: at, DataAccessExpires: at, RevokeOutstanding: outstanding}
					next := c.next(rec)
					if strings.ContainsAny(next, "{}") || (next == "") != (status == Healthy && cause == "") {
						t.Errorf("%s/%s on %s: %q", status, cause, p, next)
					}
					seen[next] = true
				}
			}
		}
	}
	if len(nextSteps) != len(everyStatus) {
		t.Errorf("%d states have sentences, of %d", len(nextSteps), len(everyStatus))
	}
	for _, s := range everyStatus {
		if _, ok := nextSteps[s][""]; !ok {
			t.Errorf("%s has no sentence of its own", s)
		}
		if got, want := c.next(Record{Status: s, Cause: "of a later version", App: "here"}), c.next(Record{Status: s, App: "here"}); got != want {
			t.Errorf("with a cause that nobody knows, %s says %q, want %q", s, got, want)
		}
	}
	for _, c := range []struct {
		name string
		got  string
		want string
	}{
		{"in doubt", c.next(Record{Status: InDoubt, Platform: gatehouse.X, AccessExpires: at}), "expires at 2026-05-04 03:02 UTC"},
		{"in doubt at Facebook", c.next(Record{Status: InDoubt, Platform: gatehouse.Facebook, AccessExpires: at}), "is tried again"},
		{"ending", c.next(Record{Status: Healthy, Cause: causeAccessEnding, Platform: gatehouse.Facebook, DataAccessExpires: at}), "by 2026-05-04"},
		{"outstanding", c.next(Record{Status: Revoked, Platform: gatehouse.X, App: "here", RevokeOutstanding: true}), "X, which has to confirm"},
		{"not configured", c.next(Record{Status: Revoked, Platform: gatehouse.X, App: "gone", RevokeOutstanding: true}), "registration gone back"},
		{"not offered", c.next(Record{Status: Revoked, Platform: gatehouse.Threads, App: "here"}), "Threads offers apps no way"},
		{"a page", c.next(Record{Status: ReconnectNeeded, Kind: KindPage, Platform: gatehouse.Facebook}), "GET /me/accounts"},
		{"checkpoint", c.next(Record{Status: ReconnectNeeded, Cause: "checkpoint", Platform: gatehouse.Instagram}), "Instagram's security check"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%s: %q, want %q in it", c.name, c.got, c.want)
		}
	}
}

// Each of platform's words for a dead token has a sentence of its own.
func TestEveryDeathHasANextStep(t *testing.T) {
	for subcode := range 1000 {
		cause, dead := platform.DeadToken(190, subcode)
		if _, ok := nextSteps[ReconnectNeeded][Cause(cause)]; !dead || !ok {
			t.Errorf("190/%d (%s) has none", subcode, cause)
		}
	}
	if cause, dead := platform.DeadToken(4, 460); dead {
		t.Errorf("a throttled call is a death of %s", cause)
	}
}

// The documentation says what the table says, to the letter.
func TestNextStepsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/connecting.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), unreadableStep) {
		t.Errorf("docs/connecting.md does not hold: %s", unreadableStep)
	}
	for status, sentences := range nextSteps {
		for cause, sentence := range sentences {
			if status != Pending && !strings.Contains(string(text), sentence) {
				t.Errorf("docs/connecting.md does not hold %s/%s: %s", status, cause, sentence)
			}
		}
	}
}

// What a check may be told, and what follows from it.
func FuzzInspect(f *testing.F) {
	f.Add([]byte(`{"data":{"app_id":"1","type":"USER","is_valid":true,"expires_at":0,"data_access_expires_at":1790000000,"scopes":["b","a","a"]}}`))
	f.Add([]byte(`{"data":{"is_valid":false,"error":{"code":190,"subcode":460}}}`))
	f.Add([]byte(`{"data":{"is_valid":false,"error":{"code":2}}}`))
	f.Add([]byte(`{"data":{"expires_at":-1,"data_access_expires_at":99999999999999}}`))
	f.Add([]byte(`{"data":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var reply debugReply
		if json.Unmarshal(body, &reply) != nil {
			return
		}
		found, err := reply.read()
		if err != nil {
			return
		}
		if reply.Data.Valid == nil || found.valid != *reply.Data.Valid {
			t.Errorf("the verdict is not the platform's: %+v", found)
		}
		if !found.valid && causeIn(ReconnectNeeded, found.cause) == "" {
			t.Errorf("a death without a cause: %+v", found)
		}
		for _, at := range []time.Time{found.expires, found.dataAccess} {
			if at.Unix() > 1<<40 {
				t.Errorf("a time out of bounds: %s", at)
			}
		}
	})
}
