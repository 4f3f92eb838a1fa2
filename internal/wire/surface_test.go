package wire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// logged answers r through a surface that logs, and returns the reply and the
// access line.
func logged(t *testing.T, h wire.HandlerFunc, r *http.Request) (*httptest.ResponseRecorder, map[string]any, string) {
	t.Helper()
	var out bytes.Buffer
	s := &wire.Surface{Name: "app", Log: slog.New(slog.NewJSONHandler(&out, nil))}
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if v := recover(); v != nil && v != any(http.ErrAbortHandler) {
				t.Fatalf("panic left the surface: %v", v)
			}
		}()
		s.Handler("POST /thing/{id}", h).ServeHTTP(w, r)
	}()
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Fatalf("%d access lines, want 1: %s", n, out.String())
	}
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("access line: %v", err)
	}
	return w, line, out.String()
}

// hostile is a request in which everything that a caller can choose is a canary.
func hostile() *http.Request {
	r := httptest.NewRequest("POST", "/thing/canary?access_token=canary", strings.NewReader("canary"))
	r.Header.Set("Authorization", "Bearer canary")
	r.Header.Set("X-Canary", "canary")
	r.Header.Set("User-Agent", "canary")
	r.Header.Set("Referer", "https://canary")
	r.Host = "canary.example"
	r.RemoteAddr = "198.51.100.7:1"
	return r
}

func TestTheAccessLineHoldsNothingThatACallerChose(t *testing.T) {
	for name, h := range map[string]wire.HandlerFunc{
		"success": func(w http.ResponseWriter, _ *http.Request) error { _, err := w.Write([]byte("canary")); return err },
		"refusal": func(http.ResponseWriter, *http.Request) error {
			return wire.Refuse(gatehouse.ErrDenied, "refuse/x", "No.")
		},
		"broken": func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(200)
			return errors.New("cut")
		},
	} {
		_, _, text := logged(t, h, hostile())
		for _, bad := range []string{"canary", "198.51.100.7", "Canary"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s: the access line holds %q: %s", name, bad, text)
			}
		}
		if !strings.Contains(text, `"route":"POST /thing/{id}"`) {
			t.Errorf("%s: no route pattern: %s", name, text)
		}
	}
	r := hostile()
	r.Method = "CANARY"
	if _, line, _ := logged(t, func(http.ResponseWriter, *http.Request) error { return nil }, r); line["method"] != "other" {
		t.Errorf("a made-up method is logged as %v", line["method"])
	}
}

// wrapped is a writer that somebody put around the surface's own.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestAnnotateReachesTheAccessLineThroughWrappers(t *testing.T) {
	_, line, _ := logged(t, func(w http.ResponseWriter, _ *http.Request) error {
		wire.Annotate(wrapped{wrapped{w}}, wire.Note{Service: "web", Operation: "GET /2/users/me"})
		wire.Annotate(w, wire.Note{Purpose: "read", Verdict: "allow", Instance: "01E"})
		return nil
	}, hostile())
	for field, want := range map[string]any{
		"service": "web", "operation": "GET /2/users/me", "purpose": "read", "verdict": "allow", "instance": "01E",
		"status": 200.0, "surface": "app", "method": "POST", "level": "INFO",
	} {
		if line[field] != want {
			t.Errorf("%s = %v, want %v", field, line[field], want)
		}
	}
	// A writer of somebody else's is left alone.
	wire.Annotate(httptest.NewRecorder(), wire.Note{Service: "x"})
}

func TestARefusalsRuleAndEntryAreLogged(t *testing.T) {
	_, line, _ := logged(t, func(http.ResponseWriter, *http.Request) error {
		return wire.WithInstance(wire.Refuse(gatehouse.ErrDenied, "refuse/x", "No."), "01E")
	}, hostile())
	if line["rule"] != "refuse/x" || line["instance"] != "01E" || line["status"] != 403.0 || line["level"] != "INFO" {
		t.Errorf("access line: %v", line)
	}
	_, line, _ = logged(t, func(http.ResponseWriter, *http.Request) error { return errors.New("broken dependency") }, hostile())
	if line["error"] != "broken dependency" || line["level"] != "ERROR" || line["status"] != 500.0 {
		t.Errorf("access line of an internal error: %v", line)
	}
}

