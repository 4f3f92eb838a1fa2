package x_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/x"
)

// The worked example of X's documentation, on its three hosts.
func TestSignatureVectors(t *testing.T) {
	parameters := map[string]string{
		"include_entities": "true", "status": "Hello Ladies + Gentlemen, a signed OAuth request!",
		"oauth_consumer_key": "xvz1evFS4wEEPTGEFPHBog", "oauth_nonce": "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg",
		"oauth_signature_method": "HMAC-SHA1", "oauth_timestamp": "1318622958",
		"oauth_token": "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb", "oauth_version": "1.0",
	}
	for target, want := range map[string]string{
		"https://api.x.com/1.1/statuses/update.json":       "Ls93hJiZbQ3akF3HF3x1Bz8/zU4=",
		"https://api.twitter.com/1.1/statuses/update.json": "hCtSmYh+iHYCEqBWrE7C7hYmtUk=",
		"https://api.twitter.com/1/statuses/update.json":   "tnnArxj06cWHq44gCs1OSKk/jLY=",
	} {
		base := x.ExportTestOnlyBase("post", target, parameters)
		if got := x.ExportTestOnlySign(base, "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw", "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE"); got != want {
			t.Errorf("%s: signature %s, want %s; base %s", target, got, want, base)
		}
	}
	parameters = map[string]string{
		"oauth_callback": "http://localhost/sign-in-with-twitter/", "oauth_consumer_key": "cChZNFj6T5R0TigYB9yd1w",
		"oauth_nonce": "ea9ec8429b68d6b77cd5600adbbb0456", "oauth_signature_method": "HMAC-SHA1", "oauth_timestamp": "1318467427", "oauth_version": "1.0",
	}
	for target, want := range map[string]string{
		"https://api.twitter.com/oauth/request_token": "F1Li3tvehgcraF8DMJ7OyxO4w9Y=",
		"https://api.x.com/oauth/request_token":       "X9xhcB9d+NxXd/ThJ/n51vPhetM=",
	} {
		base := x.ExportTestOnlyBase("POST", target, parameters)
		if got := x.ExportTestOnlySign(base, "L8qq9PZyRg6ieKGEKhZolGC0vJWLw8iEJ88DRdyOg", ""); got != want {
			t.Errorf("%s: signature %s, want %s", target, got, want)
		}
	}
}

// The documented request itself, sent by a client that believes it talks to
// api.x.com, years after its timestamp.
func TestTheDocumentedRequestIsAccepted(t *testing.T) {
	d := newDesk(t, x.Config{OAuth1Skew: -1, App: x.App{
		ConsumerKey: "xvz1evFS4wEEPTGEFPHBog", ConsumerSecret: "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
	}})
	send := func(host, signature string) answer {
		req := d.request(http.MethodPost, "/oauth/request_token", "", nil)
		req.Host = host
		req.Header.Set("Authorization", `OAuth oauth_callback="oob", oauth_consumer_key="xvz1evFS4wEEPTGEFPHBog", oauth_nonce="n1", `+
			`oauth_signature="`+url.QueryEscape(signature)+`", oauth_signature_method="HMAC-SHA1", oauth_timestamp="1318622958", oauth_version="1.0"`)
		return d.do(req)
	}
	right := signature(http.MethodPost, "https://api.x.com/oauth/request_token", map[string]string{
		"oauth_callback": "oob", "oauth_consumer_key": "xvz1evFS4wEEPTGEFPHBog", "oauth_nonce": "n1",
		"oauth_signature_method": "HMAC-SHA1", "oauth_timestamp": "1318622958", "oauth_version": "1.0",
	}, d.consumer())
	send("api.twitter.com", right).expect(t, http.StatusUnauthorized) // signed for another host
	send("API.X.com", right).expect(t, http.StatusOK)
	send("api.x.com", right).expect(t, http.StatusUnauthorized) // the nonce is spent
}

