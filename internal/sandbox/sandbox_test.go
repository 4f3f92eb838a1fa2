package sandbox_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"gatehouse/internal/sandbox"
	"gatehouse/internal/sandbox/world"
)

const callback = "https://app.example/callback"

func start(t *testing.T, c sandbox.Config) *sandbox.Server {
	t.Helper()
	if c.RedirectURIs == nil {
		c.RedirectURIs = []string{callback}
	}
	s, err := sandbox.Start(t.Context(), c)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// noRedirect is a client that shows redirects instead of following them.
var noRedirect = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// consent walks a person through the authorize URL and returns the code.
func consent(t *testing.T, authorizeURL, person string) string {
	t.Helper()
	res, err := noRedirect.Get(authorizeURL + "&sandbox_person=" + person + "&sandbox_decision=allow")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	location, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusFound {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("authorize: %d %q: %s", res.StatusCode, location, body)
	}
	return location.Query().Get("code")
}

func TestAClientOfOthersConnectsReadsAndRefreshes(t *testing.T) {
	s := start(t, sandbox.Config{})
	app := s.Apps().X
	config := &oauth2.Config{
		ClientID: app.ClientID, ClientSecret: app.ClientSecret, RedirectURL: callback,
		Scopes:   []string{"tweet.read", "users.read", "tweet.write", "offline.access"},
		Endpoint: oauth2.Endpoint{AuthURL: s.XURL + "/i/oauth2/authorize", TokenURL: s.XURL + "/2/oauth2/token"},
	}
	verifier := oauth2.GenerateVerifier()
	code := consent(t, config.AuthCodeURL("state-1", oauth2.S256ChallengeOption(verifier)), s.People()[3])
	token, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatalf("Exchange: %v", err)
	}
	res, err := config.Client(t.Context(), token).Get(s.XURL + "/2/users/me?user.fields=created_at")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var me struct {
		Data struct{ ID, Username string }
	}
	if err := json.NewDecoder(res.Body).Decode(&me); err != nil || me.Data.Username != s.People()[3] {
		t.Fatalf("users/me = %d %+v, %v; want %s", res.StatusCode, me, err, s.People()[3])
	}
	old := token.RefreshToken
	token.Expiry = time.Now().Add(-time.Hour)
	renewed, err := config.TokenSource(t.Context(), token).Token()
	if err != nil || renewed.RefreshToken == old {
		t.Fatalf("refresh: %v, rotated %v", err, renewed != nil && renewed.RefreshToken != old)
	}
	for _, secret := range []string{code, token.AccessToken, old, renewed.AccessToken, renewed.RefreshToken} {
		found := false
		for _, issued := range s.Ledger() {
			found = found || issued.Value == secret
		}
		if !found {
			t.Errorf("the ledger does not hold %q", secret)
		}
	}
}

func TestStoppingTheContextStopsEverything(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := sandbox.Start(ctx, sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Close(); err != nil {
		t.Errorf("Close after cancel: %v", err)
	}
	if res, err := http.Get(s.XURL + "/2/users/me"); err == nil {
		res.Body.Close()
		t.Errorf("still answering after Close: %d", res.StatusCode)
	}
}

func TestControlShowsAndChangesTheWorld(t *testing.T) {
	s := start(t, sandbox.Config{})
	bearer := s.X.AppBearer()
	call := func() int {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, s.XURL+"/2/users/by/username/"+s.People()[0]+"?user.fields=id", nil)
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("X-Probe", "seen")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := call(); got != http.StatusOK {
		t.Fatalf("lookup = %d", got)
	}
	command := func(path, body string, want int) string {
		t.Helper()
		res, err := http.Post(s.MetaURL+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		if res.StatusCode != want {
			t.Errorf("POST %s %s = %d %s, want %d", path, body, res.StatusCode, text, want)
		}
		return string(text)
	}
	last := s.Requests(1)[0]
	if last.Credential != "bearer" || last.Status != 200 || last.Header.Get("X-Probe") != "seen" || last.Query != "user.fields=id" || last.Platform != "x" {
		t.Errorf("recorded request = %+v", last)
	}
	command("/_sandbox/clock", `{"skew_seconds": 3600}`, http.StatusNoContent)
	command("/_sandbox/clock", `{"skew": 3600}`, http.StatusBadRequest)
	command("/_sandbox/faults", `{"match":{"path":"/2/*"},"status":503}`, http.StatusCreated)
	if got := call(); got != http.StatusServiceUnavailable {
		t.Errorf("disturbed lookup = %d", got)
	}
	command("/_sandbox/revoke", `{"token":"`+bearer+`"}`, http.StatusNoContent)
	command("/_sandbox/revoke", `{"token":"never issued"}`, http.StatusNotFound)
	if got := call(); got != http.StatusUnauthorized {
		t.Errorf("lookup with a revoked bearer = %d", got)
	}
	command("/_sandbox/standing", `{"person":"`+s.People()[0]+`","standing":"suspended"}`, http.StatusNoContent)
	command("/_sandbox/standing", `{"person":"`+s.People()[0]+`","standing":"famous"}`, http.StatusNotFound)
	command("/_sandbox/redact", `{"post":"1","reason":"deleted"}`, http.StatusNotFound)
	for _, path := range []string{"/_sandbox/ledger", "/_sandbox/apps", "/_sandbox/people", "/_sandbox/requests?n=2", "/_sandbox/faults"} {
		res, err := http.Get(s.XURL + path)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.NewDecoder(res.Body).Decode(&value); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("GET %s = %d, %v", path, res.StatusCode, err)
		}
		res.Body.Close()
	}
}

// certificate makes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, roots
}

