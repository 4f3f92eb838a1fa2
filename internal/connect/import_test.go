package connect_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// xPair is an OAuth 2.0 pair that an app got from X by itself.
type xPair struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

// mintX walks a person through X's consent as an app without Gatehouse does.
func mintX(t *testing.T, w *connecttest.World, person string) xPair {
	t.Helper()
	a, verifier := w.X.App(), strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	redirect := connecttest.PublicURL + connect.CallbackPath + "main-x"
	back := w.Browser(w.XURL+"/i/oauth2/authorize?"+strings.ReplaceAll(url.Values{
		"response_type": {"code"}, "client_id": {a.ClientID}, "redirect_uri": {redirect}, "state": {"s"},
		"scope": {"tweet.read users.read offline.access"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}.Encode(), "+", "%20"), secret.Text{}).Decide(person, "allow", "")
	return xToken(t, w, url.Values{"grant_type": {"authorization_code"}, "code": back["code"], "redirect_uri": {redirect}, "code_verifier": {verifier}})
}

// xToken asks X's token endpoint as the app would; a refusal is an empty pair.
func xToken(t *testing.T, w *connecttest.World, form url.Values) xPair {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.XURL+"/2/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(w.X.App().ClientID, w.X.App().ClientSecret)
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	var pair xPair
	if err := json.NewDecoder(reply.Body).Decode(&pair); err != nil {
		t.Fatal(err)
	}
	return pair
}

// handedIn is a pair as an operator hands it in.
func handedIn(p xPair) connect.ImportRequest {
	return connect.ImportRequest{
		App: "main-x", Service: "scheduler", Subject: "user-7", Purposes: []gatehouse.PurposeName{"read"},
		Access: secret.New(p.AccessToken), Refresh: secret.New(p.RefreshToken),
	}
}

func works(t *testing.T, w *connecttest.World, id gatehouse.ConnectionID, address string) {
	t.Helper()
	if status, err := w.Call(id, http.MethodGet, address); status != http.StatusOK || err != nil {
		t.Errorf("calling with the imported connection gives %d, %v", status, err)
	}
}

// An X pair is refreshed on its way in: the connection works, and what others
// had copied does not. Handing it in again finds it.
func TestImportEndsCopies(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		pair := mintX(t, w, connecttest.Person(1))
		in, err := w.Connections.Import(t.Context(), handedIn(pair))
		if err != nil || in.Already || in.Connection.Status != connect.Healthy || in.Connection.AccessExpires.IsZero() {
			t.Fatalf("%+v, %v", in, err)
		}
		works(t, w, in.Connection.ID, w.XURL+"/2/users/me")
		if again := xToken(t, w, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {pair.RefreshToken}}); again.AccessToken != "" {
			t.Error("a copy of the refresh token still works")
		}
		works(t, w, in.Connection.ID, w.XURL+"/2/users/me")
		if err := w.Connections.MarkDead(t.Context(), in.Connection.ID, "session"); err != nil {
			t.Fatal(err)
		}
		asked := len(w.Requests.Last(100))
		again, err := w.Connections.Import(t.Context(), handedIn(pair))
		if err != nil || !again.Already || again.Connection.ID != in.Connection.ID {
			t.Errorf("handing it in again gives %+v, %v", again, err)
		}
		if len(w.Requests.Last(100)) != asked {
			t.Error("a pair that was used up was presented to X again")
		}
		other := handedIn(pair)
		other.Subject = "somebody else"
		_, err = w.Connections.Import(t.Context(), other)
		refused(t, err, "connect/import-taken")
	})
}

func TestImportKeepsCopies(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	pair := mintX(t, w, connecttest.Person(1))
	r := handedIn(pair)
	r.KeepCopies = true
	_, err := w.Connections.Import(t.Context(), r)
	refused(t, err, "connect/import") // nothing would ever renew it
	r.Expires = time.Now().Add(time.Hour)
	in, err := w.Connections.Import(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	works(t, w, in.Connection.ID, w.XURL+"/2/users/me")
	if status := callWith(t, w, pair.AccessToken); status != http.StatusOK {
		t.Errorf("the copy was ended: %d", status)
	}
	if again := xToken(t, w, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {pair.RefreshToken}}); again.AccessToken == "" {
		t.Error("the copy's refresh token was used")
	}
}

