package platform_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

// query parses a query string for a test.
func query(t testing.TB, s string) url.Values {
	t.Helper()
	q, err := url.ParseQuery(s)
	if err != nil {
		t.Fatalf("query %q: %v", s, err)
	}
	return q
}

// shared returns a file of the reference data that may lie beside the repository,
// or nil when it does not.
func shared(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("GATEHOUSE_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "platforms", name))
	if err != nil {
		return nil
	}
	return raw
}

func TestClassifyNamesCalls(t *testing.T) {
	for _, test := range []struct {
		p                   platform.Name
		method, path, query string
		want                string
	}{
		{platform.X, "GET", "/2/users/me", "", "GET /2/users/me"},
		{platform.X, "GET", "/2/users/2244994945/followers", "max_results=10", "GET /2/users/{id}/followers"},
		{platform.X, "GET", "/2/users/by/username/XDevelopers", "", "GET /2/users/by/username/{username}"},
		{platform.X, "DELETE", "/2/users/1/following/2", "", "DELETE /2/users/{source_user_id}/following/{target_user_id}"},
		{platform.X, "POST", "/2/oauth2/token", "grant_type=refresh_token", "POST /2/oauth2/token"},
		{platform.X, "POST", "/1.1/oauth/invalidate_token.json", "", "POST /1.1/oauth/invalidate_token.json"},
		{platform.Facebook, "GET", "/v25.0/me", "fields=id,name", "GET /me"},
		{platform.Facebook, "GET", "/me/accounts", "", "GET /me/accounts"},
		{platform.Facebook, "GET", "/v24.0/1234", "", "GET /{id}"},
		{platform.Facebook, "GET", "/v24.0/12_34/comments", "", "GET /{id}/comments"},
		{platform.Facebook, "POST", "/v25.0/99/photos", "", "POST /{id}/photos"},
		{platform.Facebook, "DELETE", "/v25.0/99", "", "DELETE /{id}"},
		{platform.Facebook, "POST", "/v25.0", "", "POST /"},
		{platform.Facebook, "POST", "/v25.0/", "", "POST /"},
		{platform.Facebook, "POST", "/", "", "POST /"},
		{platform.Facebook, "GET", "/v25.0/", "ids=1,2", "GET /{id}"},
		{platform.Facebook, "GET", "/comments", "ids=1,2", "GET /{id}/comments"},
		{platform.Facebook, "GET", "/", "ids={result=a:$.data[0,1].id}", "GET /{id}"},
		{platform.Facebook, "GET", "/comments", "id=1", "GET /{id}/comments"},
		{platform.Facebook, "GET", "/", "id=https://example.com/", "GET /{url}"},
		{platform.Facebook, "POST", "/", "id=77", "POST /{id}"},
		{platform.Facebook, "GET", "/act_123/campaigns", "", "GET /{id}/campaigns"},
		{platform.Facebook, "GET", "/CocaCola", "", "GET /{username}"},
		{platform.Facebook, "DELETE", "/me/permissions/email", "", "DELETE /me/permissions/{permission}"},
		{platform.Facebook, "GET", "/debug_token", "input_token=x", "GET /debug_token"},
		{platform.Facebook, "POST", "/video-upload/v25.0/123", "", "POST /video-upload/{id}"},
		{platform.Facebook, "POST", "/v25.0/1550/messages", "", "POST /{id}/messages"},
		{platform.Instagram, "GET", "/me/media", "", "GET /me/media"},
		{platform.Instagram, "POST", "/v25.0/178/media_publish", "", "POST /{id}/media_publish"},
		{platform.Threads, "POST", "/v1.0/me/threads_publish", "", "POST /me/threads_publish"},
		{platform.Threads, "GET", "/v1.0/keyword_search", "q=a", "GET /keyword_search"},
		{platform.Threads, "GET", "/refresh_access_token", "grant_type=th_refresh_token", "GET /refresh_access_token"},
	} {
		call, err := platform.Classify(test.p, test.method, test.path, query(t, test.query))
		if err != nil {
			t.Errorf("%s %s %s: %v", test.p, test.method, test.path, err)
			continue
		}
		if call.Operation != test.want || call.Unknown {
			t.Errorf("%s %s %s?%s = %q (unknown %v), want %q", test.p, test.method, test.path, test.query, call.Operation, call.Unknown, test.want)
		}
	}
}

// What is not in the platforms' documents is unknown, and nothing of its path
// stands in the name that goes to the log.
func TestClassifyUnknown(t *testing.T) {
	for _, test := range []struct {
		p                   platform.Name
		method, path, query string
	}{
		{platform.X, "GET", "/2/secret_admin", ""},
		{platform.X, "PATCH", "/2/users/me", ""},
		{platform.X, "GET", "/2/users/notanumber", ""},
		{platform.X, "GET", "/", ""},
		{platform.X, "GET", "/2/users/1/followers/extra", ""},
		{platform.Facebook, "GET", "/123/no_such_edge", ""},
		{platform.Facebook, "GET", "/accounts", ""},
		{platform.Facebook, "GET", "/accounts/feed", ""},
		{platform.Facebook, "GET", "/", "ids={result=a$.id}"},
		{platform.Facebook, "GET", "/", "ids={result=a:x.id}"},
		{platform.Facebook, "GET", "/", "ids={result=a:$.x/y.id}"},
		{platform.Facebook, "GET", "/", "ids={result=a:$.message}"},
		{platform.Facebook, "POST", "/debug_token", ""},
		{platform.Facebook, "PUT", "/123", ""},
		{platform.Facebook, "GET", "/", ""},
		{platform.Facebook, "POST", "/123/feed", "batch=[]"},
		{platform.Facebook, "GET", "/123/feed", "ids=4,5"},
		{platform.Facebook, "GET", "/debug_token", "ids=4,5"},
		{platform.Facebook, "GET", "/", "ids=..%2Fme"},
		{platform.Instagram, "GET", "/me/accounts", ""},
		{platform.Threads, "GET", "/me/accounts", ""},
		{platform.Threads, "POST", "/123", ""},
		{platform.Threads, "POST", "/", ""},
	} {
		call, err := platform.Classify(test.p, test.method, test.path, query(t, test.query))
		if err != nil || !call.Unknown || call.Operation != test.method+" unknown" {
			t.Errorf("%s %s %s?%s = %q, %v, %v; want unknown", test.p, test.method, test.path, test.query, call.Operation, call.Unknown, err)
		}
	}
}

// Whatever two readers could take for different paths is refused.
func TestClassifyRefusesHostilePaths(t *testing.T) {
	for _, path := range []string{
		"", "2/users/me", "/2/users/%2e%2e/tweets", "/2/users/..", "/2/users/.", "/2/./users/me", "/2//users/me", "//2/users/me",
		"/2/users%2fme", "/2/users/me.", "/2/users/me/", "/2/USERS/me", "/2/users/Me", "/2/users/me;x=1", "/2/users/me%00", "/2/users/m\x00e",
		"/2/users\\me", "/2/users%5cme", "/2/users/%6d%65", "/2/users/me%20", "/2/users/ me", "/2/users/me%", "/2/users/me%zz", "/2/users/%z0%90%80%80", "/2/users/%ff",
		"/2/users/me%252e", "/2/users/\xff", "/2/users/{id}", "/2/users/me?x", "/2/users/me#x", "/2/users/" + strings.Repeat("1", 3000), strings.Repeat("/a", 20),
	} {
		for _, p := range []platform.Name{platform.X, platform.Facebook} {
			if strings.HasPrefix(path, "/2/") && p == platform.Facebook {
				path = "/v25.0/" + path[3:]
			}
			call, err := platform.Classify(p, "GET", path, nil)
			if p == platform.Facebook && (path == "/v25.0/USERS/me" || path == "/v25.0/users/me") {
				continue // no word of the Graph; it is unknown there
			}
			if !errors.Is(err, platform.ErrHostilePath) {
				t.Errorf("%s %q = %q, %v; want a hostile path", p, path, call.Operation, err)
			}
		}
	}
	for _, path := range []string{"/ME", "/V25.0/me", "/v25.0/Me/accounts", "/123/FEED", "/123/feed.", "/Debug_Token", "/v25.0//me", "/v25.0/me/", "/OAuth/access_token"} {
		if call, err := platform.Classify(platform.Facebook, "GET", path, nil); !errors.Is(err, platform.ErrHostilePath) && !call.Unknown {
			t.Errorf("%q = %q, %v; want a hostile path", path, call.Operation, err)
		}
	}
	if _, err := platform.Classify(platform.X, "get", "/2/users/me", nil); !errors.Is(err, platform.ErrHostilePath) {
		t.Errorf("lower-case method: %v", err)
	}
}

func TestClassifyRefusesAmbiguousParameters(t *testing.T) {
	for _, q := range []string{"fields=id&fields=email", "ids[]=1", "batch[0][method]=GET", "Method=delete", "method=get&method=delete", "access_token=a&access_token=b", "FIELDS=id", "fields[0]=id", "access.token=x", "+ids=1"} {
		if _, err := platform.Classify(platform.Facebook, "GET", "/me", query(t, q)); !errors.Is(err, platform.ErrAmbiguous) {
			t.Errorf("%s: %v, want ErrAmbiguous", q, err)
		}
	}
	if _, err := platform.Classify(platform.Facebook, "GET", "/", query(t, "id=1&ids=2")); !errors.Is(err, platform.ErrAmbiguous) {
		t.Errorf("id beside ids: %v", err)
	}
	if _, err := platform.Classify(platform.Facebook, "GET", "/me", query(t, "fields=access_token.as(x)")); !errors.Is(err, platform.ErrAmbiguous) {
		t.Errorf("renamed credential: %v", err)
	}
	// Graph takes the last of several aliases; and an alias that says whose token
	// it is would put the token under somebody else's name.
	for _, fields := range []string{
		"access_token.as().as(x)", "access_token.limit(1)", "access_token.AS(x)", "Access_Token.as(x)", "accounts{access_token.as().as(x)}",
		"accounts.fields(access_token.as(x))", "access_token,name.as(id)", "access_token,name.as().as(user_id)", "name.as(access_token)",
	} {
		if _, err := platform.Classify(platform.Facebook, "GET", "/me", query(t, "fields="+fields)); !errors.Is(err, platform.ErrAmbiguous) {
			t.Errorf("fields=%s: %v", fields, err)
		}
	}
	if _, err := platform.Classify(platform.Facebook, "GET", "/me", query(t, "tag=a&tag=b&fields=id,picture.as(x)")); err != nil {
		t.Errorf("ordinary duplicates: %v", err)
	}
}

func TestClassifyOverrideBatchAndImplied(t *testing.T) {
	call, err := platform.Classify(platform.Facebook, "GET", "/123", query(t, "method=delete"))
	if err != nil || call.Override != "DELETE" {
		t.Errorf("override: %q, %v", call.Override, err)
	}
	if call, _ := platform.Classify(platform.Facebook, "GET", "/123", query(t, "method=get")); call.Override != "" {
		t.Errorf("an override to the same method is none, got %q", call.Override)
	}
	for _, q := range []string{"batch=[]", ""} { // the batch may stand in a body that was not given
		if call, _ := platform.Classify(platform.Facebook, "POST", "/", query(t, q)); !call.Batch || call.Unknown {
			t.Errorf("batch with %q: %+v", q, call)
		}
	}
	call, err = platform.Classify(platform.Facebook, "GET", "/me", query(t, "fields=id,name,feed.limit(2){message,comments{from}},accounts"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"GET /me", "GET /me/feed", "GET /{id}/comments", "GET /me/accounts"}, call.Operations()); d != "" {
		t.Errorf("implied (-want +got):\n%s", d)
	}
	call, err = platform.Classify(platform.Facebook, "GET", "/", query(t, "ids=1,me,CocaCola&fields=id"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"GET /me", "GET /{username}"}, call.Implied); d != "" {
		t.Errorf("ids (-want +got):\n%s", d)
	}
}

func TestClassifyTraits(t *testing.T) {
	call, _ := platform.Classify(platform.X, "GET", "/2/tweets/search/stream", nil)
	if !call.Streaming || call.Write || call.Auth != platform.AuthApp {
		t.Errorf("stream: %+v", call)
	}
	call, _ = platform.Classify(platform.X, "POST", "/2/tweets", nil)
	if !call.Write || call.Idempotent || !call.Auth.Has(platform.AuthOAuth1|platform.AuthOAuth2) {
		t.Errorf("post: %+v", call)
	}
	if d := cmp.Diff([]string{"tweet.read", "tweet.write", "users.read"}, call.Scopes); d != "" {
		t.Errorf("scopes (-want +got):\n%s", d)
	}
	call, _ = platform.Classify(platform.X, "GET", "/2/users/42/tweets", nil)
	if call.Param("id") != "42" || call.Pattern != "/2/users/{id}/tweets" || !call.Idempotent {
		t.Errorf("params: %+v", call)
	}
	call, _ = platform.Classify(platform.Facebook, "POST", "/v25.0/9/videos", nil)
	if call.Role != platform.RoleVideo || call.Version != "v25.0" {
		t.Errorf("video: %+v", call)
	}
	call, _ = platform.Classify(platform.Facebook, "GET", "/oauth/access_token", query(t, "code=c"))
	if call.Idempotent || !call.Write {
		t.Errorf("an exchange may not be repeated: %+v", call)
	}
	call, _ = platform.Classify(platform.Threads, "GET", "/me", nil)
	if !call.Idempotent || call.Write {
		t.Errorf("a read may be repeated: %+v", call)
	}
	for _, test := range []struct {
		p                   platform.Name
		method, path, query string
		want                platform.Endpoint
	}{
		{platform.X, "POST", "/2/oauth2/token", "grant_type=refresh_token", platform.TokenRefresh},
		{platform.X, "POST", "/2/oauth2/token", "grant_type=authorization_code", platform.TokenCode},
		{platform.X, "POST", "/2/oauth2/token", "grant_type=magic", platform.TokenOther},
		{platform.X, "POST", "/2/oauth2/revoke", "", platform.Revoke},
		{platform.X, "POST", "/oauth2/token", "", platform.TokenApp},
		{platform.X, "POST", "/oauth2/invalidate_token", "", platform.Invalidate},
		{platform.Facebook, "GET", "/v25.0/oauth/access_token", "code=c", platform.TokenCode},
		{platform.Facebook, "GET", "/oauth/access_token", "grant_type=fb_exchange_token", platform.TokenExtend},
		{platform.Facebook, "GET", "/oauth/access_token", "grant_type=client_credentials", platform.TokenApp},
		{platform.Facebook, "GET", "/me/permissions", "", platform.Permissions},
		{platform.Facebook, "DELETE", "/77/permissions/email", "", platform.RemovePermissions},
		{platform.Instagram, "GET", "/access_token", "grant_type=ig_exchange_token", platform.TokenExtend},
		{platform.Instagram, "GET", "/refresh_access_token", "", platform.TokenRefresh},
		{platform.Threads, "GET", "/debug_token", "", platform.DebugToken},
		{platform.Threads, "GET", "/me", "", platform.None},
	} {
		call, err := platform.Classify(test.p, test.method, test.path, query(t, test.query))
		if err != nil || call.Endpoint != test.want {
			t.Errorf("%s %s?%s: %v, %v; want %v", test.p, test.path, test.query, call.Endpoint, err, test.want)
		}
	}
}

func TestNormalizeCall(t *testing.T) {
	for _, test := range []struct {
		p          platform.Name
		call, want string
	}{
		{platform.X, "GET /2/users/:id/followers", "GET /2/users/{id}/followers"},
		{platform.X, "get /2/users/{user}/followers", "GET /2/users/{id}/followers"},
		{platform.Facebook, "GET /{page-id}/feed", "GET /{id}/feed"},
		{platform.Facebook, "GET /v25.0/{page-id}/feed", "GET /{id}/feed"},
		{platform.Facebook, "GET /me", "GET /me"},
		{platform.Facebook, "POST /", "POST /"},
		{platform.Facebook, "DELETE /{user}/permissions/{p}", "DELETE /{id}/permissions/{permission}"},
		{platform.Facebook, "GET /{username}", "GET /{username}"},
		{platform.Threads, "GET /me/threads", "GET /me/threads"},
	} {
		if got, err := platform.NormalizeCall(test.p, test.call); err != nil || got != test.want {
			t.Errorf("%s %q = %q, %v; want %q", test.p, test.call, got, err, test.want)
		}
	}
	for _, test := range []struct {
		p          platform.Name
		call, hint string
	}{
		{platform.X, "GET /2/users/{id}/folowers", "GET /2/users/{id}/followers"},
		{platform.X, "POST /2/users/me", "GET /2/users/me"},
		{platform.X, "GET /2/users/12345", "GET /2/users/{id}"},
		{platform.Facebook, "GET /{page}/fed", "GET /{id}/feed"},
		{platform.Facebook, "PUT /{id}/feed", "POST /{id}/feed"},
		{platform.Threads, "GET /{id}/acounts", ""},
		{platform.X, "/2/users/me", `"GET /path"`},
		{platform.X, "GET /2/users/me?x=1", "query"},
	} {
		if got, err := platform.NormalizeCall(test.p, test.call); !errors.Is(err, platform.ErrUnknownOperation) || !strings.Contains(err.Error(), test.hint) {
			t.Errorf("%s %q = %q, %v; want an error that mentions %q", test.p, test.call, got, err, test.hint)
		}
	}
}

// Every operation of the tables is known to Classify and to NormalizeCall under
// its own name.
func TestEveryOperationClassifiesToItself(t *testing.T) {
	for _, p := range platform.Names() {
		ops := platform.Operations(p)
		if len(ops) < 15 {
			t.Fatalf("%s has only %d operations", p, len(ops))
		}
		for _, op := range ops {
			selfClassifies(t, p, op)
		}
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	raw := shared(t, "x-openapi.json")
	if raw == nil {
		raw = []byte(`{"paths":{"/2/users/{id}/followers":{"get":{}},"/2/tweets":{"get":{},"post":{}}}}`)
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			switch method {
			case "get", "post", "put", "delete":
				selfClassifies(t, platform.X, strings.ToUpper(method)+" "+path)
			}
		}
	}
}

func selfClassifies(t *testing.T, p platform.Name, op string) {
	t.Helper()
	method, pattern, _ := strings.Cut(op, " ")
	segments := strings.Split(pattern, "/")
	for i, s := range segments {
		switch {
		case s == "{media_key}":
			segments[i] = "3_1"
		case s == "{username}":
			segments[i] = "somebody"
		case s == "upload:{session}":
			segments[i] = "upload:abc"
		case strings.HasPrefix(s, "{"):
			segments[i] = "1234567890123456"[:8]
		}
	}
	path := strings.Join(segments, "/")
	if strings.Contains(pattern, "/2/dm_events") || strings.Contains(pattern, "dm_conversations/{id}") {
		path = strings.ReplaceAll(path, "12345678", "1234567890123456")
	}
	if strings.HasPrefix(pattern, "/{url}") {
		return
	}
	call, err := platform.Classify(p, method, path, nil)
	if err != nil || call.Unknown || call.Operation != op {
		t.Errorf("%s %s (%s) = %q, unknown %v, %v", p, op, path, call.Operation, call.Unknown, err)
	}
	if got, err := platform.NormalizeCall(p, op); err != nil || got != op {
		t.Errorf("normalizing %s %s = %q, %v", p, op, got, err)
	}
}

// Every node and edge of the Graph specifications is known.
func TestGraphSpecificationsAreKnown(t *testing.T) {
	specs := map[string][]byte{"Page": []byte(`{"apis":[{"method":"GET","endpoint":"feed"},{"method":"POST","endpoint":"photos"},{"method":"GET","name":"#get"}]}`)}
	for _, name := range []string{"Application", "Comment", "IGMedia", "IGMediaForIGOnlyAPI", "IGUser", "IGUserForIGOnlyAPI", "InstagramUser", "Lead", "LeadgenForm", "Page", "PagePost", "Photo", "Post", "SystemUser", "User"} {
		if raw := shared(t, "meta/"+name+".json"); raw != nil {
			specs[name] = raw
		}
	}
	for name, raw := range specs {
		var spec struct {
			APIs []struct{ Method, Name, Endpoint string } `json:"apis"`
		}
		if err := json.Unmarshal(raw, &spec); err != nil {
			t.Fatal(err)
		}
		hosts := []platform.Name{platform.Facebook}
		if strings.Contains(name, "ForIGOnlyAPI") {
			hosts = append(hosts, platform.Instagram)
		}
		for _, api := range spec.APIs {
			want := api.Method + " /{id}"
			if api.Endpoint != "" {
				want += "/" + api.Endpoint
			}
			for _, p := range hosts {
				if call, err := platform.Classify(p, api.Method, strings.Replace(want[len(api.Method)+1:], "{id}", "12", 1), nil); err != nil || call.Operation != want {
					t.Errorf("%s on %s: %q, %v; want %q", name, p, call.Operation, err, want)
				}
			}
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, s := range []string{"/2/users/me", "/v25.0/me/accounts?fields=a{b}", "/2/users/%2e%2e", "//", "/v25.0/?ids=1,2", "/123?method=delete"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		path, q, _ := strings.Cut(s, "?")
		params, _ := url.ParseQuery(q)
		for _, p := range platform.Names() {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				call, err := platform.Classify(p, method, path, params)
				if err != nil {
					continue
				}
				if !strings.HasPrefix(call.Operation, method+" ") {
					t.Fatalf("%q has operation %q", s, call.Operation)
				}
				if !call.Unknown && (strings.Contains(path, "..") || strings.Contains(path, "//") || strings.ContainsAny(path, "\\;\x00")) && !strings.Contains(call.Operation, "{") {
					t.Fatalf("%q passed as %q", s, call.Operation)
				}
			}
		}
	})
}
