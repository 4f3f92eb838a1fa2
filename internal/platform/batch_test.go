package platform_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

func TestParseBatchAndBack(t *testing.T) {
	raw := `[{"method":"GET","relative_url":"me?fields=id&access_token=h1","name":"first"},` +
		`{"method":"post","relative_url":"v25.0/me/feed","body":"message=a%26b&access_token=h2&x=1","attachedFiles":"f1","depends_on":"first"},` +
		`{"method":"GET","relative_url":"?ids={result=first:$.data.*.id}","omit_response_on_success":false,"headers":[{"name":"If-None-Match","value":"\"x\""}],"access_token":"h3"}]`
	items, err := platform.ParseBatch(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"GET /me", "POST /me/feed", "GET /{id}"}
	for i := range items {
		call, err := items[i].Classify(platform.Facebook)
		if err != nil || call.Operation != want[i] || call.Unknown {
			t.Errorf("item %d: %q, %v; want %q", i, call.Operation, err, want[i])
		}
		stripped, removed, err := items[i].StripCredentials(platform.Facebook)
		if err != nil || removed.Get("access_token") != "h"+string(rune('1'+i)) {
			t.Errorf("item %d: removed %v, %v", i, removed, err)
		}
		items[i] = stripped
	}
	back, err := platform.FormatBatch(items)
	if err != nil {
		t.Fatal(err)
	}
	wantBack := `[{"method":"GET","relative_url":"me?fields=id","name":"first"},` +
		`{"method":"POST","relative_url":"v25.0/me/feed","body":"message=a%26b&x=1","depends_on":"first","attached_files":"f1"},` +
		`{"method":"GET","relative_url":"?ids={result=first:$.data.*.id}","headers":[{"name":"If-None-Match","value":"\"x\""}],"omit_response_on_success":false}]`
	if d := cmp.Diff(wantBack, back); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// What we misunderstood would be done without having been decided.
func TestParseBatchRefuses(t *testing.T) {
	item := `{"method":"GET","relative_url":"me"}`
	for _, test := range []struct {
		raw  string
		want error
	}{
		{``, platform.ErrSyntax},
		{`{}`, platform.ErrSyntax},
		{`[]`, platform.ErrSyntax},
		{`[1]`, platform.ErrSyntax},
		{`[{"relative_url":"me"}]`, platform.ErrSyntax},
		{`[{"method":1,"relative_url":"me"}]`, platform.ErrSyntax},
		{`[{"method":"GET","relative_url":"me","url":"x"}]`, platform.ErrSyntax},
		{`[{"method":"GET","Relative_URL":"me"}]`, platform.ErrSyntax},
		{`[{"method":"GET","relative_url":"me","relative_url":"me/accounts"}]`, platform.ErrAmbiguous},
		{`[{"method":"GET","relative_url":"me","attached_files":"a","attachedFiles":"b"}]`, platform.ErrAmbiguous},
		{`[` + strings.Repeat(item+",", 50) + item + `]`, platform.ErrTooLarge},
		{`["` + strings.Repeat("x", 5<<20) + `"]`, platform.ErrTooLarge},
	} {
		if _, err := platform.ParseBatch(test.raw); !errors.Is(err, test.want) {
			t.Errorf("%.60q: %v, want %v", test.raw, err, test.want)
		}
	}
	if _, err := platform.ParseBatch(`[` + strings.Repeat(item+",", 49) + item + `]`); err != nil {
		t.Errorf("fifty items: %v", err)
	}
}

func TestBatchItemClassify(t *testing.T) {
	for _, test := range []struct {
		item platform.BatchItem
		want string
	}{
		{platform.BatchItem{Method: "GET", RelativeURL: "{result=a:$.id}/comments"}, "GET /{id}/comments"},
		{platform.BatchItem{Method: "GET", RelativeURL: "/v25.0/%7Bresult=a:$.data%5B0%5D.id%7D"}, "GET /{id}"},
		{platform.BatchItem{Method: "GET", RelativeURL: "{result=a:$.message}"}, ""},
		{platform.BatchItem{Method: "GET", RelativeURL: "12/{result=a:$.id}"}, "GET unknown"},
		{platform.BatchItem{Method: "GET", RelativeURL: "?ids={result=a:$.data.*.message}"}, "GET unknown"},
		{platform.BatchItem{Method: "POST", RelativeURL: "", Body: "batch=[]"}, "POST unknown"},
		{platform.BatchItem{Method: "POST", RelativeURL: ""}, "POST unknown"},
		{platform.BatchItem{Method: "GET", RelativeURL: "https://graph.facebook.com/me"}, ""},
		{platform.BatchItem{Method: "GET", RelativeURL: "//evil/me"}, ""},
		{platform.BatchItem{Method: "GET", RelativeURL: "me/../12"}, ""},
		{platform.BatchItem{Method: "POST", RelativeURL: "me/feed?method=get", Body: "method=delete"}, ""},
		{platform.BatchItem{Method: "POST", RelativeURL: "me/feed", Body: "message=100% sure; really"}, "POST /me/feed"},
		{platform.BatchItem{Method: "POST", RelativeURL: "me/feed", Body: "message=a;method=delete"}, ""},
		{platform.BatchItem{Method: "POST", RelativeURL: "me/feed", Body: "%zz=1"}, ""},
	} {
		call, err := test.item.Classify(platform.Facebook)
		if test.want == "" && err == nil || test.want != "" && (err != nil || call.Operation != test.want) {
			t.Errorf("%+v: %q, %v; want %q", test.item, call.Operation, err, test.want)
		}
	}
	call, err := platform.BatchItem{Method: "POST", RelativeURL: "12", Body: "method=delete"}.Classify(platform.Facebook)
	if err != nil || call.Override != "DELETE" {
		t.Errorf("override in a body: %q, %v", call.Override, err)
	}
}

func TestBatchItemHeaders(t *testing.T) {
	for _, test := range []struct {
		headers string
		ok      bool
	}{
		{`[{"name":"If-None-Match","value":"x"}]`, true},
		{`[{"name":"Authorization","value":"Bearer h"}]`, false},
		{`[{"name":"X-HTTP-Method-Override","value":"DELETE"}]`, false},
		{`[{"name":"\u0041uthorization","value":"Bearer h"}]`, false},
	} {
		_, _, err := platform.BatchItem{Method: "GET", RelativeURL: "me", Headers: json.RawMessage(test.headers)}.StripCredentials(platform.Facebook)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.headers, err)
		}
	}
	if _, _, err := (platform.BatchItem{Method: "GET", RelativeURL: "me?%zz=1"}).StripCredentials(platform.Facebook); err == nil {
		t.Error("a name that cannot be decoded was kept")
	}
}

func FuzzParseBatch(f *testing.F) {
	for _, s := range []string{`[{"method":"GET","relative_url":"me"}]`, `[{"method":"POST","relative_url":"me/feed","body":"a=b"}]`, `[null]`, `[{"method":"GET","relative_url":"?ids={result=a:$.id}"}]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		items, err := platform.ParseBatch(raw)
		if err != nil {
			return
		}
		for i, item := range items {
			if _, err := item.Classify(platform.Facebook); err != nil {
				continue
			}
			if stripped, _, err := item.StripCredentials(platform.Facebook); err == nil {
				items[i] = stripped
				_, rawQuery, _ := strings.Cut(stripped.RelativeURL, "?")
				for _, s := range []string{rawQuery, stripped.Body} {
					if q, err := url.ParseQuery(s); err == nil && q.Has("access_token") {
						t.Fatalf("%q still has a token", s)
					}
				}
			}
		}
		text, err := platform.FormatBatch(items)
		if err != nil {
			t.Fatal(err)
		}
		again, err := platform.ParseBatch(text)
		if err != nil {
			t.Fatalf("%q does not parse again: %v", text, err)
		}
		if len(again) != len(items) {
			t.Fatalf("%d items became %d", len(items), len(again))
		}
	})
}
