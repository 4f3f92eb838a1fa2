package platform_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

// headers makes a header from names and values.
func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestInterpretX(t *testing.T) {
	reset := headers("x-rate-limit-limit", "75", "x-rate-limit-remaining", "0", "x-rate-limit-reset", "1700000900")
	at := time.Unix(1700000900, 0).UTC()
	for _, test := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   platform.Outcome
	}{
		{"fine", 200, nil, `{"data":{}}`, platform.Outcome{}},
		{"partial errors are data", 200, nil, `{"errors":[{"title":"Not Found Error"}]}`, platform.Outcome{}},
		{"too many, problem", 429, reset, `{"title":"Too Many Requests","type":"about:blank","status":429}`, platform.Outcome{Kind: platform.OutcomeThrottled, Reset: at}},
		{"too many, 1.1", 429, nil, `{"errors":[{"code":88,"message":"Rate limit exceeded"}]}`, platform.Outcome{Kind: platform.OutcomeThrottled, Code: 88}},
		{"too many, seconds", 429, headers("retry-after", "7"), ``, platform.Outcome{Kind: platform.OutcomeThrottled, RetryAfter: 7 * time.Second}},
		{"too many, the day's pool", 429, headers("x-rate-limit-limit", "75", "x-rate-limit-remaining", "3", "x-rate-limit-reset", "1800000000", "x-user-limit-24hour-limit", "100", "x-user-limit-24hour-remaining", "0", "x-user-limit-24hour-reset", "1700000900"), ``, platform.Outcome{Kind: platform.OutcomeThrottled, Reset: at}},
		{"cap", 429, nil, `{"type":"https://api.twitter.com/2/problems/usage-capped","title":"x"}`, platform.Outcome{Kind: platform.OutcomeThrottled, Cause: "usage-cap"}},
		{"dead", 401, nil, `{"title":"Unauthorized","type":"about:blank","status":401,"detail":"Unauthorized"}`, platform.Outcome{Kind: platform.OutcomeTokenDead, Cause: "invalid"}},
		{"dead, 1.1", 401, nil, `{"errors":[{"code":89,"message":"Invalid or expired token."}]}`, platform.Outcome{Kind: platform.OutcomeTokenDead, Cause: "invalid", Code: 89}},
		{"clock", 401, nil, `{"errors":[{"code":135,"message":"Timestamp out of bounds."}]}`, platform.Outcome{Kind: platform.OutcomeBadProof, Cause: "clock", Code: 135}},
		{"signature", 401, nil, `{"errors":[{"code":32,"message":"Could not authenticate you."}]}`, platform.Outcome{Kind: platform.OutcomeBadProof, Cause: "signature", Code: 32}},
		{"code in a body that was cut", 401, nil, `{"errors":[{"code":135,"mess`, platform.Outcome{Kind: platform.OutcomeBadProof, Cause: "clock", Code: 135}},
		{"spent refresh token", 400, nil, `{"error":"invalid_request","error_description":"Value passed for the token was invalid."}`, platform.Outcome{Kind: platform.OutcomeTokenDead, Cause: "spent"}},
		{"the RFC's word for it", 400, nil, `{"error":"invalid_grant"}`, platform.Outcome{Kind: platform.OutcomeTokenDead, Cause: "spent"}},
		{"used code", 400, nil, `{"error":"invalid_request","error_description":"Value passed for the authorization code was invalid."}`, platform.Outcome{Kind: platform.OutcomeRefused, Cause: "code"}},
		{"missing parameter", 400, nil, `{"error":"invalid_request","error_description":"Missing required parameter [client_id]."}`, platform.Outcome{Kind: platform.OutcomeRefused, Cause: "request"}},
		{"client", 401, nil, `{"error":"unauthorized_client","error_description":"Missing valid authorization header"}`, platform.Outcome{Kind: platform.OutcomeClient, Cause: "credentials"}},
		{"credit", 402, nil, `{"title":"CreditsDepleted"}`, platform.Outcome{Kind: platform.OutcomeClient, Cause: "no-credit"}},
		{"not enrolled", 403, nil, `{"title":"Client Forbidden","type":"https://api.twitter.com/2/problems/client-forbidden"}`, platform.Outcome{Kind: platform.OutcomeClient, Cause: "not-enrolled"}},
		{"auth kind", 403, nil, `{"title":"x","type":"https://api.twitter.com/2/problems/unsupported-authentication"}`, platform.Outcome{Kind: platform.OutcomeRefused, Cause: "wrong-auth-kind"}},
		{"scope", 403, nil, `{"title":"Forbidden","detail":"Your token lacks the scope tweet.write","type":"about:blank"}`, platform.Outcome{Kind: platform.OutcomeScopeMissing}},
		{"forbidden", 403, nil, `{"title":"Forbidden","type":"about:blank"}`, platform.Outcome{Kind: platform.OutcomeRefused}},
		{"not found", 404, nil, `{"title":"Not Found Error","type":"https://api.x.com/2/problems/resource-not-found"}`, platform.Outcome{Kind: platform.OutcomeNotFound}},
		{"trouble", 503, nil, `<html>`, platform.Outcome{Kind: platform.OutcomeTransient}},
	} {
		if d := cmp.Diff(test.want, platform.Interpret(platform.X, test.status, test.header, []byte(test.body))); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
	}
}

