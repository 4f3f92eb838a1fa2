package platform_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/platform"
)

// The documented example of X's "creating a signature" page.
var example = platform.OAuth1Credentials{
	ConsumerKey: "xvz1evFS4wEEPTGEFPHBog", ConsumerSecret: "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
	Token: "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb", TokenSecret: "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE",
}

// vectors are the documented ones; the reference file, when it is there, must
// agree with them.
func vectors(t testing.TB) map[string]struct{ Base, Signature string } {
	t.Helper()
	out := map[string]struct{ Base, Signature string }{
		"oauth1 https://api.x.com/1.1/statuses/update.json":       {Signature: "Ls93hJiZbQ3akF3HF3x1Bz8/zU4="},
		"oauth1 https://api.twitter.com/1.1/statuses/update.json": {Signature: "hCtSmYh+iHYCEqBWrE7C7hYmtUk="},
		"oauth1 https://api.twitter.com/1/statuses/update.json":   {Signature: "tnnArxj06cWHq44gCs1OSKk/jLY="},
		"oauth1 https://api.twitter.com/oauth/request_token":      {Signature: "F1Li3tvehgcraF8DMJ7OyxO4w9Y="},
		"oauth1 https://api.x.com/oauth/request_token":            {Signature: "X9xhcB9d+NxXd/ThJ/n51vPhetM="},
	}
	raw := shared(t, "vectors.json")
	if raw == nil {
		return out
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for name, entry := range file {
		var v struct{ Base, Signature string }
		if strings.HasPrefix(name, "oauth1 ") {
			if err := json.Unmarshal(entry, &v); err != nil {
				t.Fatal(err)
			}
			if ours := out[name]; ours.Signature != v.Signature {
				t.Errorf("%s: the file says %s, we say %s", name, v.Signature, ours.Signature)
			}
			out[name] = v
		}
	}
	return out
}

func TestOAuth1Vectors(t *testing.T) {
	for name, want := range vectors(t) {
		raw := strings.TrimPrefix(name, "oauth1 ")
		credentials, nonce, stamp := example, "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg", "1318622958"
		form := url.Values{"status": {"Hello Ladies + Gentlemen, a signed OAuth request!"}}
		var extra []platform.Pair
		target := raw + "?include_entities=true"
		if strings.HasSuffix(raw, "request_token") {
			credentials = platform.OAuth1Credentials{ConsumerKey: "cChZNFj6T5R0TigYB9yd1w", ConsumerSecret: "L8qq9PZyRg6ieKGEKhZolGC0vJWLw8iEJ88DRdyOg"}
			nonce, stamp, form, target = "ea9ec8429b68d6b77cd5600adbbb0456", "1318467427", nil, raw
			extra = []platform.Pair{{Key: "oauth_callback", Value: "http://localhost/sign-in-with-twitter/"}}
		}
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		header, err := platform.SignOAuth1(credentials, "POST", u, form, nonce, stamp, extra...)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := platform.ParseOAuth1(header)
		if err != nil {
			t.Fatalf("%s: our own header does not parse: %v", name, err)
		}
		if parsed.Signature != want.Signature {
			t.Errorf("%s: signature %s, want %s", name, parsed.Signature, want.Signature)
		}
		if !platform.VerifyOAuth1(parsed, "POST", u, form, credentials.ConsumerSecret, credentials.TokenSecret) {
			t.Errorf("%s: does not verify", name)
		}
		if want.Base != "" {
			params := append([]platform.Pair{}, parsed.Params...)
			for _, values := range []url.Values{u.Query(), form} {
				for k, v := range values {
					params = append(params, platform.Pair{Key: k, Value: v[0]})
				}
			}
			if got := platform.BaseString("post", u, params); got != want.Base {
				t.Errorf("%s: base string\n%s\nwant\n%s", name, got, want.Base)
			}
		}
	}
}

// Whatever is signed cannot be changed without the signature failing.
func TestVerifyOAuth1Refuses(t *testing.T) {
	u, _ := url.Parse("https://gate.example:443/x/2/tweets?a=1&a=0&b=%20%2B")
	form := url.Values{"f": {"ü"}}
	header, err := platform.SignOAuth1(example, "POST", u, form, "n", "1700000000")
	if err != nil {
		t.Fatal(err)
	}
	h, err := platform.ParseOAuth1(header)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(h platform.OAuth1Header, method, target string, form url.Values, cs, ts string) bool {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		return platform.VerifyOAuth1(h, method, u, form, cs, ts)
	}
	cs, ts := example.ConsumerSecret, example.TokenSecret
	if !verify(h, "POST", "https://GATE.example/x/2/tweets?b=+%2b&a=0&a=1", form, cs, ts) {
		t.Error("another spelling of the same request does not verify")
	}
	other := h
	other.Params = append([]platform.Pair{}, h.Params...)
	other.Params[0].Value += "x"
	for name, ok := range map[string]bool{
		"method":          verify(h, "GET", u.String(), form, cs, ts),
		"host":            verify(h, "POST", "https://other.example/x/2/tweets?a=1&a=0&b=%20%2B", form, cs, ts),
		"port":            verify(h, "POST", "https://gate.example:8443/x/2/tweets?a=1&a=0&b=%20%2B", form, cs, ts),
		"path":            verify(h, "POST", "https://gate.example/x/2/tweet?a=1&a=0&b=%20%2B", form, cs, ts),
		"query":           verify(h, "POST", "https://gate.example/x/2/tweets?a=1&a=0&b=%20", form, cs, ts),
		"malformed query": verify(h, "POST", "https://gate.example/x/2/tweets?a=%zz", form, cs, ts),
		"form":            verify(h, "POST", u.String(), nil, cs, ts),
		"consumer secret": verify(h, "POST", u.String(), form, cs+"x", ts),
		"token secret":    verify(h, "POST", u.String(), form, cs, ""),
		"header":          verify(other, "POST", u.String(), form, cs, ts),
	} {
		if ok {
			t.Errorf("a changed %s verifies", name)
		}
	}
}

func TestParseOAuth1Refuses(t *testing.T) {
	good := `OAuth oauth_consumer_key="k", oauth_nonce="n", oauth_signature="s", oauth_signature_method="HMAC-SHA1", oauth_timestamp="1", oauth_version="1.0"`
	if h, err := platform.ParseOAuth1("oauth realm=\"r\", " + good[6:] + ","); err != nil || len(h.Params) != 5 {
		t.Errorf("realm, trailing comma: %v, %v", h.Params, err)
	}
	for _, header := range []string{
		"", "OAuth", "Bearer x", "OAuth ",
		strings.Replace(good, `oauth_nonce="n"`, `oauth_nonce=n`, 1),
		strings.Replace(good, `oauth_nonce="n"`, `oauth_nonce="%zz"`, 1),
		strings.Replace(good, `oauth_nonce="n"`, `oauth_nonce="n", oauth_nonce="m"`, 1),
		strings.Replace(good, `oauth_nonce="n", `, ``, 1),
		strings.Replace(good, `oauth_signature="s", `, ``, 1),
		strings.Replace(good, `oauth_consumer_key="k", `, ``, 1),
		strings.Replace(good, `"1"`, `"soon"`, 1),
		strings.Replace(good, `"1"`, `"-1"`, 1),
		strings.Replace(good, `HMAC-SHA1`, `PLAINTEXT`, 1),
		strings.Replace(good, `oauth_nonce="n"`, `="n"`, 1),
	} {
		if _, err := platform.ParseOAuth1(header); !errors.Is(err, platform.ErrSyntax) {
			t.Errorf("%q: %v, want a syntax error", header, err)
		}
	}
	if _, err := platform.ParseOAuth1("OAuth " + strings.Repeat("x", 9000)); !errors.Is(err, platform.ErrTooLarge) {
		t.Errorf("long header: %v", err)
	}
}

func FuzzParseOAuth1(f *testing.F) {
	f.Add(`OAuth oauth_consumer_key="k", oauth_nonce="n", oauth_signature="s%3D", oauth_signature_method="HMAC-SHA1", oauth_timestamp="1", oauth_token="t"`)
	f.Add(`OAuth realm="x",a="b"`)
	f.Fuzz(func(t *testing.T, header string) {
		h, err := platform.ParseOAuth1(header)
		if err != nil {
			return
		}
		again, err := platform.ParseOAuth1(platform.FormatOAuth1(append(h.Params, platform.Pair{Key: "oauth_signature", Value: h.Signature})))
		if err != nil && !errors.Is(err, platform.ErrTooLarge) || err == nil && (again.ConsumerKey != h.ConsumerKey || again.Signature != h.Signature || again.Nonce != h.Nonce) {
			t.Fatalf("%q: %+v, again %+v, %v", header, h, again, err)
		}
	})
}

func TestProofs(t *testing.T) {
	if got := platform.PKCEChallenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"); got != "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" {
		t.Errorf("PKCE: %s", got)
	}
	if got := platform.AppSecretProof("app-secret-demo", "EAAB-demo-token"); got != "8043ffdc9e58a98ca2b220204d0f40024c3e4cf9ee9c171fdd0ee73cb933e7c2" {
		t.Errorf("plain proof: %s", got)
	}
	proof, unix := platform.TimedAppSecretProof("app-secret-demo", "EAAB-demo-token", time.Unix(1700000000, 0))
	if proof != "925f4c7f9935c9e63d7e24eedab9677c461d6ac4d020e33eda56b5de6b573f7e" || unix != "1700000000" {
		t.Errorf("timed proof: %s at %s", proof, unix)
	}
}

