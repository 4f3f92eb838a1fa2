package connect_test

import (
	"encoding/json"
	"regexp"
	"testing"

	"gatehouse"
	"gatehouse/internal/connect"
)

func TestPlatformErrors(t *testing.T) {
	for _, c := range []struct {
		platform gatehouse.Platform
		status   int
		body     string
		class    string
		dead     bool
	}{
		{gatehouse.X, 400, `{"error":"invalid_request","error_description":"Value passed for the token was invalid."}`, "invalid_request", true},
		{gatehouse.X, 400, `{"error":"invalid_request","error_description":"Missing required parameter [client_id]."}`, "invalid_request", false},
		{gatehouse.X, 401, `{"error":"unauthorized_client","error_description":"Missing valid authorization header"}`, "unauthorized_client", false},
		{gatehouse.X, 401, `{"errors":[{"code":89,"message":"Invalid or expired token."}]}`, "x/89", true},
		{gatehouse.X, 401, `{"errors":[{"code":32,"message":"Could not authenticate you."}]}`, "x/32", false},
		{gatehouse.OAuth2, 400, `{"error":"invalid_request","error_description":"Value passed for the token was invalid."}`, "invalid_request", false},
		{gatehouse.OAuth2, 400, `{"error":"invalid_grant"}`, "invalid_grant", true},
		{gatehouse.OAuth2, 400, `{"error":"sesame"}`, "other", false},
		{gatehouse.Facebook, 400, `{"error":{"message":"m","type":"OAuthException","code":190,"error_subcode":463}}`, "graph/190/463", true},
		{gatehouse.Facebook, 400, `{"error":{"message":"m","type":"OAuthException","code":4}}`, "graph/4/0", false},
		{gatehouse.Instagram, 400, `{"error_type":"OAuthException","code":400,"error_message":"m"}`, "instagram/400", false},
		{gatehouse.X, 503, `<html>`, "503", false},
		{gatehouse.X, 500, `{}`, "500", false},
	} {
		class, dead := connect.Classify(c.platform, c.status, []byte(c.body))
		if class != c.class || dead != c.dead {
			t.Errorf("%s %d %s is %s, %v", c.platform, c.status, c.body, class, dead)
		}
	}
}

// FuzzClassify checks that nothing a platform writes gets into a class.
func FuzzClassify(f *testing.F) {
	for _, seed := range []string{`{"error":"invalid_grant"}`, `{"error":{"code":190}}`, `{"errors":[{"code":89}]}`, `{"error_type":"x","code":-1}`, `[]`} {
		f.Add(400, []byte(seed))
	}
	harmless := regexp.MustCompile(`^([a-z_]{1,30}|(graph/)?-?[0-9]{1,20}(/-?[0-9]{1,20})?|(instagram|x)/-?[0-9]{1,20})$`)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, p := range []gatehouse.Platform{gatehouse.X, gatehouse.Facebook} {
			if class, _ := connect.Classify(p, status, body); !harmless.MatchString(class) {
				t.Errorf("%q becomes class %q", body, class)
			}
		}
	})
}

func TestMember(t *testing.T) {
	const object = `{"data":{"id":"a","n":12345678901234567890,"list":[1]},"id":7}`
	for path, want := range map[string]string{
		"data.id": "a", "data.n": "12345678901234567890", "id": "7", "data": "", "data.list": "", "data.id.more": "", "nothing": "", "": "",
	} {
		if got := connect.Member(json.RawMessage(object), path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

// FuzzMember checks that no reply of a platform makes the reader fail.
func FuzzMember(f *testing.F) {
	f.Add([]byte(`{"a":{"b":"c"}}`), "a.b")
	f.Add([]byte(`{"a":1e400}`), "a")
	f.Fuzz(func(_ *testing.T, object []byte, path string) { connect.Member(object, path) })
}
