// Package wire owns every listener and every dial of Gatehouse: TLS and the
// local certificate authorities, limits and timeouts, the one HTTP client, the
// one place where errors become replies, and the access log.
//
// It promises that a request is answered or its connection closed within
// bounds; that an error's own text reaches our log only, and a caller only what
// was declared public; that no connection out goes to a host or an address that
// is not allowed, or without a verified certificate (loopback aside, where the
// configuration says so); and that one line for each request is logged that
// holds no path, no query and no header value. It must never follow a redirect,
// take a proxy from the environment, reuse a resolved name without judging its
// addresses, or learn what a person or a grant is.
package wire

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"
)

// HandlerFunc answers a request or returns why it cannot. An error that is
// returned before the first byte of the reply becomes a [Problem]; one that is
// returned afterwards breaks the connection, so that the caller cannot take half
// a reply for a whole one.
type HandlerFunc func(http.ResponseWriter, *http.Request) error

// Surface is one listener's adapter between [HandlerFunc] and net/http. Its
// fields are set once and only read afterwards.
type Surface struct {
	// Name stands in every access line: "app", "public", "console".
	Name string
	// Log gets one line for each request. nil logs nothing.
	Log *slog.Logger
	// RenderError writes the reply for an error in place of the problem document,
	// for surfaces that people look at; nil means problem+json.
	RenderError func(w http.ResponseWriter, r *http.Request, p Problem)
	// BodyStall is how long a caller may send nothing in the middle of a body.
	// Zero means 30 s, and less than zero that something else bounds it.
	BodyStall time.Duration
	// Transparent adds no header of ours to replies that are somebody else's.
	Transparent bool
}

// Note is what a handler adds to the access line of its request. Its fields are
// names from the configuration and from our own tables, never text that a caller
// chose.
type Note struct {
	Service, Purpose, Operation, Verdict string
	// Instance is the identifier of the log entry.
	Instance string
}

// Annotate adds n's fields that are not empty to the access line of the request
// that w answers. It finds the surface's writer through any wrappers that have
// an Unwrap method.
func Annotate(w http.ResponseWriter, n Note) {
	for {
		switch v := w.(type) {
		case *recorder:
			v.note.merge(n)
			return
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return
		}
	}
}

func (n *Note) merge(o Note) {
	for _, f := range []struct{ to, from *string }{
		{&n.Service, &o.Service}, {&n.Purpose, &o.Purpose}, {&n.Operation, &o.Operation},
		{&n.Verdict, &o.Verdict}, {&n.Instance, &o.Instance},
	} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
}

type requestIDKey struct{}

// RequestID returns the identifier of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// requestIDHeader tells the caller the identifier that stands in our access log.
const requestIDHeader = "Gatehouse-Request"

// Handler returns h as an http.Handler that renders its errors, recovers its
// panics and logs one line. pattern is what the access line shows in place of
// the path.
func (s *Surface) Handler(pattern string, h HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := rand.Text()[:16]
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
		if !s.Transparent {
			w.Header().Set(requestIDHeader, id)
		}
		rec := &recorder{ResponseWriter: w}
		if r.Body != nil && r.Body != http.NoBody && s.BodyStall >= 0 {
			stall := s.BodyStall
			if stall == 0 {
				stall = defaultBodyStall
			}
			r.Body = &stallingBody{ReadCloser: r.Body, control: http.NewResponseController(w), limit: stall}
		}
		a := access{surface: s, pattern: pattern, id: id, start: time.Now()}
		err := s.call(h, rec, r, &a)
		if err == nil {
			rec.finish()
			a.log(r, rec, nil)
			return
		}
		// After the first byte the only honest answer left is a broken one.
		broken := rec.wrote
		if !broken {
			s.render(rec, r, err)
		}
		a.log(r, rec, err)
		if broken {
			panic(http.ErrAbortHandler)
		}
	})
}

const defaultBodyStall = 30 * time.Second

// errAborted marks a handler that broke its own connection on purpose.
var errAborted = errors.New("aborted by the handler")

