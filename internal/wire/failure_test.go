package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// serve answers one request through a surface.
func serve(t *testing.T, h wire.HandlerFunc, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	s := &wire.Surface{Name: "test"}
	w := httptest.NewRecorder()
	s.Handler("GET /thing/{id}", h).ServeHTTP(w, r)
	return w
}

func TestStatusOfEveryKind(t *testing.T) {
	cause := errors.New("cause")
	for _, test := range []struct {
		name string
		err  error
		want int
	}{
		{"nil", nil, 200},
		{"invalid", fmt.Errorf("x: %w", gatehouse.ErrInvalid), 400},
		{"denied", gatehouse.ErrDenied, 403},
		{"not found", gatehouse.ErrNotFound, 404},
		{"conflict", gatehouse.ErrConflict, 409},
		{"limited", gatehouse.ErrLimited, 429},
		{"unavailable", gatehouse.ErrUnavailable, 503},
		{"no kind", cause, 500},
		{"caller gone", fmt.Errorf("x: %w", context.Canceled), 499},
		{"own deadline", context.DeadlineExceeded, 503},
		{"body too large", fmt.Errorf("reading: %w", &http.MaxBytesError{Limit: 3}), 413},
		{"unauthenticated", wire.Unauthenticated("refuse/no-handle", "Send a handle."), 401},
		{"unauthenticated and logged", wire.WithInstance(wire.Unauthenticated("r", "d"), "e1"), 401},
		{"bad gateway", wire.BadGateway("upstream/x", "d", cause), 502},
		{"gateway timeout", wire.GatewayTimeout("upstream/x", "d", cause), 504},
		{"named status", wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "r", "d"), 415), 415},
		{"outer status wins", wire.WithStatus(wire.BadGateway("r", "d", nil), 415), 415},
	} {
		if got := wire.StatusOf(test.err); got != test.want {
			t.Errorf("%s: status %d, want %d", test.name, got, test.want)
		}
	}
	if err := wire.BadGateway("r", "d", cause); !errors.Is(err, cause) || !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("a bad gateway hides its cause or has no kind: %v", err)
	}
	for name, err := range map[string]error{
		"Public": wire.Public(nil, "x"), "WithInstance": wire.WithInstance(nil, "x"),
		"WithStatus": wire.WithStatus(nil, 400), "WithRetryAfter": wire.WithRetryAfter(nil, time.Second),
	} {
		if err != nil {
			t.Errorf("%s(nil) = %v", name, err)
		}
	}
}

func TestARefusalIsAProblemThatADeveloperCanActOn(t *testing.T) {
	err := wire.Refuse(gatehouse.ErrDenied, "refuse/undeclared-call", "Declare GET /2/users/me.")
	err = wire.WithInstance(wire.WithRetryAfter(fmt.Errorf("deciding: %w", err), 1500*time.Millisecond), "01ENTRY")
	w := serve(t, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Content-Length", "999")
		return err
	}, httptest.NewRequest("GET", "/thing/7", nil))

	var got wire.Problem
	if jerr := json.Unmarshal(w.Body.Bytes(), &got); jerr != nil {
		t.Fatalf("not JSON: %v: %s", jerr, w.Body)
	}
	want := wire.Problem{
		Type: "urn:gatehouse:problem:refuse/undeclared-call", Title: "This is not allowed", Status: 403,
		Detail: "Declare GET /2/users/me.", Rule: "refuse/undeclared-call", Instance: "01ENTRY",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problem (-want +got):\n%s", diff)
	}
	h := w.Result().Header
	if w.Code != 403 || h.Get("Content-Type") != "application/problem+json" || h.Get("Cache-Control") != "no-store" ||
		h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Retry-After") != "2" {
		t.Errorf("status %d, headers %v", w.Code, h)
	}
	if h.Get("Set-Cookie") != "" || h.Get("Content-Length") == "999" {
		t.Errorf("headers of the success stand on the refusal: %v", h)
	}
	if got := wire.RuleOf(err); got != "refuse/undeclared-call" {
		t.Errorf("RuleOf = %q", got)
	}
}