func TestThreeLegsWithACallback(t *testing.T) {
	d := newDesk(t, x.Config{})
	reply := d.do(d.signed(http.MethodPost, "/oauth/request_token", d.consumer(), nil, func(f map[string]string) { f["oauth_callback"] = callback })).expect(t, http.StatusOK)
	if got := reply.header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("request_token sends %s", got)
	}
	temporary, _ := url.ParseQuery(reply.body)
	if temporary.Get("oauth_callback_confirmed") != "true" {
		t.Errorf("request_token = %s", reply.body)
	}
	token := temporary.Get("oauth_token")
	page := d.call(http.MethodGet, "/oauth/authorize?oauth_token="+token, "", nil).expect(t, http.StatusOK)
	if !strings.Contains(page.body, `name="oauth_token" value="`+token+`"`) {
		t.Errorf("the page does not carry the request token:\n%s", page.body)
	}
	allowed := d.form("/oauth/authorize", "", "", url.Values{"oauth_token": {token}, "person": {person(7)}, "decision": {"allow"}}).expect(t, http.StatusFound)
	location, _ := url.Parse(allowed.header.Get("Location"))
	if !strings.HasPrefix(location.String(), callback+"?") || location.Query().Get("oauth_token") != token {
		t.Fatalf("sent back to %s", location)
	}
	k := d.consumer()
	k.token, k.tokenSecret = token, temporary.Get("oauth_token_secret")
	d.do(d.signed(http.MethodPost, "/oauth/access_token", k, url.Values{"oauth_verifier": {"wrong"}}, nil)).expect(t, http.StatusUnauthorized)
	got := d.do(d.signed(http.MethodPost, "/oauth/access_token", k, url.Values{"oauth_verifier": {location.Query().Get("oauth_verifier")}}, nil)).expect(t, http.StatusOK)
	access, _ := url.ParseQuery(got.body)
	if access.Get("screen_name") != person(7) || !regexp.MustCompile(`^`+access.Get("user_id")+`-[A-Za-z0-9]{40}$`).MatchString(access.Get("oauth_token")) {
		t.Errorf("access_token = %s", got.body)
	}
	// The request token is spent.
	d.do(d.signed(http.MethodPost, "/oauth/access_token", k, url.Values{"oauth_verifier": {location.Query().Get("oauth_verifier")}}, nil)).expect(t, http.StatusUnauthorized)

	k.token, k.tokenSecret = access.Get("oauth_token"), access.Get("oauth_token_secret")
	me := d.do(d.signed(http.MethodGet, "/2/users/me?user.fields=description,created_at", k, nil, nil)).expect(t, http.StatusOK)
	if me.at(t, "data", "username") != person(7) {
		t.Errorf("users/me = %s", me.body)
	}
	ended := d.do(d.signed(http.MethodPost, "/1.1/oauth/invalidate_token.json", k, nil, nil)).expect(t, http.StatusOK)
	if ended.at(t, "access_token") != k.token {
		t.Errorf("invalidate_token = %s", ended.body)
	}
	after := d.do(d.signed(http.MethodGet, "/1.1/account/verify_credentials.json", k, nil, nil)).expect(t, http.StatusUnauthorized)
	if after.body != `{"errors":[{"code":89,"message":"Invalid or expired token."}]}` {
		t.Errorf("after invalidation: %s", after.body)
	}
}

func TestThreeLegsWithAPINAndARefusal(t *testing.T) {
	d := newDesk(t, x.Config{})
	begin := func() string {
		reply := d.do(d.signed(http.MethodPost, "/oauth/request_token", d.consumer(), url.Values{"oauth_callback": {"oob"}}, nil)).expect(t, http.StatusOK)
		values, _ := url.ParseQuery(reply.body)
		return values.Get("oauth_token") + " " + values.Get("oauth_token_secret")
	}
	token, secret, _ := strings.Cut(begin(), " ")
	page := d.call(http.MethodGet, "/oauth/authorize?oauth_token="+token+"&sandbox_person="+person(2), "", nil).expect(t, http.StatusOK)
	pin := regexp.MustCompile(`<code id="code">(\d{7})</code>`).FindStringSubmatch(page.body)
	if pin == nil {
		t.Fatalf("no PIN:\n%s", page.body)
	}
	k := d.consumer()
	k.token, k.tokenSecret = token, secret
	d.do(d.signed(http.MethodPost, "/oauth/access_token", k, nil, func(f map[string]string) { f["oauth_verifier"] = pin[1] })).expect(t, http.StatusOK)

	token, _, _ = strings.Cut(begin(), " ")
	d.call(http.MethodGet, "/oauth/authorize?oauth_token="+token+"&sandbox_person="+person(2)+"&sandbox_decision=deny", "", nil).expect(t, http.StatusOK)
	d.call(http.MethodGet, "/oauth/authorize?oauth_token="+token, "", nil).expect(t, http.StatusUnauthorized)

	reply := d.do(d.signed(http.MethodPost, "/oauth/request_token", d.consumer(), url.Values{"oauth_callback": {callback}}, nil)).expect(t, http.StatusOK)
	values, _ := url.ParseQuery(reply.body)
	denied := d.call(http.MethodGet, "/oauth/authorize?oauth_token="+values.Get("oauth_token")+"&sandbox_person="+person(2)+"&sandbox_decision=deny", "", nil).expect(t, http.StatusFound)
	if got := denied.header.Get("Location"); got != callback+"?denied="+values.Get("oauth_token") {
		t.Errorf("denied to %s", got)
	}
}

