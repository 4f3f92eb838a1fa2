package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/sandbox/world"
)

type batchReply []*struct {
	Code    int
	Headers []struct{ Name, Value string }
	Body    string
}

// accounts returns the person's pages with their handles.
func (r *rig) accounts(h string) []struct {
	ID          string
	AccessToken string `json:"access_token"`
} {
	r.t.Helper()
	var pages struct {
		Data []struct {
			ID          string
			AccessToken string `json:"access_token"`
		}
	}
	r.call("GET", "/meta/v25.0/me/accounts?fields=id,access_token", bearer(h)).ok(&pages)
	if len(pages.Data) == 0 {
		r.t.Fatal("the person has no pages")
	}
	return pages.Data
}

// A batch in each of its forms: as a form, as JSON like the Node SDK's, and as
// multipart like curl's.
func TestBatchForms(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	const items = `[{"method":"GET","relative_url":"me?fields=id,name"},{"method":"GET","relative_url":"me/accounts?fields=id,access_token&limit=1"}]`
	var multi bytes.Buffer
	w := multipart.NewWriter(&multi)
	_ = w.WriteField("access_token", h)
	_ = w.WriteField("batch", items)
	_ = w.Close()
	for name, o := range map[string][]option{
		"form":      {bearer(h), body(formType, "include_headers=true&batch="+url.QueryEscape(items))},
		"json":      {bearer(h), body("application/json", `{"batch":`+items+`}`)},
		"json text": {bearer(h), body("application/json", `{"access_token":"","batch":`+fmt.Sprintf("%q", items)+`}`)},
		"multipart": {body(w.FormDataContentType(), multi.String())},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			if name == "json text" {
				r.call("POST", "/meta/v25.0/", o...).refused(400, "refuse/two-credentials")
				return
			}
			var reply batchReply
			r.call("POST", "/meta/v25.0/", o...).ok(&reply)
			if len(reply) != 2 || reply[0].Code != 200 || reply[1].Code != 200 {
				t.Fatalf("reply: %+v", reply)
			}
			var pages struct {
				Data []struct {
					AccessToken string `json:"access_token"`
				}
			}
			if err := json.Unmarshal([]byte(reply[1].Body), &pages); err != nil || !strings.HasPrefix(pages.Data[0].AccessToken, "gth_hnd_") {
				t.Errorf("pages in the batch: %s", reply[1].Body)
			}
		})
	}
	r.t = t
	r.check()
}

// Items may carry handles of their own: a page's beside the person's.
func TestBatchItemHandles(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	page := r.accounts(h)[0]
	item := func(method, relative, body string) string {
		b, _ := json.Marshal(map[string]string{"method": method, "relative_url": relative, "body": body})
		return string(b)
	}
	batch := "[" + item("GET", "me?fields=name", "") + "," +
		item("POST", page.ID+"/feed", "message=from+a+batch&access_token="+page.AccessToken) + "," +
		item("GET", page.ID+"?fields=id,access_token&access_token="+page.AccessToken, "") + "]"
	var reply batchReply
	r.call("POST", "/meta/v25.0/?access_token="+h, body(formType, "batch="+url.QueryEscape(batch))).ok(&reply)
	for i, a := range reply {
		if a == nil || a.Code != 200 {
			t.Fatalf("item %d: %+v", i, a)
		}
	}
	if !strings.Contains(reply[2].Body, page.AccessToken) {
		t.Errorf("the page's own token did not become the handle that asked: %s", reply[2].Body)
	}
	// Without a token around it, every item needs one.
	alone := "[" + item("GET", page.ID+"?fields=id&access_token="+page.AccessToken, "") + "]"
	r.call("POST", "/meta/", body(formType, "batch="+url.QueryEscape(alone))).ok(&reply)
	mixed := "[" + item("GET", page.ID+"?fields=id&access_token="+page.AccessToken, "") + "," + item("GET", "me", "") + "]"
	r.call("POST", "/meta/", body(formType, "batch="+url.QueryEscape(mixed))).refused(401, "refuse/no-handle")
	r.check()
}