// Most stored X access tokens are two hours old and more: the refresh token
// alone must do.
func TestImportWithoutALivingAccessToken(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	for i, spoil := range []func(*connect.ImportRequest){
		func(r *connect.ImportRequest) { r.Access = secret.Text{} },
		func(r *connect.ImportRequest) { r.Access = secret.New("expired") },
	} {
		r := handedIn(mintX(t, w, connecttest.Person(i)))
		spoil(&r)
		in, err := w.Connections.Import(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		works(t, w, in.Connection.ID, w.XURL+"/2/users/me")
	}
	r := handedIn(mintX(t, w, connecttest.Person(3)))
	r.Access, r.KeepCopies, r.Expires = secret.New("expired"), true, time.Now()
	_, err := w.Connections.Import(t.Context(), r)
	refused(t, err, "connect/import-expired")
}

// stopping is a store that stops the program at the n-th save of an import,
// before it took effect or after.
type stopping struct {
	connect.Store
	at, seen int
	after    bool
}

type stopped struct{}

func (s *stopping) SaveImport(ctx context.Context, i connect.ImportRecord, records ...connect.Record) error {
	i.LeaseUntil = time.Time{} // the next run need not wait until the owner counts as gone
	s.seen++
	if s.seen == s.at && !s.after {
		panic(stopped{})
	}
	err := s.Store.SaveImport(ctx, i, records...)
	if s.seen == s.at && s.after {
		panic(stopped{})
	}
	return err
}

// interrupted runs an import that a power cut ends.
func interrupted(t *testing.T, c *connect.Connections, r connect.ImportRequest) {
	t.Helper()
	defer func() {
		if _, ok := recover().(stopped); !ok {
			t.Error("the import was not stopped")
		}
	}()
	_, err := c.Import(t.Context(), r)
	t.Errorf("the import ended: %v", err)
}

// The program is stopped before and after each of its writes. Handed in again,
// the token becomes a connection that works, at every point but the one that no
// design can close: X has rotated, and the fresh pair never became durable.
func TestImportInterrupted(t *testing.T) {
	for _, p := range []struct {
		name  string
		at    int
		after bool
		lost  bool
	}{
		{"before the intent", 1, false, false},
		{"after the intent", 1, true, false},
		{"after the answer, before the fresh pair is durable", 2, false, true},
		{"after the fresh pair is durable", 2, true, false},
		{"before the connection", 3, false, false},
		{"after the connection", 3, true, false},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
			s := &stopping{at: p.at, after: p.after}
			r := handedIn(mintX(t, w, connecttest.Person(1)))
			interrupted(t, w.Open(connecttest.Options{Store: func(under connect.Store) connect.Store { s.Store = under; return s }}), r)
			in, err := w.Connections.Import(t.Context(), r)
			if p.lost {
				refused(t, err, "connect/import-spent")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			works(t, w, in.Connection.ID, w.XURL+"/2/users/me")
			if again, err := w.Connections.Import(t.Context(), r); err != nil || !again.Already || again.Connection.ID != in.Connection.ID {
				t.Errorf("handing it in again gives %+v, %v", again, err)
			}
		})
	}
}

// The platform is silent: nothing is lost, and the next run goes on. Meanwhile a
// second import of the same token keeps its hands off.
func TestImportWithASilentPlatform(t *testing.T) {
	var armed atomic.Bool
	asked, answer := make(chan struct{}), make(chan struct{})
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Platform: onToken(&armed, func() {
		if armed.CompareAndSwap(true, false) {
			close(asked)
			<-answer
		}
	})})
	r := handedIn(mintX(t, w, connecttest.Person(1)))
	if err := w.Faults.Add(world.Fault{Match: world.FaultMatch{Path: "/2/oauth2/token"}, Status: http.StatusServiceUnavailable}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Connections.Import(t.Context(), r); err == nil {
		t.Fatal("an import without the platform's answer is done")
	}
	armed.Store(true)
	done := make(chan error, 1)
	go func() {
		_, err := w.Connections.Import(t.Context(), r)
		done <- err
	}()
	<-asked
	_, err := w.Connections.Import(t.Context(), r)
	close(answer)
	refused(t, err, "connect/import-busy")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// taking is a store in which another run takes an import over while this one
// waits for the platform.
type taking struct {
	connect.Store
	t     *testing.T
	saves int
}

func (s *taking) SaveImport(ctx context.Context, i connect.ImportRecord, records ...connect.Record) error {
	if s.saves++; s.saves == 2 {
		current, err := s.Store.ImportOf(ctx, i.Fingerprint)
		if err == nil {
			err = s.Store.SaveImport(ctx, current)
		}
		if err != nil {
			s.t.Error(err)
		}
	}
	return s.Store.SaveImport(ctx, i, records...)
}

// Whoever has the fresh pair has the last word: it exists nowhere else.
func TestImportTakenOver(t *testing.T) {
	s := &taking{t: t}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Store: func(under connect.Store) connect.Store { s.Store = under; return s }})
	in, err := w.Connections.Import(t.Context(), handedIn(mintX(t, w, connecttest.Person(1))))
	if err != nil {
		t.Fatal(err)
	}
	works(t, w, in.Connection.ID, w.XURL+"/2/users/me")
}

