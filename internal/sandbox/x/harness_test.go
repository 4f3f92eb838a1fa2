package x_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sort"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/sandbox/x"
)

const callback = "https://app.example/callback"

// desk is a platform on a listener, with what a test needs at hand.
type desk struct {
	t      *testing.T
	x      *x.Platform
	url    string
	clock  *world.Clock
	ledger *world.Ledger
	app    x.App
	client *http.Client
	nonce  int
}

func newDesk(t *testing.T, c x.Config) *desk {
	t.Helper()
	d := &desk{t: t, clock: &world.Clock{}, ledger: &world.Ledger{}}
	c.Clock, c.Ledger = d.clock, d.ledger
	if c.RedirectURIs == nil {
		c.RedirectURIs = []string{callback}
	}
	if c.RateFactor == 0 {
		c.RateFactor = -1
	}
	platform, err := x.New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	server := httptest.NewServer(platform)
	t.Cleanup(func() {
		platform.Close()
		server.Close()
	})
	d.x, d.url, d.app = platform, server.URL, platform.App()
	d.client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return d
}

// answer is one reply, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// json decodes the body.
func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var value map[string]any
	if err := json.Unmarshal([]byte(a.body), &value); err != nil {
		t.Fatalf("reply %d is not JSON: %v: %s", a.status, err, a.body)
	}
	return value
}

// at walks a path of keys and indexes through a decoded body.
func (a answer) at(t *testing.T, path ...any) any {
	t.Helper()
	var value any = a.json(t)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, _ := value.(map[string]any)
			value = object[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				t.Fatalf("no element %v of %v in %s", step, path, a.body)
			}
			value = list[step]
		}
	}
	return value
}

