package public

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strconv"

	"gatehouse/internal/wire"
)

//go:embed error.html deletion.html style.css stepup.html stepup.css passkey.js
var assets embed.FS

var (
	errorPage    = template.Must(template.ParseFS(assets, "error.html"))
	deletionPage = template.Must(template.ParseFS(assets, "deletion.html"))
)

// stylePath is where the pages' only asset is.
const stylePath = "/_gatehouse/connect/style.css"

func (p *Public) style(w http.ResponseWriter, _ *http.Request) error {
	css, err := assets.ReadFile("style.css")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, err = w.Write(css)
	return err
}

// renderError shows a person what went wrong. The page is complete before its
// first byte is written.
func renderError(w http.ResponseWriter, r *http.Request, problem wire.Problem) {
	switch {
	case problem.Detail != "":
	case problem.Status == http.StatusServiceUnavailable:
		problem.Detail = "This cannot be recorded at the moment. Go back, and try it again in a few minutes."
	default:
		problem.Detail = "Something went wrong on our side. Go back to the app and try again."
	}
	var page bytes.Buffer
	if err := errorPage.Execute(&page, struct {
		wire.Problem
		Style, Request string
	}{problem, stylePath, wire.RequestID(r.Context())}); err != nil {
		page.Reset()
	}
	show(w, r, problem.Status, page.Bytes())
}

// show sends a page that is complete.
func show(w http.ResponseWriter, r *http.Request, status int, page []byte, more ...func(http.Header)) {
	h := w.Header()
	setHeaders(h)
	for _, set := range more {
		set(h)
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(page) // the visitor may be gone
	}
}