func TestWhatNobodyDeclaredPublicStaysInside(t *testing.T) {
	const canary = "canary-5be1"
	for name, err := range map[string]error{
		"bug":             errors.New(canary),
		"kind":            fmt.Errorf("%s: %w", canary, gatehouse.ErrNotFound),
		"public":          wire.Public(errors.New(canary), "A public text."),
		"upstream":        wire.BadGateway("upstream/x", "The platform failed.", errors.New(canary)),
		"wrapped refusal": fmt.Errorf("%s: %w", canary, wire.Refuse(gatehouse.ErrInvalid, "r", "d")),
	} {
		w := serve(t, func(http.ResponseWriter, *http.Request) error { return err }, httptest.NewRequest("GET", "/", nil))
		if strings.Contains(w.Body.String(), canary) {
			t.Errorf("%s: the reply shows the error's own text: %s", name, w.Body)
		}
		if !strings.Contains(err.Error(), canary) {
			t.Errorf("%s: our own text lost the cause: %v", name, err)
		}
	}
	w := serve(t, func(http.ResponseWriter, *http.Request) error {
		return wire.Public(errors.New("x"), "A public text.")
	}, httptest.NewRequest("GET", "/", nil))
	if !strings.Contains(w.Body.String(), "A public text.") || !strings.Contains(w.Body.String(), `"about:blank"`) {
		t.Errorf("the public text is missing: %s", w.Body)
	}
}

func TestAStatusWithoutATitleOfOursHasTheStandardsOne(t *testing.T) {
	if got := wire.ProblemOf(wire.WithStatus(gatehouse.ErrNotFound, http.StatusGone)); got.Title != "Gone" || got.Status != 410 {
		t.Errorf("problem = %+v", got)
	}
}

func TestUnauthenticatedNamesTheScheme(t *testing.T) {
	w := serve(t, func(http.ResponseWriter, *http.Request) error {
		return wire.Unauthenticated("refuse/no-handle", "Send a handle.")
	}, httptest.NewRequest("GET", "/", nil))
	if got := w.Header().Get("WWW-Authenticate"); w.Code != 401 || !strings.HasPrefix(got, "Bearer") {
		t.Errorf("status %d, WWW-Authenticate %q", w.Code, got)
	}
}

func TestABodyThatIsTooLargeSaysTheLimit(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader("123456"))
	w := serve(t, func(w http.ResponseWriter, r *http.Request) error {
		_, err := http.MaxBytesReader(w, r.Body, 3).Read(make([]byte, 10))
		return fmt.Errorf("reading the body: %w", err)
	}, r)
	if w.Code != 413 || !strings.Contains(w.Body.String(), "larger than 3 bytes") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestHeadGetsNoBody(t *testing.T) {
	w := serve(t, func(http.ResponseWriter, *http.Request) error { return gatehouse.ErrNotFound }, httptest.NewRequest("HEAD", "/", nil))
	if w.Code != 404 || w.Body.Len() != 0 {
		t.Errorf("status %d, body %q", w.Code, w.Body)
	}
}

func TestLogTextHidesTheAddressOfANetHTTPError(t *testing.T) {
	const canary = "EAAtoken"
	inner := &url.Error{Op: "Get", URL: "https://graph.facebook.com/me?access_token=" + canary, Err: errors.New("boom")}
	for _, err := range []error{inner, fmt.Errorf("asking: %w", inner), &url.Error{Op: "Post", URL: "https://a.example/" + canary, Err: inner}} {
		got := wire.LogText(err)
		if strings.Contains(got, canary) || !strings.Contains(got, "boom") {
			t.Errorf("LogText = %q", got)
		}
	}
	if got := wire.LogText(errors.New(strings.Repeat("é", 2000))); len(got) > 1010 || !strings.HasSuffix(got, "…") {
		t.Errorf("a long text is %d bytes", len(got))
	}
	if got := wire.LogText(nil); got != "" {
		t.Errorf("LogText(nil) = %q", got)
	}
}