func TestAuthenticateAsksOnlyOnce(t *testing.T) {
	d := newDesk(t, x.Config{})
	visit := func(query string) int {
		reply := d.do(d.signed(http.MethodPost, "/oauth/request_token", d.consumer(), url.Values{"oauth_callback": {callback}}, nil)).expect(t, http.StatusOK)
		values, _ := url.ParseQuery(reply.body)
		return d.call(http.MethodGet, "/oauth/authenticate?oauth_token="+values.Get("oauth_token")+query, "", nil).status
	}
	for _, step := range []struct {
		query string
		want  int
	}{
		{"&screen_name=" + person(9), http.StatusOK},
		{"&sandbox_person=" + person(9), http.StatusFound},
		{"&screen_name=" + person(9), http.StatusFound},
		{"&screen_name=" + person(9) + "&force_login=true", http.StatusOK},
		{"&screen_name=" + person(10), http.StatusOK},
	} {
		if got := visit(step.query); got != step.want {
			t.Errorf("authenticate%s = %d, want %d", step.query, got, step.want)
		}
	}
}

func TestUnapprovedCallback(t *testing.T) {
	d := newDesk(t, x.Config{})
	for _, target := range []string{"", "https://evil.example/", callback + "/more"} {
		reply := d.do(d.signed(http.MethodPost, "/oauth/request_token", d.consumer(), url.Values{"oauth_callback": {target}}, nil)).expect(t, http.StatusForbidden)
		if !strings.Contains(reply.body, `"code":415`) {
			t.Errorf("callback %q: %s", target, reply.body)
		}
	}
}

func TestSignaturesAreVerified(t *testing.T) {
	d := newDesk(t, x.Config{})
	k := d.minted(0)
	other := d.minted(1)
	legacy := "/1.1/account/verify_credentials.json"
	cases := map[string]struct {
		keys   keys
		change func(map[string]string)
		status int
		code   string
	}{
		"right":                {k, nil, 200, ""},
		"no version":           {k, func(f map[string]string) { delete(f, "oauth_version") }, 200, ""},
		"wrong version":        {k, func(f map[string]string) { f["oauth_version"] = "2.0" }, 400, `"code":215`},
		"wrong token secret":   {keys{k.consumer, k.consumerSecret, k.token, other.tokenSecret}, nil, 401, `"code":32`},
		"wrong app secret":     {keys{k.consumer, "wrong", k.token, k.tokenSecret}, nil, 401, `"code":32`},
		"unknown consumer":     {keys{"wrong", k.consumerSecret, k.token, k.tokenSecret}, nil, 401, `"code":32`},
		"unknown token":        {keys{k.consumer, k.consumerSecret, "1-x", k.tokenSecret}, nil, 401, `"code":89`},
		"no token":             {d.consumer(), nil, 400, `"code":215`},
		"other method":         {k, func(f map[string]string) { f["oauth_signature_method"] = "PLAINTEXT" }, 401, `"code":32`},
		"no nonce":             {k, func(f map[string]string) { f["oauth_nonce"] = "" }, 400, `"code":215`},
		"no timestamp":         {k, func(f map[string]string) { f["oauth_timestamp"] = "" }, 400, `"code":215`},
		"timestamp not number": {k, func(f map[string]string) { f["oauth_timestamp"] = "soon" }, 400, `"code":215`},
		"timestamp 1999":       {k, func(f map[string]string) { f["oauth_timestamp"] = "930000000" }, 401, `"code":135`},
	}
	for name, c := range cases {
		reply := d.do(d.signed(http.MethodGet, legacy, c.keys, nil, c.change))
		if reply.status != c.status || !strings.Contains(reply.body, c.code) {
			t.Errorf("%s: %d %s, want %d %s", name, reply.status, reply.body, c.status, c.code)
		}
	}
	for _, skew := range []time.Duration{-301 * time.Second, 301 * time.Second} {
		d.clock.SetSkew(skew)
		reply := d.do(d.signed(http.MethodGet, legacy, k, nil, nil)).expect(t, http.StatusUnauthorized)
		if reply.body != `{"errors":[{"code":135,"message":"Timestamp out of bounds."}]}` {
			t.Errorf("skew %v: %s", skew, reply.body)
		}
		d.clock.SetSkew(skew - skew/50)
		d.do(d.signed(http.MethodGet, legacy, k, nil, nil)).expect(t, http.StatusOK)
	}
	d.clock.SetSkew(0)

	d.do(d.signed(http.MethodGet, legacy, k, nil, func(f map[string]string) { f["oauth_nonce"] = "once" })).expect(t, http.StatusOK)
	d.do(d.signed(http.MethodGet, legacy, k, nil, func(f map[string]string) { f["oauth_nonce"] = "once" })).expect(t, http.StatusUnauthorized)
	relaxed := newDesk(t, x.Config{AllowNonceReplay: true})
	rk := relaxed.minted(0)
	for range 2 {
		relaxed.do(relaxed.signed(http.MethodGet, legacy, rk, nil, func(f map[string]string) { f["oauth_nonce"] = "once" })).expect(t, http.StatusOK)
	}
}