func TestOverTLS(t *testing.T) {
	config, roots := certificate(t)
	s := start(t, sandbox.Config{TLS: config})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	for _, base := range []string{s.XURL, s.MetaURL} {
		if !strings.HasPrefix(base, "https://127.0.0.1:") {
			t.Errorf("address %s", base)
		}
		res, err := client.Get(base + "/_sandbox/apps")
		if err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s: %v, %v", base, res, err)
			continue
		}
		res.Body.Close()
	}
	req, _ := http.NewRequest(http.MethodGet, s.XURL+"/2/users/by/username/"+s.People()[0], nil)
	req.Header.Set("Authorization", "Bearer "+s.X.AppBearer())
	res, err := client.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("lookup over TLS: %v, %v", res, err)
	}
	res.Body.Close()
}

func TestPathsReachThePlatformsAsTheyCame(t *testing.T) {
	s := start(t, sandbox.Config{})
	bearer := s.X.AppBearer()
	for _, path := range []string{"//2/users/me", "/2/../2/users/me", "/2/users//me", "/2/users/me/", "/2/users/%6de/x"} {
		req, _ := http.NewRequest(http.MethodGet, s.XURL, nil)
		req.URL.Opaque = "//" + req.URL.Host + path
		req.Header.Set("Authorization", "Bearer "+bearer)
		res, err := noRedirect.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s = %d, want 404: nothing cleans paths for a client", path, res.StatusCode)
		}
	}
}

// The window that no design can close: the platform rotated the refresh token
// and its reply never arrived.
func TestALostRefreshReplySpendsTheToken(t *testing.T) {
	for _, family := range []bool{false, true} {
		s := start(t, sandbox.Config{FamilyKill: family})
		app := s.Apps().X
		config := &oauth2.Config{
			ClientID: app.ClientID, ClientSecret: app.ClientSecret, RedirectURL: callback, Scopes: []string{"tweet.read", "users.read", "offline.access"},
			Endpoint: oauth2.Endpoint{AuthURL: s.XURL + "/i/oauth2/authorize", TokenURL: s.XURL + "/2/oauth2/token", AuthStyle: oauth2.AuthStyleInHeader},
		}
		verifier := oauth2.GenerateVerifier()
		code := consent(t, config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)), s.People()[0])
		token, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Fault(world.Fault{Match: world.FaultMatch{Path: "/2/oauth2/token", Contains: "grant_type=refresh_token"}, LoseReply: true}); err != nil {
			t.Fatal(err)
		}
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.RefreshToken}}
		refresh := func() (int, error) {
			req, _ := http.NewRequest(http.MethodPost, s.XURL+"/2/oauth2/token", strings.NewReader(form.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.SetBasicAuth(app.ClientID, app.ClientSecret)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return 0, err
			}
			res.Body.Close()
			return res.StatusCode, nil
		}
		if status, err := refresh(); err == nil {
			t.Fatalf("the lost reply arrived: %d", status)
		}
		if status, err := refresh(); err != nil || status != http.StatusBadRequest {
			t.Errorf("second use: %d, %v; want 400", status, err)
		}
		res, err := config.Client(t.Context(), token).Get(s.XURL + "/2/users/me")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if want := map[bool]int{false: http.StatusOK, true: http.StatusUnauthorized}[family]; res.StatusCode != want {
			t.Errorf("family kill %v: the access token gets %d, want %d", family, res.StatusCode, want)
		}
	}
}

func TestABusyAddressIsReported(t *testing.T) {
	s := start(t, sandbox.Config{})
	taken := strings.TrimPrefix(s.XURL, "http://")
	for _, c := range []sandbox.Config{{XAddr: taken}, {MetaAddr: taken}, {XOpenAPI: "no such file"}} {
		if other, err := sandbox.Start(t.Context(), c); err == nil {
			other.Close()
			t.Errorf("%+v started", c)
		}
	}
}

func TestStreamsPassAndEndWithTheSandbox(t *testing.T) {
	s := start(t, sandbox.Config{XHeartbeat: 20 * time.Millisecond})
	req, _ := http.NewRequest(http.MethodGet, s.XURL+"/2/tweets/sample/stream", nil)
	req.Header.Set("Authorization", "Bearer "+s.X.AppBearer())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	beat := make([]byte, 2)
	if _, err := io.ReadFull(res.Body, beat); err != nil || string(beat) != "\r\n" {
		t.Fatalf("first bytes %q, %v", beat, err)
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("Close waited %v for a stream", took)
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}
