package meta_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/sandbox/meta"
)

// item is one answer of a batch; Body is decoded from its string.
type item struct {
	Code    int
	Headers []struct{ Name, Value string }
	Body    string
}

func (i *item) at(t *testing.T, path ...string) any {
	t.Helper()
	a := answer{t: t, raw: i.Body}
	if err := json.Unmarshal([]byte(i.Body), &a.body); err != nil {
		t.Fatalf("the body of an item is not JSON: %s", i.Body)
	}
	return a.at(path...)
}

func (s *site) batch(token string, items any, extra ...string) []*item {
	s.t.Helper()
	text, err := json.Marshal(items)
	if err != nil {
		s.t.Fatal(err)
	}
	a := s.post("/v25.0/", append([]string{"batch", string(text), "access_token", token}, extra...)...)
	if a.status != http.StatusOK {
		s.t.Fatalf("batch: %d %s", a.status, a.raw)
	}
	var out []*item
	if err := json.Unmarshal([]byte(a.raw), &out); err != nil {
		s.t.Fatalf("batch: %v in %s", err, a.raw)
	}
	return out
}

type m = map[string]any

func TestBatchRunsEachItemAsACallOfItsOwn(t *testing.T) {
	s := start(t)
	ada, bob := s.people[0], s.people[1]
	adas, bobs := s.long(ada, pageScopes), s.long(bob, pageScopes)
	page, pageToken := s.page(adas)
	out := s.batch(adas, []m{
		{"method": "GET", "relative_url": "me?fields=name"},
		{"method": "GET", "relative_url": "/v24.0/me?fields=name&access_token=" + bobs},
		{"method": "POST", "relative_url": page + "/feed", "body": "message=from+a+batch&access_token=" + pageToken},
		{"method": "GET", "relative_url": "me/unknown"},
		{"method": "GET", "relative_url": "me?access_token=EAAwrong"},
		{"relative_url": "me/accounts?limit=1"},
		{"method": "PUT", "relative_url": "me"},
		{"method": "POST", "relative_url": "?batch=[]"},
	})
	if len(out) != 8 {
		t.Fatalf("%d answers", len(out))
	}
	if got := out[0].at(t, "name"); got != ada.Name || out[0].Code != 200 {
		t.Errorf("item 0: %d %v", out[0].Code, got)
	}
	if got := out[1].at(t, "name"); got != bob.Name {
		t.Errorf("an item's own token was not used: %v", got)
	}
	if id, _ := out[2].at(t, "id").(string); !strings.HasPrefix(id, page) {
		t.Errorf("item 2: %s", out[2].Body)
	}
	for i, code := range map[int]float64{3: 2500, 4: 190, 6: 2500, 7: 100} {
		if out[i].Code != 400 || out[i].at(t, "error", "code") != code {
			t.Errorf("item %d: %d %s, want error %v", i, out[i].Code, out[i].Body, code)
		}
	}
	if got := out[5].at(t, "paging", "cursors", "after"); got == nil || !strings.Contains(out[5].Body, pageToken) {
		t.Errorf("item 5 has no cursors or no page token: %s", out[5].Body)
	}
	found := false
	for _, h := range out[1].Headers {
		found = found || h.Name == "facebook-api-version" && h.Value == "v24.0"
	}
	if !found {
		t.Errorf("item 1 has headers %v", out[1].Headers)
	}
	for _, one := range s.batch(adas, []m{{"relative_url": "me"}}, "include_headers", "false") {
		if one.Headers != nil {
			t.Errorf("headers came although refused: %v", one.Headers)
		}
	}
}

func TestBatchReferences(t *testing.T) {
	s := start(t)
	token := s.long(s.people[2], pageScopes)
	out := s.batch(token, []m{
		{"name": "pages", "relative_url": "me/accounts?fields=id&limit=3", "omit_response_on_success": false},
		{"relative_url": "?ids={result=pages:$.data.*.id}&fields=name"},
		{"name": "hidden", "relative_url": "me?fields=id"},
		{"relative_url": "{result=hidden:$.id}?fields=name", "depends_on": "hidden"},
		{"name": "broken", "relative_url": "me/nowhere"},
		{"relative_url": "me", "depends_on": "broken"},
		{"relative_url": "{result=broken:$.id}"},
		{"relative_url": "{result=neverNamed:$.id}"},
		{"relative_url": "me", "omit_response_on_success": true},
	})
	if out[0] == nil || out[0].Code != 200 {
		t.Fatalf("item 0: %v", out[0])
	}
	var byID map[string]any
	if err := json.Unmarshal([]byte(out[1].Body), &byID); err != nil || len(byID) != 3 {
		t.Errorf("item 1: %s", out[1].Body)
	}
	if out[2] != nil || out[8] != nil {
		t.Error("a successful answer that others refer to, or that was to be left out, came anyway")
	}
	if out[3].at(t, "name") != s.people[2].Name {
		t.Errorf("item 3: %s", out[3].Body)
	}
	if out[4] == nil || out[4].Code != 400 || out[5] != nil || out[6] != nil || out[7] != nil {
		t.Errorf("after a failure: %v %v %v %v", out[4], out[5], out[6], out[7])
	}
}