func TestWhatIsAndIsNotSigned(t *testing.T) {
	d := newDesk(t, x.Config{})
	k := d.minted(0)
	// A form body is signed.
	req := d.signed(http.MethodPost, "/1.1/statuses/update.json?include_entities=true", k, url.Values{"status": {"Ünï + çödé 👍🏽 & more = ~*!'()"}}, nil)
	if reply := d.do(req).expect(t, http.StatusOK); reply.at(t, "text") != "Ünï + çödé 👍🏽 & more = ~*!'()" {
		t.Errorf("posted %s", reply.body)
	}
	changed := d.signed(http.MethodPost, "/1.1/statuses/update.json", k, url.Values{"status": {"one thing"}}, nil)
	changed.Body = http.NoBody
	changed.ContentLength = 0
	d.do(changed).expect(t, http.StatusUnauthorized)
	// The query is signed.
	altered := d.signed(http.MethodGet, "/2/users/me?user.fields=location", k, nil, nil)
	altered.URL.RawQuery = "user.fields=verified"
	d.do(altered).expect(t, http.StatusUnauthorized)
	// A key twice is not accepted, however it is signed.
	doubled := d.signed(http.MethodGet, "/2/users/me?user.fields=location", k, nil, nil)
	doubled.URL.RawQuery = "user.fields=location&user.fields=location"
	d.do(doubled).expect(t, http.StatusUnauthorized)
	// JSON is not signed.
	plain := d.signed(http.MethodPost, "/2/tweets", k, nil, nil)
	body := d.request(http.MethodPost, "/2/tweets", "", map[string]string{"text": "from OAuth 1.0a"})
	body.Header.Set("Authorization", plain.Header.Get("Authorization"))
	d.do(body).expect(t, http.StatusCreated)
	// Two Authorization headers are nobody's.
	two := d.signed(http.MethodGet, "/2/users/me", k, nil, nil)
	two.Header.Add("Authorization", "Bearer "+d.x.AppBearer())
	d.do(two).expect(t, http.StatusUnauthorized)
	// Over API v2 a bad signature is a plain 401.
	bad := k
	bad.tokenSecret = "wrong"
	if reply := d.do(d.signed(http.MethodGet, "/2/users/me", bad, nil, nil)); reply.body != `{"detail":"Unauthorized","status":401,"title":"Unauthorized","type":"about:blank"}` {
		t.Errorf("bad signature on v2: %d %s", reply.status, reply.body)
	}
}

