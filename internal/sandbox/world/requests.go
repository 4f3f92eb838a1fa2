package world

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Request is one request that reached a platform, as it arrived.
type Request struct {
	Time     time.Time `json:"time"`
	Platform string    `json:"platform"`
	Method   string    `json:"method"`
	Host     string    `json:"host"`
	Path     string    `json:"path"`
	Query    string    `json:"query,omitempty"`
	// Credential is what kind of credential it carried: bearer, oauth1, basic,
	// query, other or none.
	Credential string      `json:"credential"`
	Header     http.Header `json:"header"`
	// Status is what was answered; zero when the connection was cut instead.
	Status int `json:"status"`
}

// kept is how many requests are remembered.
const kept = 1000

// Requests remembers the most recent requests, so that a test can see what
// really reached a platform. The zero value is ready; it is safe for concurrent
// use.
type Requests struct {
	mu   sync.Mutex
	last []Request
}

// Middleware records every request for the platform, control requests apart. A
// long-lived stream is recorded when it ends.
func (q *Requests) Middleware(platform string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_sandbox/") {
			next.ServeHTTP(w, r)
			return
		}
		record := Request{
			Time: time.Now().UTC(), Platform: platform, Method: r.Method, Host: r.Host, Path: r.URL.Path,
			Query: r.URL.RawQuery, Credential: credential(r), Header: r.Header.Clone(),
		}
		tee := &statusWriter{ResponseWriter: w}
		completed := false
		defer func() {
			if completed && tee.status == 0 {
				tee.status = http.StatusOK
			}
			record.Status = tee.status
			q.add(record)
		}()
		next.ServeHTTP(tee, r)
		completed = true
	})
}

func (q *Requests) add(record Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.last) >= kept {
		q.last = append(q.last[:0:0], q.last[len(q.last)-kept/2:]...)
	}
	q.last = append(q.last, record)
}

// Last returns the n most recent requests, newest last.
func (q *Requests) Last(n int) []Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n <= 0 || n > len(q.last) {
		n = len(q.last)
	}
	return append([]Request{}, q.last[len(q.last)-n:]...)
}

// Handler lists the recent requests as JSON; the query parameter n limits them.
func (q *Requests) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("n"))
		if err != nil || n <= 0 {
			n = 50
		}
		writeJSON(w, http.StatusOK, q.Last(n))
	})
}

// credential names the kind of credential that a request carries, from its
// headers and query alone.
func credential(r *http.Request) string {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch strings.ToLower(scheme) {
	case "bearer":
		return "bearer"
	case "basic":
		return "basic"
	case "oauth":
		if strings.Contains(r.Header.Get("Authorization"), "oauth_signature") {
			return "oauth1"
		}
		return "bearer"
	case "":
		if strings.Contains(r.URL.RawQuery, "access_token=") {
			return "query"
		}
		return "none"
	}
	return "other"
}

// statusWriter remembers the status. Unwrap keeps flushing and deadlines
// available to streams.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController the writer below.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
