package api_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/stepup"
)

// setUpStepups makes step-ups that the scheduler may ask for.
func (w *world) setUpStepups() *stepup.Stepups {
	w.t.Helper()
	passkeys, err := factor.NewPasskeys(factor.PasskeyConfig{Origin: "https://app.example.com", Name: "An app"})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := stepup.New(stepup.Config{
		Store: w.DB.Stepup(), Log: w.Log, Passkeys: passkeys, PublicURL: "https://app.example.com",
		Settings: func() stepup.Settings {
			return stepup.Settings{
				Name: "An app", Services: []gatehouse.ServiceName{"scheduler"}, Methods: stepup.Methods(),
				Returns: func(a string) bool { return a == "https://app.example.com/back" },
			}
		},
		Keys: w.StepupKeys(w.records),
		Tell: func(context.Context, stepup.Event) error { return nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.stepups = s
	return s
}

const beginStepup = `{"subject":"user-7","reason":"Delete the account","account":"ada@example.com","return_url":"https://app.example.com/back","state":"s","methods":["passkey"],"max_age":60,"add":false}`

func TestStepups(t *testing.T) {
	w := newWorld(t)
	path := "/gatehouse/v1/stepups"
	b := w.ok(http.StatusCreated, "POST", path, beginStepup)
	id := b["id"].(string)
	if b["url"] != "https://app.example.com/_gatehouse/stepup/"+id || b["state"] != "asked" || b["result"] != nil {
		t.Errorf("begun: %v", b)
	}
	// What the person's browser does.
	visit, err := w.stepups.Open(t.Context(), stepup.Visitor{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	if b := w.ok(http.StatusOK, "GET", path+"/"+id, ""); b["state"] != "started" || b["url"] == nil {
		t.Errorf("started: %v", b)
	}
	at := stepup.Visitor{ID: id, Browser: visit.Browser}
	options, err := w.stepups.PasskeyOptions(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.stepups.PasskeyAnswer(t.Context(), at, factortest.New(t, "https://app.example.com").Register(options)); err != nil {
		t.Fatal(err)
	}
	if visit, err = w.stepups.Continue(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(visit.To)
	if err != nil {
		t.Fatal(err)
	}
	code := url.QueryEscape(u.Query().Get("code"))
	if b := w.ok(http.StatusOK, "GET", path+"/"+id, ""); b["state"] != "coded" || b["url"] != nil || b["result"] != nil {
		t.Errorf("passed: %v", b)
	}
	for _, r := range []struct {
		status     int
		rule, path string
	}{
		{400, "api/redeem", path + "/" + id + "?code=" + code},
		{400, "api/redeem", path + "/" + id + "?subject=user-7"},
		{400, "api/unknown-parameter", path + "/" + id + "?token=" + code},
		{403, "stepup/unknown-code", path + "/" + id + "?code=guess&subject=user-7"},
		{404, "stepup/unknown", path + "/stpunknown?code=" + code + "&subject=user-7"},
		{400, "stepup/subject", path + "/factors"},
	} {
		refusal := w.refuses(r.status, r.rule, w.request("GET", r.path, ""))
		if strings.Contains(refusal["detail"].(string), code) {
			t.Errorf("%s repeats the code", r.rule)
		}
	}
	if b = w.ok(http.StatusOK, "GET", path+"/factors?subject=user-7", ""); len(b["methods"].([]any)) != 0 {
		t.Errorf("before it is redeemed: %v", b)
	}
	b = w.ok(http.StatusOK, "GET", path+"/"+id+"?code="+code+"&subject=user-7", "")
	if b["state"] != "redeemed" || b["method"] != "passkey" || b["enrolled"] != "passkey" || b["subject"] != "user-7" || b["recovery_codes_left"] != 10.0 || strings.Count(b["result"].(string), ".") != 2 {
		t.Errorf("redeemed: %v", b)
	}
	w.refuses(403, "stepup/unknown-code", w.request("GET", path+"/"+id+"?code="+code+"&subject=user-7", ""))
	if strings.Contains(w.log.String(), u.Query().Get("code")) {
		t.Error("the access log holds the code")
	}
	if b = w.ok(http.StatusOK, "GET", path+"/factors?subject=user-7", ""); len(b["methods"].([]any)) != 1 || b["recovery_codes_left"] != 10.0 {
		t.Errorf("afterwards: %v", b)
	}
	if b = w.ok(http.StatusOK, "GET", path+"/keys", ""); len(b["keys"].([]any)) != 1 {
		t.Errorf("keys: %v", b)
	}
	w.ok(http.StatusNoContent, "DELETE", path+"/factors?subject=user-7", "")
	if b = w.ok(http.StatusOK, "GET", path+"/factors?subject=user-7", ""); len(b["methods"].([]any)) != 0 || b["recovery_codes_left"] != 0.0 {
		t.Errorf("after a reset: %v", b)
	}
}

func TestStepupsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	path := "/gatehouse/v1/stepups"
	stranger := w.serviceKey("analytics")
	for _, r := range []struct{ method, path, body string }{
		{"POST", path, beginStepup}, {"GET", path + "/stpaaaaaaaaaaaaaaaaaaaaaaaaaa", ""}, {"GET", path + "/factors?subject=u", ""}, {"DELETE", path + "/factors?subject=u", ""},
	} {
		req := w.request(r.method, r.path, r.body)
		req.Header.Set("Authorization", "Bearer "+stranger)
		w.refuses(403, "stepup/service", req)
	}
	for rule, change := range map[string][2]string{
		"stepup/return-url": {"/back", "/elsewhere"}, "stepup/methods": {`["passkey"]`, `["sms"]`}, "stepup/max-age": {`"max_age":60`, `"max_age":9000000000000000000`},
		"stepup/subject": {"user-7", ""}, "api/unknown-field": {`"add"`, `"enrol"`}, "api/field-type": {`"max_age":60`, `"max_age":"60"`},
	} {
		w.refuses(400, rule, w.request("POST", path, strings.Replace(beginStepup, change[0], change[1], 1)))
	}
}
