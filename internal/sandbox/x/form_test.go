package x_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/internal/sandbox/x"
)

// FuzzRequest throws paths, queries, headers and bodies at the whole platform:
// it must answer each, never with a fault of its own.
func FuzzRequest(f *testing.F) {
	platform, err := x.New(x.Config{RedirectURIs: []string{callback}, RateFactor: -1})
	if err != nil {
		f.Fatal(err)
	}
	user, secret := platform.App().ClientID, platform.App().ClientSecret
	bearer := platform.AppBearer()
	token, _ := platform.MintOAuth1(person(0))
	f.Add("POST", "/2/oauth2/token", "", "Basic", "grant_type=authorization_code&code=a&redirect_uri=b&code_verifier=c")
	f.Add("POST", "/2/oauth2/token", "", "Basic", "grant_type=refresh_token&refresh_token=%zz")
	f.Add("POST", "/2/oauth2/revoke", "", "Basic", "token=a&token=b")
	f.Add("GET", "/i/oauth2/authorize", "client_id="+user+"&state=%00&scope=users.read", "", "")
	f.Add("GET", "/2/users", "ids=1,2,,3&user.fields=id,,", "Bearer", "")
	f.Add("GET", "/2/tweets/search/recent", "query=%28a+OR+b&max_results=9999999999", "Bearer", "")
	f.Add("GET", "/2/users/2244990000/followers", "pagination_token=0", "Bearer", "")
	f.Add("POST", "/2/tweets/search/stream/rules", "", "Bearer", `{"add":[{"value":"a"}]}`)
	f.Add("POST", "/oauth/request_token", "a=b&a=c", "OAuth", "oauth_callback=oob")
	f.Add("POST", "/2/webhooks", "", "Bearer", `{"url":"https://[::1"}`)
	f.Add("PUT", "/compliance/1/upload", "signature=", "", "1\n2\n")
	f.Fuzz(func(t *testing.T, method, path, query, scheme, body string) {
		if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "stream") {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader(body))
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		r.Header.Set("Content-Type", "application/json")
		switch scheme {
		case "Basic":
			r.SetBasicAuth(user, secret)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		case "Bearer":
			r.Header.Set("Authorization", "Bearer "+bearer)
		case "OAuth":
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Authorization", `OAuth oauth_consumer_key="`+platform.App().ConsumerKey+`", oauth_token="`+token+`", `+query)
		}
		w := httptest.NewRecorder()
		platform.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %s?%s: %d %s", method, path, query, w.Code, w.Body)
		}
	})
}