func TestInterpretGraph(t *testing.T) {
	for _, test := range []struct {
		name          string
		status        int
		code, subcode int
		message       string
		kind          platform.OutcomeKind
		cause         string
	}{
		{"expired", 400, 190, 463, "", platform.OutcomeTokenDead, "expired"},
		{"app removed", 400, 190, 458, "", platform.OutcomeTokenDead, "app-removed"},
		{"checkpoint", 400, 190, 459, "", platform.OutcomeTokenDead, "checkpoint"},
		{"password", 400, 190, 460, "", platform.OutcomeTokenDead, "password-changed"},
		{"unconfirmed", 400, 190, 464, "", platform.OutcomeTokenDead, "unconfirmed"},
		{"revoked", 400, 190, 467, "", platform.OutcomeTokenDead, "invalidated"},
		{"role", 400, 190, 492, "", platform.OutcomeTokenDead, "role-lost"},
		{"unused", 400, 190, 493, "", platform.OutcomeTokenDead, "unused"},
		{"no reason", 400, 190, 0, "", platform.OutcomeTokenDead, "invalid"},
		{"session", 400, 102, 0, "", platform.OutcomeTokenDead, "invalid"},
		{"app limit", 400, 4, 0, "", platform.OutcomeThrottled, ""},
		{"user limit", 400, 17, 2446079, "", platform.OutcomeThrottled, ""},
		{"page limit", 403, 32, 0, "", platform.OutcomeThrottled, ""},
		{"custom limit", 400, 613, 1996, "", platform.OutcomeThrottled, ""},
		{"page use case", 400, 80001, 0, "", platform.OutcomeThrottled, ""},
		{"catalog use case", 400, 80014, 0, "", platform.OutcomeThrottled, ""},
		{"beyond the use cases", 400, 80015, 0, "", platform.OutcomeRefused, "request"},
		{"unknown error", 500, 1, 0, "", platform.OutcomeTransient, ""},
		{"service down", 400, 2, 0, "", platform.OutcomeTransient, ""},
		{"permission", 400, 10, 0, "", platform.OutcomeScopeMissing, ""},
		{"permission 200", 403, 200, 0, "", platform.OutcomeScopeMissing, ""},
		{"permission 299", 403, 299, 0, "", platform.OutcomeScopeMissing, ""},
		{"not a permission", 403, 300, 0, "", platform.OutcomeRefused, "request"},
		{"proof missing", 400, 100, 0, "API calls from the server require an appsecret_proof argument", platform.OutcomeBadProof, "appsecret-proof"},
		{"missing object", 400, 100, 33, "", platform.OutcomeNotFound, ""},
		{"used code", 400, 100, 36009, "", platform.OutcomeRefused, "code"},
		{"parameter", 400, 100, 0, "", platform.OutcomeRefused, "request"},
		{"no token", 400, 104, 0, "", platform.OutcomeRefused, "token-missing"},
		{"blocked", 400, 368, 0, "", platform.OutcomeRefused, "blocked"},
		{"duplicate", 400, 506, 0, "", platform.OutcomeRefused, "duplicate"},
	} {
		want := platform.Outcome{Kind: test.kind, Cause: test.cause, Code: test.code, Subcode: test.subcode}
		body := fmt.Sprintf(`{"error":{"message":%q,"type":"OAuthException","code":%d,"error_subcode":%d,"fbtrace_id":"A"}}`, test.message, test.code, test.subcode)
		for _, p := range []platform.Name{platform.Facebook, platform.Instagram, platform.Threads} {
			if d := cmp.Diff(want, platform.Interpret(p, test.status, nil, []byte(body))); d != "" {
				t.Errorf("%s on %s (-want +got):\n%s", test.name, p, d)
			}
		}
		if cut := body[:len(body)-3]; test.message == "" {
			if d := cmp.Diff(want, platform.Interpret(platform.Facebook, test.status, nil, []byte(cut))); d != "" {
				t.Errorf("%s, cut off (-want +got):\n%s", test.name, d)
			}
		}
	}
	for _, test := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   platform.Outcome
	}{
		{"fine", 200, nil, `{"id":"1"}`, platform.Outcome{}},
		{"fine and cut", 200, nil, `{"data":[{"code": 190`, platform.Outcome{}},
		{"an error with status 200", 200, nil, `{"error":{"code":190}}`, platform.Outcome{Kind: platform.OutcomeTokenDead, Cause: "invalid", Code: 190}},
		{"transient", 400, nil, `{"error":{"code":999,"is_transient":true}}`, platform.Outcome{Kind: platform.OutcomeTransient, Cause: "request", Code: 999}},
		{"Instagram's token host", 400, nil, `{"error_type":"OAuthException","code":400,"error_message":"Matching code was not found or was already used"}`, platform.Outcome{Kind: platform.OutcomeRefused, Cause: "code", Code: 400}},
		{"waiting time", 400, headers("X-Business-Use-Case-Usage", `{"9":[{"type":"pages","call_count":100,"estimated_time_to_regain_access":5}]}`), `{"error":{"code":80001}}`, platform.Outcome{Kind: platform.OutcomeThrottled, Code: 80001, RetryAfter: 5 * time.Minute}},
		{"no JSON", 502, nil, `bad gateway`, platform.Outcome{Kind: platform.OutcomeTransient}},
		{"no JSON, 429", 429, nil, ``, platform.Outcome{Kind: platform.OutcomeThrottled}},
		{"no JSON, 404", 404, nil, ``, platform.Outcome{Kind: platform.OutcomeNotFound}},
	} {
		if d := cmp.Diff(test.want, platform.Interpret(platform.Facebook, test.status, test.header, []byte(test.body))); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
	}
}

