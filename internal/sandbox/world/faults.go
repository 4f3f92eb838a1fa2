package world

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"time"
)

// FaultMatch says which requests a fault is for. Empty fields match everything.
type FaultMatch struct {
	Method string `json:"method,omitempty"`
	// Path is exact, a prefix when its only wildcard is a last "*", and
	// otherwise a pattern of path.Match.
	Path string `json:"path,omitempty"`
	// Contains must stand in the query or in the first megabyte of the body, so
	// that "grant_type=refresh_token" picks refreshes out of all token calls.
	Contains string `json:"contains,omitempty"`
}

// Fault is one disturbance of a later request.
type Fault struct {
	Match FaultMatch `json:"match"`
	// Times is how many requests are disturbed; zero means one, negative means
	// all of them.
	Times int `json:"times,omitempty"`
	// Status answers in place of the platform, which never sees the request.
	Status int `json:"status,omitempty"`
	// Body and ContentType are what Status (or 200) is answered with.
	Body        string `json:"body,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	// Header is added to that answer.
	Header http.Header `json:"header,omitempty"`
	// DelayMS waits before the platform sees the request.
	DelayMS int `json:"delay_ms,omitempty"`
	// DelayReplyMS waits after the effect took place, before the reply.
	DelayReplyMS int `json:"delay_reply_ms,omitempty"`
	// Repeat gives the request to the platform twice, as a network that resends
	// does; the caller sees the second reply.
	Repeat bool `json:"repeat,omitempty"`
	// LoseReply lets the effect take place and cuts the connection without a
	// byte of reply.
	LoseReply bool `json:"lose_reply,omitempty"`
	// CutBody sends the headers and half of the body, then cuts.
	CutBody bool `json:"cut_body,omitempty"`
	// LieLength declares a longer body than is sent.
	LieLength bool `json:"lie_length,omitempty"`
	// Redirect answers with a redirect to this URL (Status chooses which, 302
	// without one).
	Redirect string `json:"redirect,omitempty"`
	// Hang never answers: until the caller leaves, at most a minute.
	Hang bool `json:"hang,omitempty"`
}

// matches reports whether the fault is for this request; content is its query
// and the start of its body.
func (f *Fault) matches(r *http.Request, content string) bool {
	if f.Match.Method != "" && !strings.EqualFold(f.Match.Method, r.Method) {
		return false
	}
	if f.Match.Contains != "" && !strings.Contains(content, f.Match.Contains) {
		return false
	}
	pattern := f.Match.Path
	if pattern == "" || pattern == r.URL.Path {
		return true
	}
	if prefix, found := strings.CutSuffix(pattern, "*"); found && !strings.ContainsAny(prefix, `*?[\`) {
		return strings.HasPrefix(r.URL.Path, prefix)
	}
	matched, err := path.Match(pattern, r.URL.Path)
	return err == nil && matched
}

// hangLimit bounds a hanging request, so that a forgotten fault cannot hold a
// test binary for ever.
const hangLimit = time.Minute

// inspected is how much of a body Contains looks at.
const inspected = 1 << 20

// Faults are disturbances ordered for later requests. The zero value has none;
// it is safe for concurrent use.
type Faults struct {
	mu      sync.Mutex
	pending []Fault
}

// Add orders a fault.
func (f *Faults) Add(fault Fault) error {
	if _, err := path.Match(fault.Match.Path, "/"); err != nil {
		return fmt.Errorf("reading the fault's path: %w", err)
	}
	if fault.Status != 0 && (fault.Status < 200 || fault.Status > 599) {
		return fmt.Errorf("fault status %d is not between 200 and 599", fault.Status)
	}
	if fault.Times == 0 {
		fault.Times = 1
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = append(f.pending, fault)
	return nil
}

// Pending returns the faults that have not been used up.
func (f *Faults) Pending() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Fault{}, f.pending...)
}

// Clear cancels every pending fault.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = nil
}

// take finds the first fault for the request and counts one use of it.
func (f *Faults) take(r *http.Request) (Fault, bool) {
	f.mu.Lock()
	looking := len(f.pending) > 0
	readBody := false
	for _, fault := range f.pending {
		readBody = readBody || fault.Match.Contains != ""
	}
	f.mu.Unlock()
	if !looking {
		return Fault{}, false
	}
	content := r.URL.RawQuery
	if readBody && r.Body != nil {
		start, _ := io.ReadAll(io.LimitReader(r.Body, inspected))
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(start), r.Body), r.Body}
		content += "\n" + string(start)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.pending {
		if !f.pending[i].matches(r, content) {
			continue
		}
		fault := f.pending[i]
		if f.pending[i].Times > 0 {
			f.pending[i].Times--
		}
		if f.pending[i].Times == 0 {
			f.pending = append(f.pending[:i:i], f.pending[i+1:]...)
		}
		return fault, true
	}
	return Fault{}, false
}

// Middleware disturbs the requests that pending faults are for. Requests to the
// sandbox's own control paths are never disturbed.
func (f *Faults) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_sandbox/") {
			next.ServeHTTP(w, r)
			return
		}
		fault, found := f.take(r)
		if !found {
			next.ServeHTTP(w, r)
			return
		}
		fault.serve(w, r, next)
	})
}

// serve answers one disturbed request.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	wait(r, time.Duration(f.DelayMS)*time.Millisecond)
	if f.Hang {
		// The server notices that the caller left only once the body is read.
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 64<<20))
		wait(r, hangLimit)
		panic(http.ErrAbortHandler)
	}
	if f.Redirect != "" {
		status := http.StatusFound
		if f.Status >= 300 && f.Status < 400 {
			status = f.Status
		}
		w.Header().Set("Location", f.Redirect)
		w.WriteHeader(status)
		return
	}
	if !f.needsReply() {
		next.ServeHTTP(w, r)
		return
	}
	reply := f.reply(r, next)
	wait(r, time.Duration(f.DelayReplyMS)*time.Millisecond)
	if f.LoseReply {
		panic(http.ErrAbortHandler)
	}
	header := w.Header()
	for name, values := range reply.Header() {
		header[name] = values
	}
	body := reply.Body.Bytes()
	switch {
	case f.CutBody:
		header.Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(reply.Code)
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case f.LieLength:
		// The server closes the connection when a handler returns early.
		header.Set("Content-Length", fmt.Sprint(len(body)+1000))
	}
	w.WriteHeader(reply.Code)
	_, _ = w.Write(body)
}

// needsReply reports whether the platform's reply (or one in its place) has to
// be in hand before anything is sent.
func (f *Fault) needsReply() bool {
	return f.LoseReply || f.CutBody || f.LieLength || f.Repeat || f.DelayReplyMS > 0 || f.Status != 0 || f.Body != ""
}

// reply is the platform's reply, or the one that the fault puts in its place.
func (f *Fault) reply(r *http.Request, next http.Handler) *httptest.ResponseRecorder {
	reply := httptest.NewRecorder()
	if f.Status == 0 && f.Body == "" {
		if f.Repeat {
			body, _ := io.ReadAll(r.Body)
			first := r.Clone(r.Context())
			first.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(httptest.NewRecorder(), first)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(reply, r)
		return reply
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 64<<20))
	contentType := f.ContentType
	if contentType == "" {
		contentType = "application/json; charset=utf-8"
	}
	for name, values := range f.Header {
		reply.Header()[http.CanonicalHeaderKey(name)] = values
	}
	reply.Header().Set("Content-Type", contentType)
	status := f.Status
	if status == 0 {
		status = http.StatusOK
	}
	reply.WriteHeader(status)
	_, _ = reply.WriteString(f.Body)
	return reply
}

// wait sleeps for d or until the caller leaves.
func wait(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// Handler is the control of faults: POST adds one (JSON, unknown fields are
// refused), GET lists the pending ones, DELETE cancels them.
func (f *Faults) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			var fault Fault
			decoder := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
			decoder.DisallowUnknownFields()
			err := decoder.Decode(&fault)
			if err == nil {
				err = f.Add(fault)
			}
			if err != nil {
				writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
				return
			}
			writeJSON(w, http.StatusCreated, f.Pending())
		case http.MethodGet:
			writeJSON(w, http.StatusOK, f.Pending())
		case http.MethodDelete:
			f.Clear()
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", "GET, POST, DELETE")
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
}

// writeJSON sends a value as JSON.
func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
}
