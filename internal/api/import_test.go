package api_test

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/connect/connecttest"
	sandbox "gatehouse/internal/sandbox/world"
)

const importPath = "/gatehouse/v1/connections/import"

// Tokens that a phone's login obtained are handed in, once and again, and a
// handle is made of them.
func TestImport(t *testing.T) {
	w := newWorld(t)
	user, err := w.Meta.MintUserToken("facebook", connecttest.Person(1))
	if err != nil {
		t.Fatal(err)
	}
	token, tokenSecret := w.X.MintOAuth1(connecttest.Person(1))
	for _, body := range []string{
		`{"app":"pages","subject":"user-7","purposes":["pages"],"access_token":"` + user + `"}`,
		`{"app":"main-x","subject":"user-7","purposes":["publish"],"kind":"oauth1","token":"` + token + `","token_secret":"` + tokenSecret + `"}`,
	} {
		c := w.ok(http.StatusCreated, "POST", importPath, body)
		if again := w.ok(http.StatusOK, "POST", importPath, body); again["id"] != c["id"] {
			t.Errorf("again: %v", again)
		}
		purpose := c["purposes"].([]any)[0].(string)
		w.ok(http.StatusCreated, "POST", "/gatehouse/v1/handles", `{"connection":"`+c["id"].(string)+`","purpose":"`+purpose+`"}`)
	}
	for _, secret := range []string{user, token, tokenSecret} {
		if strings.Contains(w.log.String(), secret) {
			t.Error("the log holds a token")
		}
	}
}

func TestImportRefusals(t *testing.T) {
	w := newWorld(t)
	w.ok(http.StatusBadRequest, "POST", importPath, `{"app":"main-x","subject":"user-7","purposes":["publish"],"kind":"oauth1","token":"canary","token_secret":"canary"}`)
	for body, rule := range map[string]string{
		`{"app":"pages","subject":"u","purposes":["pages"],"access_token":"EAAcanary"}`:                                        "connect/import-refused",
		`{"app":"main-x","subject":"u","purposes":["publish"]}`:                                                                "connect/import",
		`{"app":"main-x","subject":"u","purposes":[],"access_token":"canary"}`:                                                 "connect/import",
		`{"app":"main-x","subject":"u","purposes":["pages"],"access_token":"canary"}`:                                          "api/purpose-app",
		`{"app":"main-x","subject":"u","purposes":["publish","publish"],"access_token":"canary"}`:                              "api/purpose-twice",
		`{"app":"main-x","subject":"u","purposes":["publish"],"token":"canary"}`:                                               "api/import-kind",
		`{"app":"main-x","subject":"u","purposes":["publish"],"kind":"oauth1","access_token":"canary"}`:                        "api/import-kind",
		`{"app":"main-x","subject":"u","purposes":["publish"],"access_token":"canary","expires_at":"tomorrow"}`:                "api/field-type",
		`{"app":"main-x","subject":"u","purposes":["publish"],"access_token":"canary","service":"x"}`:                          "api/unknown-field",
		`{"app":"pages","subject":"u","purposes":["pages"],"kind":"page","parent":"con1","access_token":"EAAcanary"}`:          "connect/import-parent",
		`{"app":"main-x","subject":"u","purposes":["publish"],"access_token":"canary","keep_copies":"yes"}`:                    "api/field-type",
		`{"app":"main-x","subject":"u","purposes":["publish"],"access_token":"canary","refresh_token":"r","keep_copies":true}`: "connect/import",
	} {
		problem := w.refuses(http.StatusBadRequest, rule, w.request("POST", importPath, body))
		if detail, _ := problem["detail"].(string); strings.Contains(detail, "canary") {
			t.Errorf("the refusal repeats a token: %s", detail)
		}
	}
	w.refuses(http.StatusForbidden, "api/purpose", w.request("POST", importPath, `{"app":"public-x","subject":"u","purposes":["mobile"],"access_token":"canary"}`))
	req := w.request("POST", importPath, `{"app":"main-x","subject":"u","purposes":["publish"],"access_token":"canary"}`)
	req.Header.Set("Origin", "https://app.example.com")
	w.refuses(http.StatusForbidden, "api/browser", req)
	if err := w.Faults.Add(sandbox.Fault{Match: sandbox.FaultMatch{Path: "/2/users/me"}, LoseReply: true, Times: -1}); err != nil {
		t.Fatal(err)
	}
	if status, _ := w.send(w.request("POST", importPath, `{"app":"main-x","subject":"u","purposes":["publish"],"access_token":"canary"}`), true); status != http.StatusBadGateway {
		t.Errorf("without the platform's answer: %d", status)
	}
}