// What a batch hides is found.
func TestBatchRefusals(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	page := r.accounts(h)[0]
	for name, c := range map[string]struct {
		batch  string
		status int
		rule   string
	}{
		"undeclared":        {`[{"method":"GET","relative_url":"me"},{"method":"DELETE","relative_url":"1234567890"}]`, 403, "refuse/undeclared-call"},
		"unknown":           {`[{"method":"GET","relative_url":"me/nonsense_edge"}]`, 403, "refuse/unknown-operation"},
		"method override":   {`[{"method":"GET","relative_url":"1234567890?method=delete"}]`, 403, "refuse/method-override"},
		"override in body":  {`[{"method":"POST","relative_url":"me/feed","body":"method=delete"}]`, 403, "refuse/method-override"},
		"expansion":         {`[{"method":"GET","relative_url":"me?fields=id,photos{images}"}]`, 403, "refuse/undeclared-call"},
		"oauth":             {`[{"method":"DELETE","relative_url":"me/permissions"}]`, 403, "refuse/oauth-in-batch"},
		"batch in batch":    {`[{"method":"POST","relative_url":"","body":"batch=[]"}]`, 403, "refuse/unknown-operation"},
		"token spliced":     {`[{"method":"GET","relative_url":"me/accounts","name":"a"},{"method":"POST","relative_url":"` + page.ID + `/feed","body":"message={result=a:$.data.0.access_token}"}]`, 403, "refuse/batch-reference"},
		"token spliced enc": {`[{"method":"GET","relative_url":"me/accounts","name":"a"},{"method":"POST","relative_url":"` + page.ID + `/feed","body":"message=%7Bresult%3Da%3A%24.data.0.access_token%7D"}]`, 403, "refuse/batch-reference"},
		"headers":           {`[{"method":"GET","relative_url":"me","headers":["Authorization: Bearer x"]}]`, 400, "refuse/parameters"},
		"absolute":          {`[{"method":"GET","relative_url":"https://evil.example/me"}]`, 400, "refuse/path"},
		"two handles":       {`[{"method":"GET","relative_url":"me?access_token=` + h + `","body":"access_token=` + h + `"}]`, 400, "refuse/two-credentials"},
		"handle in text":    {`[{"method":"POST","relative_url":"` + page.ID + `/feed","body":"message=` + h + `"}]`, 400, "refuse/handle-inside"},
		"unknown member":    {`[{"method":"GET","relative_url":"me","Method":"DELETE"}]`, 400, "refuse/parameters"},
		"not json":          {`[{]`, 400, "refuse/parameters"},
		"empty":             {`[]`, 400, "refuse/parameters"},
		"foreign token":     {`[{"method":"GET","relative_url":"me?access_token=EAABsbCS1234567890"}]`, 401, "refuse/not-a-handle"},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.seen.reset()
			r.call("POST", "/meta/v25.0/", bearer(h), body(formType, "batch="+url.QueryEscape(c.batch))).refused(c.status, c.rule)
			if n := r.seen.count(); n != 0 {
				t.Errorf("%d requests reached the platform", n)
			}
		})
	}
	// The near miss of the splice: ids are what references are for.
	t.Run("ids may be taken", func(t *testing.T) {
		r.t = t
		batch := `[{"method":"GET","relative_url":"me/accounts?fields=id&limit=1","name":"a","omit_response_on_success":false},{"method":"GET","relative_url":"?ids={result=a:$.data.*.id}&fields=id,name"}]`
		var reply batchReply
		r.call("POST", "/meta/v25.0/", bearer(h), body(formType, "batch="+url.QueryEscape(batch))).ok(&reply)
		if len(reply) != 2 || reply[1] == nil || reply[1].Code != 200 || !strings.Contains(reply[1].Body, page.ID) {
			t.Errorf("reply: %+v", reply[1])
		}
	})
	r.t = t
	r.check()
}

// What a platform can do wrong with a batch.
func TestBatchFaults(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	const batch = `[{"method":"GET","relative_url":"me"},{"method":"GET","relative_url":"me"}]`
	send := func(reply string) answer {
		r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/"}, Times: 1, Status: 200, Body: reply, ContentType: "application/json"})
		return r.call("POST", "/meta/v25.0/", bearer(h), body(formType, "batch="+url.QueryEscape(batch)))
	}
	var reply batchReply
	send(`[{"code":200,"headers":[{"name":"Set-Cookie","value":"datr=1"},{"name":"ETag","value":"e"}],"body":"{\"id\":\"1\"}"},null]`).ok(&reply)
	if len(reply) != 2 || reply[1] != nil || len(reply[0].Headers) != 1 || reply[0].Headers[0].Name != "ETag" {
		t.Errorf("reply: %+v", reply)
	}
	send(`[null,null,null]`).refused(502, "upstream/batch")
	send(`{"id":"1"}`).refused(502, "upstream/batch")
	send(`[{"code":200,"body":"access_token=EAAzzz"}]`).refused(502, "upstream/not-json")
	send(`[{"code":200,"body":"{\"client_secret\":\"0123456789abcdef\"}"}]`).refused(502, "upstream/token")
	// An item whose token is dead tells of its own grant.
	send(`[{"code":400,"body":"{\"error\":{\"message\":\"expired\",\"type\":\"OAuthException\",\"code\":190,\"error_subcode\":467}}"},null]`).ok(&reply)
	r.call("GET", "/meta/v25.0/me", bearer(h)).refused(403, "connect/reconnect-needed")
	r.check()
}