// A claim about the person is compared with the platform's word before anything
// is changed there.
func TestImportOfSomebodyElse(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	pair := mintX(t, w, connecttest.Person(1))
	r := handedIn(pair)
	r.PlatformUser = "1"
	_, err := w.Connections.Import(t.Context(), r)
	refused(t, err, "connect/import-person")
	if status := callWith(t, w, pair.AccessToken); status != http.StatusOK {
		t.Errorf("the refused pair was used up: %d", status)
	}
	// Only a refresh could tell whose it is: the mistake costs nothing, put right
	// it goes on with the pair that was kept.
	r.Access = secret.Text{}
	_, err = w.Connections.Import(t.Context(), r)
	refused(t, err, "connect/import-person")
	r.PlatformUser = ""
	in, err := w.Connections.Import(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	works(t, w, in.Connection.ID, w.XURL+"/2/users/me")
}

// Facebook's three kinds of token, each checked to be what it is said to be.
func TestImportFromFacebook(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{RequireProof: true})
		token, err := w.Meta.MintUserToken("facebook", connecttest.Person(1))
		if err != nil {
			t.Fatal(err)
		}
		request := func(kind connect.Kind, token string, parent gatehouse.ConnectionID) connect.ImportRequest {
			return connect.ImportRequest{
				App: "pages", Service: "scheduler", Subject: "user-7", Purposes: []gatehouse.PurposeName{"pages"},
				Kind: kind, Access: secret.New(token), Parent: parent,
			}
		}
		user, err := w.Connections.Import(t.Context(), request("", token, ""))
		if err != nil || user.Connection.Kind != connect.KindUser || user.Connection.AccessExpires.IsZero() {
			t.Fatalf("%+v, %v", user, err)
		}
		works(t, w, user.Connection.ID, w.MetaURL+"/v25.0/me/accounts")
		page := pageToken(t, w, user.Connection.ID)
		_, err = w.Connections.Import(t.Context(), request(connect.KindUser, page, ""))
		refused(t, err, "connect/import-refused")
		_, err = w.Connections.Import(t.Context(), request(connect.KindPage, page, "con404"))
		refused(t, err, "connect/import-parent")
		in, err := w.Connections.Import(t.Context(), request(connect.KindPage, page, user.Connection.ID))
		if err != nil || in.Connection.Parent != user.Connection.ID || in.Connection.Kind != connect.KindPage || in.Connection.PlatformUser == "" {
			t.Fatalf("%+v, %v", in, err)
		}
		works(t, w, in.Connection.ID, w.MetaURL+"/v25.0/me")
		if again, err := w.Connections.Import(t.Context(), request(connect.KindPage, page, user.Connection.ID)); err != nil || !again.Already {
			t.Errorf("%+v, %v", again, err)
		}
		system := w.Meta.MintSystemUser()
		in, err = w.Connections.Import(t.Context(), request(connect.KindSystemUser, system, ""))
		if err != nil || in.Connection.Kind != connect.KindSystemUser || len(in.Connection.Scopes) == 0 {
			t.Fatalf("%+v, %v", in, err)
		}
		works(t, w, in.Connection.ID, w.MetaURL+"/v25.0/me")
		if err := w.Connections.MarkDead(t.Context(), user.Connection.ID, "session"); err != nil {
			t.Fatal(err)
		}
		back, err := w.Connections.Import(t.Context(), request("", token, ""))
		if err != nil || back.Already || back.Connection.ID != user.Connection.ID || back.Connection.Status != connect.Healthy {
			t.Errorf("a token that works, of a connection that had ended: %+v, %v", back, err)
		}
		w.Meta.Revoke(page)
		_, err = w.Connections.Import(t.Context(), request(connect.KindPage, page+"x", user.Connection.ID))
		refused(t, err, "connect/import-refused")
	})
}