func TestBatchRefusals(t *testing.T) {
	s := start(t)
	token := s.long(s.people[0], pageScopes)
	many := make([]m, 51)
	for i := range many {
		many[i] = m{"relative_url": "me"}
	}
	tooMany, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"not JSON": "[{", "not a list": `{"a":1}`, "empty": "[]", "too many": string(tooMany), "same name twice": `[{"name":"a","relative_url":"me"},{"name":"a","relative_url":"me"}]`} {
		if a := s.post("/v25.0/", "batch", text, "access_token", token); a.status != http.StatusBadRequest || a.at("error", "code") != 100.0 {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	if out := s.batch(token, many[:50]); len(out) != 50 {
		t.Errorf("50 items gave %d answers", len(out))
	}
	s.post("/v25.0/", "batch", `[{"relative_url":"me"}]`, "access_token", "EAAwrong").refused(190, 0)
	// Without a token of the batch each item needs its own.
	a := s.post("/v25.0/", "batch", fmt.Sprintf(`[{"relative_url":"me?access_token=%s"},{"relative_url":"me"}]`, token))
	if !strings.Contains(a.raw, `"code":200`) || !strings.Contains(a.raw, `2500`) {
		t.Errorf("tokens per item: %s", a.raw)
	}
}

func TestBatchItemsNeedAProofEach(t *testing.T) {
	s := start(t, func(c *meta.Config) { c.RequireProof = true })
	secret := s.apps.Facebook.AppSecret
	mint := func(i int) string {
		token, err := s.platform.MintUserToken("facebook", s.people[i].Username)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	outer, own := mint(0), mint(1)
	out := s.batch(outer, []m{
		{"relative_url": "me"},
		{"relative_url": "me?access_token=" + own},
		{"relative_url": "me?access_token=" + own + "&appsecret_proof=" + meta.AppSecretProof(secret, own, "")},
	}, "appsecret_proof", meta.AppSecretProof(secret, outer, ""))
	if codes := []int{out[0].Code, out[1].Code, out[2].Code}; !cmp.Equal(codes, []int{200, 400, 200}) {
		t.Errorf("codes %v", codes)
	}
}

func TestJSONPath(t *testing.T) {
	var v any
	if err := json.Unmarshal([]byte(`{"id":"1","data":[{"id":"a","n":{"id":"x"}},{"id":"b"}],"ok":true,"none":null}`), &v); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"$.id": {"1"}, "$.data.*.id": {"a", "b"}, "$.data[*].id": {"a", "b"}, "$.data[1].id": {"b"}, "$['id']": {"1"}, "$.ok": {"true"},
		"$.data[0].n": {`{"id":"x"}`}, "$..id": {"1", "a", "x", "b"}, "$.data[7].id": nil, "$.data[-1]": nil, "$.none": nil, "$.missing": nil, "$.": nil, "$[": nil, "$x": nil,
	} {
		if diff := cmp.Diff(want, meta.JSONPath(v, path)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add(`[{"method":"GET","relative_url":"me?fields=id","name":"a"},{"relative_url":"{result=a:$.data.*.id}","depends_on":"a"}]`)
	f.Add(`[{"relative_url":"{result=a:$..id}{result=b"}]`)
	f.Add(`[{"omit_response_on_success":null,"headers":["x"]}]`)
	f.Fuzz(func(t *testing.T, text string) {
		n, names, err := meta.ParseBatch(text)
		if err == nil && (n < 1 || n > 50) {
			t.Fatalf("%d items accepted", n)
		}
		for _, name := range names {
			if name == "" {
				t.Fatal("a reference without a name")
			}
		}
	})
}

func FuzzReferences(f *testing.F) {
	f.Add("a{result=x:$.id}b{result=y:$.data.*.id}", "$.data[0]..id")
	f.Add("{result=:$}{result=x}{result=x:y}", "$[[")
	f.Fuzz(func(t *testing.T, text, path string) {
		if got := meta.SplitReferences(text); got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
		meta.JSONPath(m{"data": []any{m{"id": "1"}}}, path)
	})
}