func TestAPanicIsLoggedWithItsStackAndClosesTheConnection(t *testing.T) {
	w, line, _ := logged(t, func(http.ResponseWriter, *http.Request) error { panic("impossible state") }, hostile())
	if w.Code != 500 || w.Header().Get("Connection") != "close" || strings.Contains(w.Body.String(), "impossible") {
		t.Errorf("reply: %d %v %s", w.Code, w.Header(), w.Body)
	}
	stack, _ := line["stack"].(string)
	if !strings.Contains(stack, "surface_test.go") || line["error"] != "handler panicked: impossible state" || line["level"] != "ERROR" {
		t.Errorf("access line: %v", line)
	}
}

// half starts a reply on a real connection and then ends with what end does.
func half(t *testing.T, end func() error) error {
	t.Helper()
	s := &wire.Surface{Name: "app"}
	server := httptest.NewServer(s.Handler("GET /", func(w http.ResponseWriter, _ *http.Request) error {
		if _, err := w.Write([]byte("half")); err != nil {
			return err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		return end()
	}))
	defer server.Close()
	reply, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	_, err = io.ReadAll(reply.Body)
	return err
}

func TestHalfAReplyIsSeenToBeHalf(t *testing.T) {
	for name, end := range map[string]func() error{
		"error": func() error { return errors.New("upstream cut") },
		"panic": func() error { panic("late") },
		"abort": func() error { panic(http.ErrAbortHandler) },
	} {
		if err := half(t, end); err == nil {
			t.Errorf("%s: the caller takes half a reply for a whole one", name)
		}
	}
	if err := half(t, func() error { return nil }); err != nil {
		t.Errorf("a whole reply is broken: %v", err)
	}
}

func TestEveryRequestHasAnIdentifier(t *testing.T) {
	var inside string
	w, line, _ := logged(t, func(_ http.ResponseWriter, r *http.Request) error {
		inside = wire.RequestID(r.Context())
		return nil
	}, hostile())
	if inside == "" || line["request"] != inside || w.Header().Get("Gatehouse-Request") != inside {
		t.Errorf("context %q, log %v, header %q", inside, line["request"], w.Header().Get("Gatehouse-Request"))
	}
	if got := wire.RequestID(context.Background()); got != "" {
		t.Errorf("RequestID outside a request = %q", got)
	}
}

func TestASurfaceForPeopleRendersItsOwnErrors(t *testing.T) {
	s := &wire.Surface{Name: "public", RenderError: func(w http.ResponseWriter, _ *http.Request, p wire.Problem) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(p.Status)
		_, _ = w.Write([]byte("<p>" + p.Title))
	}}
	w := httptest.NewRecorder()
	s.Handler("GET /", func(http.ResponseWriter, *http.Request) error { return gatehouse.ErrNotFound }).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 404 || w.Body.String() != "<p>There is no such thing" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestACallerThatStallsInItsBodyIsCutOff(t *testing.T) {
	s := &wire.Surface{Name: "app", BodyStall: 50 * time.Millisecond}
	done := make(chan error, 1)
	server := httptest.NewServer(s.Handler("POST /", func(_ http.ResponseWriter, r *http.Request) error {
		_, err := io.ReadAll(r.Body)
		done <- err
		return err
	}))
	defer server.Close()
	body, feed := io.Pipe()
	defer feed.Close()
	go func() { _, _ = feed.Write([]byte("a")) }()
	go func() {
		if reply, err := http.Post(server.URL, "text/plain", body); err == nil {
			reply.Body.Close()
		}
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("a body that never ended was read to its end")
		}
	case <-time.After(time.Minute):
		t.Error("the silent caller still holds its connection")
	}
}

// A deadline that the body left behind would look like the caller hanging up.
func TestAReadBodyLeavesNoDeadline(t *testing.T) {
	s := &wire.Surface{Name: "app", BodyStall: 200 * time.Millisecond}
	server := httptest.NewServer(s.Handler("POST /", func(w http.ResponseWriter, r *http.Request) error {
		if _, err := io.ReadAll(r.Body); err != nil {
			return err
		}
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-time.After(600 * time.Millisecond):
		}
		_, err := w.Write([]byte("slow and whole"))
		return err
	}))
	defer server.Close()
	reply, err := http.Post(server.URL, "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if got, err := io.ReadAll(reply.Body); err != nil || string(got) != "slow and whole" {
		t.Errorf("reply %q, %v", got, err)
	}
}
