package console

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/wire"
)

//go:embed pages/*.html
var pageFiles embed.FS

// shared are the files that every page is made with.
var shared = []string{"pages/layout.html", "pages/pieces.html"}

// loadTemplates parses every page with the layout and the pieces.
func loadTemplates(assets map[string]asset) (map[string]*template.Template, error) {
	base, err := template.New("").Funcs(functions(assets)).ParseFS(pageFiles, shared...)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	names, err := pageFiles.ReadDir("pages")
	if err != nil {
		return nil, err
	}
	out := map[string]*template.Template{}
	for _, n := range names {
		file := "pages/" + n.Name()
		if file == shared[0] || file == shared[1] {
			continue
		}
		page, err := base.Clone()
		if err == nil {
			page, err = page.ParseFS(pageFiles, file)
		}
		if err != nil {
			return nil, fmt.Errorf("console: page %s: %w", n.Name(), err)
		}
		out[path.Base(file)] = page
	}
	return out, nil
}

// functions are what templates may call beside html/template's own.
func functions(assets map[string]asset) template.FuncMap {
	return template.FuncMap{
		"asset": func(name string) (string, error) {
			for p, a := range assets {
				if a.name == name {
					return p, nil
				}
			}
			return "", fmt.Errorf("there is no asset %s", name)
		},
		"count": countAny, "knownBy": knownBy, "ago": ago, "clock": clock, "iso": iso, "stamp": stamp, "day": day, "brief": brief, "classOf": classOf, "dutyTone": dutyTone, "dutyHref": dutyHref,
		"badge": func(tone Tone, text string) Badge { return Badge{tone, text} },
		"field": func(name, label string) Field { return Field{Name: name, Label: label} },
		"passkeyForm": func(kind, action, button, back string) passkeyForm {
			return passkeyForm{kind, action, button, back}
		},
	}
}

// view is what the layout shows around a page.
type view struct {
	Title, Path, Theme, Flash string
	Environment               string
	Nav                       []navGroup
	Who                       string // name of the operator, "" for nobody
	Home                      string
	Data                      any
}

// show renders a page: file is of pages/, data what its template expects.
func (v *visit) show(file, title string, data any) error {
	return v.showStatus(http.StatusOK, file, title, data)
}

func (v *visit) showStatus(status int, file, title string, data any) error {
	page, err := v.render("layout", file, title, data)
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	v.w.WriteHeader(status)
	if v.r.Method != http.MethodHead {
		_, _ = v.w.Write(page) // the browser may be gone
	}
	return nil
}

// render executes a template into a buffer: a page is whole or not there.
func (v *visit) render(name, file, title string, data any) ([]byte, error) {
	t := v.console.templates[file]
	if t == nil {
		return nil, fmt.Errorf("console: there is no page %s", file)
	}
	var page bytes.Buffer
	in := data
	if name == "layout" {
		in = v.frame(title, data)
	}
	if err := t.ExecuteTemplate(&page, name, in); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", file, err)
	}
	return page.Bytes(), nil
}

func (v *visit) frame(title string, data any) view {
	w := view{
		Home:  "/",
		Title: title, Path: v.r.URL.Path, Theme: v.theme(), Flash: v.flash, Environment: string(v.console.environment), Data: data,
		Nav: v.console.navFor(v.who, v.r.URL.Path, v.now),
	}
	if v.who != nil {
		w.Who, w.Home = v.who.Name, v.console.home(v.who, v.now)
	}
	return w
}

// problem is what the error page shows.
type problem struct {
	Title, Detail, Rule, Instance, Request string
	Status                                 int
	Back                                   string
}

// showProblem shows a person what went wrong and what to do.
func (v *visit) showProblem(p wire.Problem) {
	for _, name := range []string{"Location", "Content-Encoding", "Content-Length", "Content-Type", "Etag"} {
		v.w.Header().Del(name)
	}
	v.console.setHeaders(v.w.Header())
	switch {
	case p.Detail != "":
	case p.Status == http.StatusServiceUnavailable:
		// Who cannot sign in cannot look at Health.
		p.Detail = "What Gatehouse keeps cannot be read or recorded at the moment, most often because a disk is full or the database is away. Whoever has the host finds out with 'gatehouse doctor'; then do this again."
	default:
		p.Detail = "Something went wrong on this side; it is in the program's log under the number below. Try again, and if it stays, look at Health."
	}
	back := "/"
	switch {
	case v.route.command:
		back = v.back()
	case p.Rule == filterRule:
		back = v.r.URL.EscapedPath()
	}
	data := problem{
		Title: p.Title, Detail: p.Detail, Rule: p.Rule, Instance: p.Instance, Request: wire.RequestID(v.r.Context()), Status: p.Status, Back: back,
	}
	if strings.HasPrefix(v.r.Header.Get("Accept"), "application/json") {
		v.w.Header().Set("Content-Type", "application/problem+json")
		v.w.WriteHeader(p.Status)
		_, _ = v.w.Write(mustJSON(p))
		return
	}
	if err := v.showStatus(p.Status, "error.html", p.Title, data); err != nil {
		http.Error(v.w, p.Title+"\n\n"+p.Detail, p.Status)
	}
}

// iso returns a time as machines read it.
func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// stamp returns a time as people read it, to the second and in UTC.
func stamp(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05 UTC") }

// day returns the day of a time.
func day(t time.Time) string { return t.UTC().Format("2 Jan 2006") }

// ago returns how long ago a time was, or how far ahead it is, in the unit that
// matters.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	if d < 0 {
		return "in " + Ahead(-d)
	}
	if d < 2*time.Second {
		return "now"
	}
	return span(d) + " ago"
}

// Ahead returns a length of time that is still to come, as all pages say it: in whole
// numbers of the largest unit of which there are two, and never more than is left but for
// a twentieth of the unit. What lasts a day ends in 24 hours, not in 23, and a deadline in a
// day and a half in 36, not in 2 days.
func Ahead(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{365 * 24 * time.Hour, "y"}, {24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if n := int64((d + u.size/20) / u.size); n >= 2 {
			return strconv.FormatInt(n, 10) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(max(0, d).Round(time.Second)/time.Second), 10) + " s"
}

// clock returns when in the day something was, with the day if it is another one.
func clock(t time.Time) string {
	now, t := time.Now().UTC(), t.UTC()
	switch {
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format("15:04:05")
	case t.Year() == now.Year():
		return t.Format("2 Jan 15:04:05")
	}
	return t.Format("2 Jan 2006 15:04")
}

// span returns a length of time in its largest unit.
func span(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{365 * 24 * time.Hour, "y"}, {24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if d >= u.size {
			return strconv.FormatInt(int64(d/u.size), 10) + " " + u.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
}

// count returns a number in groups of three digits.
func count(n int64) string {
	s, sign := strconv.FormatInt(n, 10), ""
	if n < 0 {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return sign + s
}

// countAny is count for templates, whose figures have several types.
func countAny(n any) (string, error) {
	switch n := n.(type) {
	case int:
		return count(int64(n)), nil
	case int64:
		return count(n), nil
	case uint64:
		return count(int64(min(n, 1<<62))), nil
	}
	return "", fmt.Errorf("count of a %T", n)
}