// sign makes a signed_request with the given payload.
func sign(payload string) string {
	encoded := base64.RawURLEncoding.EncodeToString([]byte(payload))
	// A proof is the same HMAC in hexadecimal.
	mac, err := hex.DecodeString(platform.AppSecretProof("app-secret-demo", encoded))
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(mac) + "." + encoded
}

func TestParseSignedRequest(t *testing.T) {
	const vector = "hwWF5NbORS769CAtPRO6hA97S5_nbAebr5z5MJlJhsg.eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsImlzc3VlZF9hdCI6MTcwMDAwMDAwMCwidXNlcl9pZCI6IjIxODQ3MSJ9"
	got, err := platform.ParseSignedRequest(vector, "app-secret-demo")
	if err != nil || got.UserID != "218471" || got.IssuedAt.Unix() != 1700000000 || !got.Expires.IsZero() {
		t.Errorf("vector: %+v, %v", got, err)
	}
	got, err = platform.ParseSignedRequest(sign(`{"algorithm":"hmac-sha256","issued_at":1,"expires":2,"user_id":218471}`), "app-secret-demo")
	if err != nil || got.UserID != "218471" || got.Expires.Unix() != 2 {
		t.Errorf("numeric user, expiry: %+v, %v", got, err)
	}
	for _, test := range []struct {
		name, raw, secret string
		want              error
	}{
		{"another secret", vector, "other", platform.ErrSignature},
		{"no secret", vector, "", platform.ErrSignature},
		{"changed payload", vector[:len(vector)-2] + "Ax", "app-secret-demo", platform.ErrSignature},
		{"changed signature", "A" + vector[1:], "app-secret-demo", platform.ErrSignature},
		{"no dot", "abc", "app-secret-demo", platform.ErrSignature},
		{"empty", "", "app-secret-demo", platform.ErrSignature},
		{"signature is not base64", "!." + vector, "app-secret-demo", platform.ErrSignature},
		{"unknown algorithm", sign(`{"algorithm":"none","user_id":"1"}`), "app-secret-demo", platform.ErrSignature},
		{"no JSON", sign(`x`), "app-secret-demo", platform.ErrSyntax},
		{"no user", sign(`{"algorithm":"HMAC-SHA256"}`), "app-secret-demo", platform.ErrSyntax},
		{"user is no number", sign(`{"algorithm":"HMAC-SHA256","user_id":"../1"}`), "app-secret-demo", platform.ErrSyntax},
		{"too long", strings.Repeat("x", 70_000), "app-secret-demo", platform.ErrTooLarge},
	} {
		if _, err := platform.ParseSignedRequest(test.raw, test.secret); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func FuzzParseSignedRequest(f *testing.F) {
	f.Add(sign(`{"algorithm":"HMAC-SHA256","issued_at":1700000000,"user_id":"218471"}`))
	f.Add("a.b")
	f.Fuzz(func(t *testing.T, raw string) {
		if got, err := platform.ParseSignedRequest(raw, "a secret that the fuzzer does not know"); err == nil {
			t.Fatalf("%q passed as %+v", raw, got)
		}
		_, payload, ok := strings.Cut(sign(raw), ".")
		if got, err := platform.ParseSignedRequest(sign(raw), "app-secret-demo"); ok && err == nil && !strings.Contains(raw, got.UserID) {
			t.Fatalf("%q became %+v (%s)", raw, got, payload)
		}
	})
}

func TestWebhookSignatures(t *testing.T) {
	body := []byte(`{"text":"caf\u00e9"}`)
	header := "sha256=df8968b58c4a0ffef96396324bad2acc1eea95302dda6751376976db539b2c74"
	if !platform.VerifyHubSignature("app-secret-demo", body, header) {
		t.Error("Meta's signature over the raw bytes does not verify")
	}
	for name, ok := range map[string]bool{
		"written again":  platform.VerifyHubSignature("app-secret-demo", []byte(`{"text":"café"}`), header),
		"another secret": platform.VerifyHubSignature("x", body, header),
		"no secret":      platform.VerifyHubSignature("", body, "sha256="+platform.AppSecretProof("", string(body))),
		"no prefix":      platform.VerifyHubSignature("app-secret-demo", body, header[7:]),
		"empty":          platform.VerifyHubSignature("app-secret-demo", body, ""),
		"cut":            platform.VerifyHubSignature("app-secret-demo", body, header[:20]),
	} {
		if ok {
			t.Errorf("Meta: %s verifies", name)
		}
	}
	answer, err := platform.XCRCAnswer("consumer-secret-demo", "crc-demo-token")
	if err != nil || answer != "sha256=CkOx950M8PkXNgeQAPTnSgFY31T/WFRtyphyZWSz7zM=" {
		t.Errorf("CRC: %s, %v", answer, err)
	}
	// The answer is a valid signature of the token as a body: the oracle.
	if !platform.VerifyXWebhook("consumer-secret-demo", []byte("crc-demo-token"), answer) {
		t.Error("X's signature does not verify")
	}
	for name, ok := range map[string]bool{
		"another body":   platform.VerifyXWebhook("consumer-secret-demo", []byte("{}"), answer),
		"another secret": platform.VerifyXWebhook("x", []byte("crc-demo-token"), answer),
		"no secret":      platform.VerifyXWebhook("", []byte("a"), "sha256=x"),
		"no prefix":      platform.VerifyXWebhook("consumer-secret-demo", []byte("crc-demo-token"), answer[7:]),
	} {
		if ok {
			t.Errorf("X: %s verifies", name)
		}
	}
	for _, token := range []string{"", `{"for_user_id":"1"}`, "a b", `a"b`, "a\n", "[1]", strings.Repeat("a", 201), "é"} {
		if answer, err := platform.XCRCAnswer("consumer-secret-demo", token); err == nil {
			t.Errorf("a forged token %.20q got %s", token, answer)
		}
	}
	if _, err := platform.XCRCAnswer("", "crc-demo-token"); err == nil {
		t.Error("an answer without a secret")
	}
	if _, err := platform.XCRCAnswer("s", strings.Repeat("a", 200)); err != nil {
		t.Errorf("a token of 200 bytes: %v", err)
	}
}