// call runs h; a panic becomes an error, with its stack in the access line, and
// closes the connection.
func (s *Surface) call(h HandlerFunc, w *recorder, r *http.Request, a *access) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == any(http.ErrAbortHandler) {
			w.wrote = true
			err = errAborted
			return
		}
		a.stack = string(debug.Stack())
		w.Header().Set("Connection", "close")
		err = fmt.Errorf("handler panicked: %s", bounded(fmt.Sprint(v)))
	}()
	return h(w, r)
}

func bounded(s string) string { return LogText(errors.New(s)) }

func (s *Surface) render(w *recorder, r *http.Request, err error) {
	if s.RenderError == nil {
		writeProblem(w, r, err)
		return
	}
	s.RenderError(w, r, ProblemOf(err))
}

// access is the material of one access line.
type access struct {
	surface *Surface
	pattern string
	id      string
	start   time.Time
	stack   string
}

// log writes the access line. The set of attributes is closed: nothing that a
// caller chose (path, query, header, body) may be added, because handles, tokens
// and people's names stand there.
func (a *access) log(r *http.Request, w *recorder, err error) {
	l := a.surface.Log
	if l == nil {
		return
	}
	level := slog.LevelInfo
	status := w.status
	if err != nil {
		status = StatusOf(err)
		if status >= 500 || a.stack != "" {
			level = slog.LevelError
		}
	}
	// The request's own context may be cancelled; handlers of slog may heed it.
	ctx := context.WithoutCancel(r.Context())
	if !l.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs,
		slog.String("surface", a.surface.Name),
		slog.String("request", a.id),
		slog.String("method", knownMethod(r.Method)),
		slog.String("route", a.pattern),
		slog.Int("status", status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("took", time.Since(a.start)),
		slog.String("proto", r.Proto),
	)
	rule := ""
	if err != nil {
		rule = RuleOf(err)
		if w.note.Instance == "" {
			w.note.Instance = facts(err).instance
		}
	}
	for _, f := range []struct{ name, value string }{
		{"service", w.note.Service}, {"purpose", w.note.Purpose}, {"operation", w.note.Operation},
		{"verdict", w.note.Verdict}, {"instance", w.note.Instance}, {"rule", rule},
		{"error", LogText(err)}, {"stack", a.stack},
	} {
		if f.value != "" {
			attrs = append(attrs, slog.String(f.name, f.value))
		}
	}
	l.LogAttrs(ctx, level, "request", attrs...)
}

// knownMethod keeps a method that a caller made up out of the log.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	}
	return "other"
}

// recorder notes what was sent, for the access line. One goroutine, the
// handler's, uses it.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	wrote  bool
	note   Note
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	// 1xx are no answer yet.
	if status >= 200 && !w.wrote {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	w.finish()
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom keeps io.Copy's use of the underlying writer's buffers.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	w.finish()
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// Hijack hands the connection over. Whoever takes it writes the answer, so an error
// that is returned afterwards is not rendered.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.finish()
	}
	return conn, rw, err
}

// Flush sends what is buffered; streams rely on it.
func (w *recorder) Flush() {
	w.finish()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// finish notes the implicit 200.
func (w *recorder) finish() {
	if !w.wrote {
		w.status, w.wrote = http.StatusOK, true
	}
}

// stallingBody bounds the time in which a caller sends nothing: a server-wide
// read timeout would cut long honest uploads, and none would let a silent caller
// hold a connection for ever.
type stallingBody struct {
	io.ReadCloser
	control *http.ResponseController
	limit   time.Duration
}

func (b *stallingBody) Read(p []byte) (int, error) {
	// A writer that cannot set deadlines (a test's) has no connection to hold.
	_ = b.control.SetReadDeadline(time.Now().Add(b.limit))
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		// net/http goes on reading the connection to notice that the caller hung up;
		// a deadline left behind would look like that.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

func (b *stallingBody) Close() error {
	_ = b.control.SetReadDeadline(time.Time{})
	return b.ReadCloser.Close()
}