func (d *desk) do(req *http.Request) answer {
	d.t.Helper()
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatalf("%s %s: reading: %v", req.Method, req.URL.Path, err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// call makes a request with a bearer and, if body is not nil, a JSON body.
func (d *desk) call(method, path, bearer string, body any) answer {
	d.t.Helper()
	return d.do(d.request(method, path, bearer, body))
}

func (d *desk) request(method, path, bearer string, body any) *http.Request {
	d.t.Helper()
	var content io.Reader
	if body != nil {
		text, raw := body.(string)
		if !raw {
			encoded, err := json.Marshal(body)
			if err != nil {
				d.t.Fatal(err)
			}
			text = string(encoded)
		}
		content = strings.NewReader(text)
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, content)
	if err != nil {
		d.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// form posts a form, with Basic credentials if user is set.
func (d *desk) form(path, user, password string, fields url.Values) answer {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.url+path, strings.NewReader(fields.Encode()))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	return d.do(req)
}

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// authorizeParameters is a correct authorization request.
func (d *desk) authorizeParameters(scopes string) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	return url.Values{
		"response_type": {"code"}, "client_id": {d.app.ClientID}, "redirect_uri": {callback}, "scope": {scopes}, "state": {"st-1"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
}

// code obtains an authorization code.
func (d *desk) code(person string, parameters url.Values) string {
	d.t.Helper()
	parameters.Set("sandbox_person", person)
	parameters.Set("sandbox_decision", "allow")
	reply := d.call(http.MethodGet, "/i/oauth2/authorize?"+parameters.Encode(), "", nil)
	location, err := url.Parse(reply.header.Get("Location"))
	if err != nil || reply.status != http.StatusFound || location.Query().Get("code") == "" {
		d.t.Fatalf("authorize = %d %s %s", reply.status, location, reply.body)
	}
	if got := location.Query().Get("state"); got != parameters.Get("state") {
		d.t.Errorf("state came back as %q", got)
	}
	return location.Query().Get("code")
}

// redeem exchanges a code as the confidential client.
func (d *desk) redeem(code string) answer {
	d.t.Helper()
	return d.form("/2/oauth2/token", d.app.ClientID, d.app.ClientSecret, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier},
	})
}

// refreshWith exchanges a refresh token as the confidential client.
func (d *desk) refreshWith(token string) answer {
	d.t.Helper()
	return d.form("/2/oauth2/token", d.app.ClientID, d.app.ClientSecret, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// login connects a person and returns the access and refresh tokens.
func (d *desk) login(person, scopes string) (access, refresh string) {
	d.t.Helper()
	reply := d.redeem(d.code(person, d.authorizeParameters(scopes)))
	if reply.status != http.StatusOK {
		d.t.Fatalf("exchange = %d %s", reply.status, reply.body)
	}
	tokens := reply.json(d.t)
	refresh, _ = tokens["refresh_token"].(string)
	return tokens["access_token"].(string), refresh
}

// everything is a set of scopes that allows all operations.
const everything = "tweet.read tweet.write tweet.moderate.write users.email users.read follows.read follows.write offline.access " +
	"mute.read mute.write like.read like.write list.read list.write block.read bookmark.read bookmark.write dm.read dm.write media.write timeline.read"

// person returns a user name by index, and id its identifier.
func person(i int) string { return world.People()[i].Username }

func (d *desk) id(i int) string {
	d.t.Helper()
	reply := d.call(http.MethodGet, "/2/users/by/username/"+person(i), d.x.AppBearer(), nil)
	id, ok := reply.at(d.t, "data", "id").(string)
	if !ok {
		d.t.Fatalf("no id of %s: %s", person(i), reply.body)
	}
	return id
}

// expect checks a status.
func (a answer) expect(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// rfc3986 encodes for OAuth 1.0a, written apart from the platform's encoder so
// that a mistake there does not confirm itself.
func rfc3986(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~", "*", "%2A").Replace(url.QueryEscape(s))
}

// keys are an OAuth 1.0a credential set.
type keys struct{ consumer, consumerSecret, token, tokenSecret string }

// signature computes an OAuth 1.0a signature.
func signature(method, target string, parameters map[string]string, k keys) string {
	var pairs []string
	for name, value := range parameters {
		pairs = append(pairs, rfc3986(name)+"="+rfc3986(value))
	}
	sort.Strings(pairs)
	base := method + "&" + rfc3986(target) + "&" + rfc3986(strings.Join(pairs, "&"))
	mac := hmac.New(sha1.New, []byte(rfc3986(k.consumerSecret)+"&"+rfc3986(k.tokenSecret)))
	mac.Write([]byte(base))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signed builds a signed request. change may spoil the OAuth fields before the
// signature is made; form fields make a form body.
func (d *desk) signed(method, path string, k keys, form url.Values, change func(map[string]string)) *http.Request {
	d.t.Helper()
	d.nonce++
	fields := map[string]string{
		"oauth_consumer_key": k.consumer, "oauth_nonce": fmt.Sprint("nonce", d.nonce), "oauth_signature_method": "HMAC-SHA1",
		"oauth_timestamp": fmt.Sprint(time.Now().Unix()), "oauth_version": "1.0",
	}
	if k.token != "" {
		fields["oauth_token"] = k.token
	}
	if change != nil {
		change(fields)
	}
	target, _ := url.Parse(d.url + path)
	parameters := make(map[string]string)
	for name, value := range fields {
		parameters[name] = value
	}
	for name, values := range target.Query() {
		parameters[name] = values[0]
	}
	for name, values := range form {
		parameters[name] = values[0]
	}
	base := *target
	base.RawQuery = ""
	fields["oauth_signature"] = signature(method, base.String(), parameters, k)
	var parts []string
	for name, value := range fields {
		parts = append(parts, fmt.Sprintf(`%s="%s"`, name, rfc3986(value)))
	}
	var body io.Reader
	if form != nil {
		body = bytes.NewReader([]byte(form.Encode()))
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, target.String(), body)
	if err != nil {
		d.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Authorization", "OAuth "+strings.Join(parts, ", "))
	return req
}

// consumer is the app's OAuth 1.0a keys without a token.
func (d *desk) consumer() keys {
	return keys{consumer: d.app.ConsumerKey, consumerSecret: d.app.ConsumerSecret}
}

// minted is the app's keys with a token of a person.
func (d *desk) minted(i int) keys {
	k := d.consumer()
	k.token, k.tokenSecret = d.x.MintOAuth1(person(i))
	return k
}