func TestReadOnlyTokens(t *testing.T) {
	d := newDesk(t, x.Config{})
	reply := d.do(d.signed(http.MethodPost, "/oauth/request_token", d.consumer(), url.Values{"oauth_callback": {"oob"}, "x_auth_access_type": {"read"}}, nil)).expect(t, http.StatusOK)
	values, _ := url.ParseQuery(reply.body)
	page := d.call(http.MethodGet, "/oauth/authorize?oauth_token="+values.Get("oauth_token")+"&sandbox_person="+person(0), "", nil)
	pin := regexp.MustCompile(`\d{7}`).FindString(page.body)
	k := d.consumer()
	k.token, k.tokenSecret = values.Get("oauth_token"), values.Get("oauth_token_secret")
	got := d.do(d.signed(http.MethodPost, "/oauth/access_token", k, url.Values{"oauth_verifier": {pin}}, nil)).expect(t, http.StatusOK)
	access, _ := url.ParseQuery(got.body)
	k.token, k.tokenSecret = access.Get("oauth_token"), access.Get("oauth_token_secret")
	d.do(d.signed(http.MethodGet, "/2/users/me", k, nil, nil)).expect(t, http.StatusOK)
	refused := d.do(d.signed(http.MethodDelete, "/2/tweets/1", k, nil, nil)).expect(t, http.StatusForbidden)
	if !strings.Contains(refused.body, "oauth1-permissions") {
		t.Errorf("read-only write: %s", refused.body)
	}
	d.do(d.signed(http.MethodPost, "/1.1/statuses/update.json", k, url.Values{"status": {"no"}}, nil)).expect(t, http.StatusForbidden)
	d.do(d.signed(http.MethodPost, "/oauth/request_token", d.consumer(), url.Values{"oauth_callback": {"oob"}, "x_auth_access_type": {"all"}}, nil)).expect(t, http.StatusBadRequest)
}

func TestLegacyOperations(t *testing.T) {
	d := newDesk(t, x.Config{})
	k := d.minted(0)
	update := func(text string) answer {
		return d.do(d.signed(http.MethodPost, "/1.1/statuses/update.json", k, url.Values{"status": {text}}, nil))
	}
	update("hello there").expect(t, http.StatusOK)
	if reply := update("hello there").expect(t, http.StatusForbidden); !strings.Contains(reply.body, `"code":187`) {
		t.Errorf("duplicate: %s", reply.body)
	}
	update(strings.Repeat("x", 281)).expect(t, http.StatusForbidden)
	access, _ := d.login(person(0), everything)
	if reply := d.call(http.MethodGet, "/1.1/account/verify_credentials.json", access, nil).expect(t, http.StatusForbidden); !strings.Contains(reply.body, `"code":220`) {
		t.Errorf("OAuth 2.0 on 1.1: %s", reply.body)
	}
	d.do(d.signed(http.MethodPost, "/1.1/account/verify_credentials.json", k, nil, nil)).expect(t, http.StatusMethodNotAllowed)
}

func TestMalformedHeaders(t *testing.T) {
	for header, ok := range map[string]bool{
		`OAuth a="b"`:                           true,
		`oauth realm="x, y", a="b%20c",b="%7E"`: true,
		`OAuth realm="x", a="b%20c",  b="~"`:    true,
		`OAuth a="b", a="c"`:                    false,
		`OAuth a=b`:                             false,
		`OAuth a="b,c"`:                         false,
		`OAuth a="b`:                            false,
		`OAuth a="%zz"`:                         false,
		`OAuth a="b"c"`:                         false,
		`OAuth `:                                false,
		`OAuth realm="only"`:                    false,
		`Bearer a="b"`:                          false,
		``:                                      false,
	} {
		if _, err := x.ExportTestOnlyParseHeader(header); (err == nil) != ok {
			t.Errorf("%q: %v, want accepted %v", header, err, ok)
		}
	}
}

func FuzzOAuthHeader(f *testing.F) {
	f.Add(`OAuth oauth_consumer_key="a", oauth_nonce="b", oauth_signature="c%3D", oauth_version="1.0"`)
	f.Add(`OAuth realm="x",a="%7e"`)
	f.Add(`oauth ,,=""`)
	f.Fuzz(func(t *testing.T, header string) {
		fields, err := x.ExportTestOnlyParseHeader(header)
		if err != nil {
			return
		}
		// Written out again, the header reads the same.
		var parts []string
		for name, value := range fields {
			parts = append(parts, x.ExportTestOnlyEncode(name)+`="`+x.ExportTestOnlyEncode(value)+`"`)
		}
		again, err := x.ExportTestOnlyParseHeader("OAuth " + strings.Join(parts, ", "))
		if _, hidden := fields["realm"]; hidden {
			return // an encoded name that reads "realm" is dropped the second time
		}
		if err != nil || len(again) != len(fields) {
			t.Fatalf("%q reads as %v, written again as %v (%v)", header, fields, again, err)
		}
		for name, value := range fields {
			if again[name] != value {
				t.Errorf("%q: field %q is %q, then %q", header, name, value, again[name])
			}
		}
	})
}