// Instagram and Threads do not say when a token ends, so the caller does; one
// that seems near its end is lengthened if the platform lets it.
func TestImportFromInstagramAndThreads(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	for _, p := range []struct {
		product string
		purpose gatehouse.PurposeName
		call    string
		scopes  []string
	}{
		{"instagram", "gallery", w.MetaURL + "/instagram/v25.0/me", []string{"instagram_business_basic"}},
		{"threads", "threads", w.MetaURL + "/threads/v1.0/me", nil},
	} {
		for i, life := range []time.Duration{time.Hour, 50 * 24 * time.Hour} {
			token, err := w.Meta.MintUserToken(p.product, connecttest.Person(i), p.scopes...)
			if err != nil {
				t.Fatal(err)
			}
			in, err := w.Connections.Import(t.Context(), connect.ImportRequest{
				App: connecttest.AppOf(p.purpose), Service: "scheduler", Subject: "user-7", Purposes: []gatehouse.PurposeName{p.purpose},
				Access: secret.New(token), Scopes: p.scopes, Expires: time.Now().Add(life),
			})
			if err != nil {
				t.Fatalf("%s: %v", p.product, err)
			}
			works(t, w, in.Connection.ID, p.call)
			if lacks := len(in.Connection.Declined) > 0; lacks != (p.scopes != nil) {
				t.Errorf("%s lacks %v", p.product, in.Connection.Declined)
			}
		}
	}
}

// pageToken asks Facebook for the first page's token.
func pageToken(t *testing.T, w *connecttest.World, user gatehouse.ConnectionID) string {
	t.Helper()
	k, err := w.Connections.Credential(t.Context(), w.Receipt(), user)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.MetaURL+"/v25.0/me/accounts", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Authorize(req); err != nil {
		t.Fatal(err)
	}
	reply, err := w.Egress.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	var pages struct {
		Data []struct {
			AccessToken string `json:"access_token"`
		} `json:"data"`
	}
	if err := json.NewDecoder(reply.Body).Decode(&pages); err != nil || len(pages.Data) == 0 {
		t.Fatalf("no page: %v", err)
	}
	return pages.Data[0].AccessToken
}

// A dry run says what is wrong, and changes nothing here or there.
func TestCheckImport(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	pair := mintX(t, w, connecttest.Person(1))
	r := handedIn(pair)
	if in, checked, err := w.Connections.CheckImport(t.Context(), r); err != nil || !checked || in.Already {
		t.Fatalf("%+v, %v, %v", in, checked, err)
	}
	expired := r
	expired.Access = secret.New("expired")
	if _, checked, err := w.Connections.CheckImport(t.Context(), expired); err != nil || checked {
		t.Errorf("an expired access token is %v, %v", checked, err)
	}
	if list, err := w.Connections.List(t.Context(), connect.Selection{}); err != nil || len(list) != 0 {
		t.Errorf("the dry run took in %v, %v", list, err)
	}
	wrong := connect.ImportRequest{App: "main-x", Service: "scheduler", Subject: "s", Purposes: r.Purposes, Kind: connect.KindOAuth1, Access: secret.New("a-b"), Refresh: secret.New("c")}
	_, _, err := w.Connections.CheckImport(t.Context(), wrong)
	refused(t, err, "connect/import-refused")
	in, err := w.Connections.Import(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if found, _, err := w.Connections.CheckImport(t.Context(), r); err != nil || !found.Already || found.Connection.ID != in.Connection.ID {
		t.Errorf("%+v, %v", found, err)
	}
}

// What could never be taken in is refused before anybody is asked, without
// repeating a token.
func TestImportShape(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	good := connect.ImportRequest{App: "main-x", Service: "scheduler", Subject: "user-7", Purposes: []gatehouse.PurposeName{"read"}, Access: secret.New("canary-token")}
	for field, spoil := range map[string]func(*connect.ImportRequest){
		"service":      func(r *connect.ImportRequest) { r.Service = "" },
		"purposes":     func(r *connect.ImportRequest) { r.Purposes = nil },
		"subject":      func(r *connect.ImportRequest) { r.Subject = "a\nb" },
		"person":       func(r *connect.ImportRequest) { r.PlatformUser = "a\x00" },
		"kind":         func(r *connect.ImportRequest) { r.Kind = connect.KindApp },
		"parent":       func(r *connect.ImportRequest) { r.Parent = "con1" },
		"access_token": func(r *connect.ImportRequest) { r.Access = secret.New("canary-token with a space") },
		"scopes":       func(r *connect.ImportRequest) { r.Scopes = []string{"a b"} },
		"expires_at":   func(r *connect.ImportRequest) { r.App = "insta" },
		"refresh_token": func(r *connect.ImportRequest) {
			r.App, r.Refresh = "pages", secret.New("canary-token")
		},
		"token_secret": func(r *connect.ImportRequest) { r.Kind = connect.KindOAuth1 },
	} {
		r := good
		spoil(&r)
		_, err := w.Connections.Import(t.Context(), r)
		if err == nil || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if n := len(w.Requests.Last(10)); n != 0 {
		t.Errorf("the platform was asked %d times", n)
	}
}