func TestUsage(t *testing.T) {
	got := platform.Usage(platform.X, headers("x-rate-limit-limit", "75", "x-rate-limit-remaining", "74", "x-rate-limit-reset", "1700000900", "x-app-limit-24hour-limit", "junk"))
	want := []platform.Budget{{Pool: "call", Limit: 75, Remaining: 74, Percent: -1, Reset: time.Unix(1700000900, 0).UTC()}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("X (-want +got):\n%s", d)
	}
	got = platform.Usage(platform.Facebook, headers(
		"X-App-Usage", `{"call_count":28,"total_time":25,"total_cputime":30}`,
		"X-Page-Usage", `nonsense`,
		"X-Ad-Account-Usage", `{"acc_id_util_pct":100,"reset_time_duration":100}`,
		"X-Business-Use-Case-Usage", `{"9":[{"type":"pages","call_count":10,"estimated_time_to_regain_access":1e300}]}`))
	want = []platform.Budget{
		{Pool: "app", Limit: -1, Remaining: -1, Percent: 30},
		{Pool: "ad-account", Limit: -1, Remaining: -1, Percent: 100, RetryAfter: 100 * time.Second},
		{Pool: "business/9/pages", Limit: -1, Remaining: -1, Percent: 10, RetryAfter: 7 * 24 * time.Hour},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Meta (-want +got):\n%s", d)
	}
	if got := platform.Usage(platform.Facebook, headers("X-Ad-Account-Usage", `{"acc_id_util_pct":9.67,"reset_time_duration":100}`)); got[0].RetryAfter != 0 {
		t.Errorf("an account with budget left waits %v", got[0].RetryAfter)
	}
}

func TestLimits(t *testing.T) {
	app, user := platform.Limits("POST /2/tweets")
	if d := cmp.Diff([][]platform.Limit{{{10_000, 86_400}}, {{100, 900}}}, [][]platform.Limit{app, user}); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// The page writes :id where the document writes {tweet_id}.
	if _, user := platform.Limits("PUT /2/tweets/{tweet_id}/hidden"); len(user) == 0 {
		t.Error("no limit for an operation whose placeholder has another name")
	}
	if app, user := platform.Limits("GET /2/openapi.json"); app != nil || user != nil {
		t.Errorf("an operation without documented limits has %v, %v", app, user)
	}
	with := 0
	for _, op := range platform.Operations(platform.X) {
		if app, user := platform.Limits(op); app != nil || user != nil {
			with++
		}
	}
	if with < 100 {
		t.Errorf("only %d operations have limits", with)
	}
}

func FuzzInterpret(f *testing.F) {
	f.Add(400, `{"error":{"code":190,"error_subcode":463}}`, `{"9":[{"call_count":1}]}`)
	f.Add(429, `{"errors":[{"code":88}]}`, `1700000000`)
	f.Fuzz(func(t *testing.T, status int, body, header string) {
		h := headers("X-Business-Use-Case-Usage", header, "X-App-Usage", header, "x-rate-limit-reset", header, "x-rate-limit-limit", "1", "x-rate-limit-remaining", "0", "retry-after", header)
		for _, p := range platform.Names() {
			out := platform.Interpret(p, status, h, []byte(body))
			if out.RetryAfter < 0 || out.RetryAfter > 7*24*time.Hour || strings.Contains(out.Cause, " ") {
				t.Fatalf("%+v", out)
			}
			_ = out.Kind.String()
		}
	})
}
