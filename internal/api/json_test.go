package api_test

import (
	"encoding/json"
	"testing"

	"gatehouse/internal/api"
)

// FuzzDecode checks that whatever is accepted means the same to encoding/json.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{begin, `{}`, `{"app":"\u0000"}`, `{"purposes":["a",null]}`, `{"expires_in":1e3}`, `{"a":{"a":[{}]}}`, ` {"app":"x"} {`, `{"app":"a","app":"b"}`} {
		f.Add([]byte(seed))
	}
	type input struct {
		App       string   `json:"app"`
		Purposes  []string `json:"purposes"`
		ExpiresIn int64    `json:"expires_in"`
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want input
		if api.Decode(body, &got) != nil {
			return
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("accepted what is not JSON: %q", body)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Errorf("%q is read as %s and as %s", body, a, b)
		}
	})
}
