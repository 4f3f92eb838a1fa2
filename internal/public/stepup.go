package public

import (
	"bytes"
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

const (
	// stepupStyle and passkeyScript are the assets of step-ups' pages.
	stepupStyle   = stepup.Path + "style.css"
	passkeyScript = stepup.Path + "passkey.js"
	// maxAnswer bounds a form: what a browser's authenticator says, encoded.
	maxAnswer = 4 * factor.MaxResponse
	// knownLife is how long a browser keeps the cookie by which it is known.
	knownLife = 180 * 24 * 60 * 60
	// bindingLife is how long it keeps the one of a step-up, the longest that one lasts.
	bindingLife = 60 * 60
)

var stepupPage = template.Must(template.ParseFS(assets, "stepup.html"))

// stepupRoutes are the acts of a person at a step-up, by the last part of the path.
func (p *Public) stepupRoutes() map[string]func(*http.Request, stepup.Visitor) (stepup.Visit, error) {
	s := p.stepups
	return map[string]func(*http.Request, stepup.Visitor) (stepup.Visit, error){
		"code": func(r *http.Request, v stepup.Visitor) (stepup.Visit, error) {
			return s.Code(r.Context(), v, r.PostForm.Get("code"))
		},
		"passkey": func(r *http.Request, v stepup.Visitor) (stepup.Visit, error) {
			return s.PasskeyAnswer(r.Context(), v, []byte(r.PostForm.Get("answer")))
		},
		"totp": func(r *http.Request, v stepup.Visitor) (stepup.Visit, error) { return s.BeginTOTP(r.Context(), v) },
		"confirm": func(r *http.Request, v stepup.Visitor) (stepup.Visit, error) {
			return s.ConfirmTOTP(r.Context(), v, r.PostForm.Get("code"))
		},
		"continue": func(r *http.Request, v stepup.Visitor) (stepup.Visit, error) { return s.Continue(r.Context(), v) },
		"cancel":   func(r *http.Request, v stepup.Visitor) (stepup.Visit, error) { return s.Cancel(r.Context(), v) },
	}
}

// handleStepups mounts step-ups' pages.
func (p *Public) handleStepups(mux *http.ServeMux) {
	mount := func(pattern, method string, handle wire.HandlerFunc) {
		mux.Handle(pattern, p.pages.Handler(pattern, p.visited(p.guard(handle, method))))
	}
	page := stepup.Path + "{id}"
	mount(stepupStyle, http.MethodGet, p.asset("stepup.css", "text/css; charset=utf-8"))
	mount(passkeyScript, http.MethodGet, p.asset("passkey.js", "text/javascript; charset=utf-8"))
	mount(page, http.MethodGet, p.openStepup)
	mount(page+"/options", http.MethodPost, p.posted(p.stepupOptions))
	for name, act := range p.stepupRoutes() {
		mount(page+"/"+name, http.MethodPost, p.posted(func(w http.ResponseWriter, r *http.Request) error {
			visit, err := act(r, p.visitor(r))
			if err != nil {
				return err
			}
			return p.answerStepup(w, r, visit)
		}))
	}
}

func (p *Public) asset(name, kind string) wire.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) error {
		content, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", kind)
		_, err = w.Write(content)
		return err
	}
}

// posted reads a form that a page of ours sent: a browser that says that it comes from
// another site is refused, and so is a field that is there twice.
func (p *Public) posted(next wire.HandlerFunc) wire.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := p.sameOrigin.Check(r); err != nil {
			return wire.Refuse(gatehouse.ErrDenied, "public/cross-origin", "This did not come from our own page. Go back to the app and begin again.")
		}
		r.Body = http.MaxBytesReader(w, &hurried{ReadCloser: r.Body, until: time.Now().Add(readTime)}, maxAnswer)
		if err := r.ParseForm(); err != nil {
			if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
				return err
			}
			if wire.RuleOf(err) == ruleSlow {
				return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "public/slow-form", "This form took too long to arrive."), http.StatusRequestTimeout)
			}
			return wire.Refuse(gatehouse.ErrInvalid, "public/form", "This form is not well formed.")
		}
		for _, values := range r.PostForm {
			if len(values) > 1 {
				return wire.Refuse(gatehouse.ErrInvalid, "public/form", "This form is not well formed.")
			}
		}
		return next(w, r)
	}
}

// bindingCookie is the name of the cookie that binds a step-up to a browser: each has
// its own, so that two tabs do not disturb each other.
func (p *Public) bindingCookie(id string) string { return p.cookieName(id) }

