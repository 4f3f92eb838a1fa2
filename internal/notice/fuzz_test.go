package notice

import (
	"encoding/json"
	"testing"

	"gatehouse"
)

// Whatever a platform signs: it is refused, or taken apart into events that can be
// given to the app whole.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"data":{"event_uuid":"u","event_type":"oauth.revoke","filter":{"user_id":"1"},"payload":{"date_time":"2026-01-15T12:00:00.000Z","user_id":"1"}}}`,
		`{"for_user_id":"2244994945","tweet_create_events":[]}`,
		`{"user_event":{"revoke":{"date_time":"1700000000000","source":{"user_id":7}}}}`,
		`{"object":"page","entry":[{"id":"9","time":1,"changes":[{"field":"feed","value":{}}]},{"uid":8}]}`,
		`{"object":"permissions","entry":[{"id":null}]}`, `{"data":null}`, `[]`, `{}`, "",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, x bool) {
		p := gatehouse.Facebook
		if x {
			p = gatehouse.X
		}
		events, err := parse(p, body)
		if err != nil {
			return
		}
		if len(events) == 0 {
			t.Fatal("nothing came of it")
		}
		for _, e := range events {
			if !json.Valid(e.data(p)) {
				t.Errorf("the app would receive %q", e.data(p))
			}
			for _, name := range []string{e.account, e.revoked} {
				for _, c := range name {
					if c < '0' || c > '9' {
						t.Errorf("%q is no id", name)
					}
				}
			}
			if e.revoked != "" && e.at.IsZero() {
				t.Error("a revocation without a time")
			}
			if k := e.kind(); len(k) == 0 || len(k) > 40 {
				t.Errorf("the kind is %q", k)
			}
		}
	})
}
