package connect_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

func request(t *testing.T, address string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// A platform's token goes to that platform's hosts and nowhere else.
func TestCredentialGoesToItsPlatformOnly(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	k, err := w.Connections.Credential(t.Context(), w.Receipt(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"https://evil.example/2/users/me", w.MetaURL + "/me", strings.Replace(w.XURL, "http:", "https:", 1) + "/2/users/me"} {
		req := request(t, address)
		refused(t, k.Authorize(req), "connect/foreign-host")
		if len(req.Header) != 0 || req.URL.RawQuery != "" {
			t.Errorf("%s was given a credential all the same", address)
		}
		refused(t, w.Connections.AppRequest(t.Context(), w.Receipt(), "main-x", request(t, address)), "connect/foreign-host")
	}
	refused(t, k.AuthorizeOAuth1(request(t, w.XURL+"/2/users/me"), nil), "connect/not-oauth1")
	refused(t, k.BatchItem(url.Values{}), "connect/not-graph")
}

// Without the receipt of a durable intent nothing is opened.
func TestNoReceiptNoCredential(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	if _, err := w.Connections.Credential(t.Context(), audit.Receipt{}, c.ID); err == nil {
		t.Error("a credential was opened without an intent")
	}
	if err := w.Connections.AppRequest(t.Context(), audit.Receipt{}, "pages", request(t, w.MetaURL+"/debug_token")); err == nil {
		t.Error("a request was authorised as the app without an intent")
	}
	_, err := w.Connections.Credential(t.Context(), w.Receipt(), "connothing")
	refused(t, err, "connect/unknown-connection")
}

// Facebook's proof is added to the query without changing what stands there.
func TestProofs(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{RequireProof: true})
	c := w.Connect("user-7", "pages", connecttest.Person(1))
	k, err := w.Connections.Credential(t.Context(), w.Receipt(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	const query = "fields=id,name{x}&b=%20+"
	req := request(t, w.MetaURL+"/v25.0/me?"+query)
	if err := k.Authorize(req); err != nil {
		t.Fatal(err)
	}
	q := req.URL.Query()
	if !strings.HasPrefix(req.URL.RawQuery, query+"&") || len(q.Get("appsecret_proof")) != 64 || q.Get("appsecret_time") == "" || q.Has("access_token") {
		t.Errorf("the query is %s", req.URL.RawQuery)
	}
	item := url.Values{"fields": {"id"}}
	if err := k.BatchItem(item); err != nil || !k.Is(item.Get("access_token")) || len(item.Get("appsecret_proof")) != 64 {
		t.Errorf("a batch item has %v, %v", item, err)
	}
}

// The app's own credential answers what only it may ask.
func TestAppRequest(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	c := w.Connect("user-7", "pages", connecttest.Person(1))
	k, err := w.Connections.Credential(t.Context(), w.Receipt(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	item := url.Values{}
	if err := k.BatchItem(item); err != nil {
		t.Fatal(err)
	}
	for app, address := range map[gatehouse.AppName]string{
		"pages":  w.MetaURL + "/v25.0/debug_token?input_token=" + item.Get("access_token"),
		"main-x": w.XURL + "/2/tweets/search/recent?query=a",
	} {
		req := request(t, address)
		if err := w.Connections.AppRequest(t.Context(), w.Receipt(), app, req); err != nil {
			t.Fatalf("%s: %v", app, err)
		}
		reply, err := w.Egress.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", app, reply.StatusCode)
		}
	}
	refused(t, w.Connections.AppRequest(t.Context(), w.Receipt(), "other", request(t, w.XURL+"/2/users/me")), "connect/no-app-token")
	refused(t, w.Connections.AppRequest(t.Context(), w.Receipt(), "public-x", request(t, w.XURL+"/2/users/me")), "connect/no-app-token")
	refused(t, w.Connections.AppRequest(t.Context(), w.Receipt(), "nowhere", request(t, w.XURL+"/2/users/me")), "connect/unknown-app")
}

// A person who declined offline access has a connection that ends with its
// token.
func TestWithoutRefreshTokenItEnds(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	b := w.Start(w.Begin("user-7", "publish"))
	q := b.Back("main-x", b.Decide(connecttest.Person(1), "allow", "tweet.read users.read"))
	c, err := w.Connections.Redeem(t.Context(), secret.New(q.Get("code")), "user-7", "scheduler")
	if err != nil {
		t.Fatal(err)
	}
	call(t, w, c.ID)
	age(t, w, makeExpired)
	_, err = w.Connections.Credential(t.Context(), w.Receipt(), c.ID)
	refused(t, err, "connect/reconnect-needed")
	if after, err := w.Connections.Get(t.Context(), c.ID); err != nil || after.Status != connect.ReconnectNeeded {
		t.Errorf("%+v, %v", after, err)
	}
}

// Tokens obtained elsewhere are checked at the platform and kept.
func TestImport(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	token, err := w.Meta.MintUserToken("facebook", connecttest.Person(1), "pages_show_list")
	if err != nil {
		t.Fatal(err)
	}
	r := connect.ImportRequest{
		App: "pages", Service: "scheduler", Subject: "user-7", Purposes: []gatehouse.PurposeName{"pages"}, Access: secret.New(token),
	}
	in, err := w.Connections.Import(t.Context(), r)
	c := in.Connection
	if err != nil || in.Already || c.Status != connect.Healthy || c.PlatformUser == "" || len(c.Scopes) == 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	if status, err := w.Call(c.ID, http.MethodGet, w.MetaURL+"/v25.0/me"); status != http.StatusOK || err != nil {
		t.Errorf("calling gives %d, %v", status, err)
	}
	r.Access = secret.New("EAAgarbage")
	if _, err := w.Connections.Import(t.Context(), r); err == nil || strings.Contains(err.Error(), "EAAgarbage") {
		t.Errorf("garbage gives %v", err)
	}
	r.Access = secret.Text{}
	_, err = w.Connections.Import(t.Context(), r)
	refused(t, err, "connect/import")
}