// knownCookie is the name of the cookie by which a browser is known in which somebody
// has proved a factor.
func (p *Public) knownCookie() string { return p.cookieName("known") }

func (p *Public) cookieName(of string) string {
	if p.stepups.Secure() {
		return "__Host-gatehouse-" + of
	}
	return "gatehouse-" + of
}

// visitor returns who came, by the cookies. Two of a name mean that somebody set one
// beside ours.
func (p *Public) visitor(r *http.Request) stepup.Visitor {
	one := func(name string) secret.Text {
		if found := r.CookiesNamed(name); len(found) == 1 {
			return secret.New(found[0].Value)
		}
		return secret.Text{}
	}
	id := r.PathValue("id")
	return stepup.Visitor{ID: id, Browser: one(p.bindingCookie(id)), Known: one(p.knownCookie())}
}

func (p *Public) openStepup(w http.ResponseWriter, r *http.Request) error {
	visit, err := p.stepups.Open(r.Context(), p.visitor(r))
	if err != nil {
		return err
	}
	return p.answerStepup(w, r, visit)
}

// stepupOptions gives the script what the browser's authenticator is asked.
func (p *Public) stepupOptions(w http.ResponseWriter, r *http.Request) error {
	options, err := p.stepups.PasskeyOptions(r.Context(), p.visitor(r))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(options)
	return err
}

// stepupView is what the page is made of.
type stepupView struct {
	stepup.Page
	At            string // the address of this step-up
	Heading       string
	Style, Script string
	Image         *picture
	Secret        string
	Codes         []string
}

var headings = map[stepup.Step]string{
	stepup.Prove: "Confirm that it is you", stepup.Setup: "Add a second factor", stepup.Confirm: "Set up your authenticator app", stepup.Saved: "You are all set",
}

// answerStepup sends the browser on, or shows what comes next.
func (p *Public) answerStepup(w http.ResponseWriter, r *http.Request, visit stepup.Visit) error {
	id := r.PathValue("id")
	if !visit.Browser.IsZero() {
		p.setCookie(w, p.bindingCookie(id), visit.Browser.Reveal(), bindingLife)
	}
	if !visit.Known.IsZero() {
		p.setCookie(w, p.knownCookie(), visit.Known.Reveal(), knownLife)
	}
	page := visit.Page
	switch {
	case visit.To != "":
		p.setCookie(w, p.bindingCookie(id), "", -1)
		// The page that the form was on says by its form-action that it may lead there.
		redirect(w, visit.To)
		return nil
	case r.Method == http.MethodPost && page.Problem == "" && len(page.Codes) == 0 && page.Key.IsZero():
		redirect(w, stepup.Path+id) // so that loading it again does not send the form again
		return nil
	}
	return p.showStepup(w, r, page)
}

func (p *Public) showStepup(w http.ResponseWriter, r *http.Request, page stepup.Page) error {
	view := stepupView{Page: page, At: stepup.Path + r.PathValue("id"), Heading: headings[page.Step], Style: stepupStyle}
	if page.Passkey || len(page.Codes) > 0 {
		view.Script = passkeyScript
	}
	if len(page.Codes) > 0 {
		view.Heading = "Keep these recovery codes"
	}
	if page.First && page.Step == stepup.Setup {
		view.Heading = "Protect your account"
	}
	if !page.Key.IsZero() {
		var err error
		if view.Image, err = draw(page.URI); err != nil {
			return err
		}
		view.Secret = grouped(page.Key.Reveal())
	}
	for _, c := range page.Codes {
		view.Codes = append(view.Codes, c.Reveal())
	}
	var body bytes.Buffer
	if err := stepupPage.Execute(&body, view); err != nil {
		return err
	}
	status := http.StatusOK
	if page.Status != 0 {
		status = page.Status
	}
	show(w, r, status, body.Bytes(), func(h http.Header) { stepupHeaders(h, page.Origin) })
	return nil
}

// stepupHeaders are those of a page with forms that lead to the app in the end, and a
// script of ours.
func stepupHeaders(h http.Header, origin string) {
	h.Set("Content-Security-Policy", strings.TrimRight("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+origin, " "))
	// A form's Origin would be null without a referrer, which some browsers send nothing
	// else beside.
	h.Set("Referrer-Policy", "same-origin")
}

func (p *Public) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: p.stepups.Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// grouped writes a key in fours, as a person types it.
func grouped(s string) string {
	var b strings.Builder
	for i, c := range s {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}
