package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// slowForm is the body of a form that somebody sends a byte of, and then no more.
type slowForm struct {
	begun, end chan struct{}
	once       sync.Once
}

func (s *slowForm) Read(p []byte) (int, error) {
	first := false
	s.once.Do(func() { first = true })
	if first {
		return copy(p, "t"), nil
	}
	close(s.begun)
	<-s.end
	return 0, io.ErrUnexpectedEOF
}

// TestSlowForms: who sends a form and does not finish it has no place that others
// wait for. It takes no account to begin one.
func TestSlowForms(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Limits.Requests, c.Limits.Time = 1, 30*time.Second }, Health(health{}))
	d := h.join("Ada", operator.Auditor)
	body := &slowForm{begun: make(chan struct{}), end: make(chan struct{})}
	var group sync.WaitGroup
	group.Go(func() {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, origin+"/theme", body)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("a form that breaks off: %d", w.Code)
		}
	})
	<-body.begun
	if r := d.get("/health"); r.status != http.StatusOK {
		t.Errorf("a page beside a form that is not finished: %d", r.status)
	}
	close(body.end)
	group.Wait()
}

// trickle is a body that never ends, and never stalls.
type trickle struct{ after func() }

func (s *trickle) Read(p []byte) (int, error) {
	s.after()
	return copy(p, "t"), nil
}

// TestEndlessForms: a form that comes byte by byte ends with the time of a page.
func TestEndlessForms(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Limits.Time = time.Nanosecond })
	reads := 0
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, origin+"/theme", &trickle{func() { reads++ }})
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	if w.Code != http.StatusRequestTimeout || reads > 2 {
		t.Errorf("a form without an end: %d after %d reads", w.Code, reads)
	}
}
