package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// visit is one request of one browser. The handler's goroutine owns it.
type visit struct {
	console *Console
	w       http.ResponseWriter
	r       *http.Request
	route   *route
	now     time.Time
	browser operator.Browser
	// token is what the browser has for its session; empty without one.
	token secret.Text
	// session and who are of whoever is signed in; nil on routes for anyone, unless
	// somebody is.
	session *operator.Session
	who     *operator.Account
	// feed is what a live page's handler leaves to be done when the place of a page, which
	// it had to be let in, is free again; nil for other pages.
	feed func(*visit) error
	// flash is said once, on the page that is shown; "" says nothing.
	flash string
}

// context ends when the browser leaves or the page's time is up.
func (v *visit) context() context.Context { return v.r.Context() }

// may reports whether whoever looks holds a permission.
func (v *visit) may(p Permission) bool { return v.who != nil && v.who.May(p, v.now) }

// by is whoever looks, as those who own the rules know them.
func (v *visit) by() operator.Actor {
	if v.session == nil {
		return operator.Actor{}
	}
	return operator.By(*v.session)
}

// maxQuery bounds a parameter of the address, in bytes.
const maxQuery = 500

// query returns a parameter of the address; what is longer than maxQuery is not one.
func (v *visit) query(name string) string {
	s := v.r.URL.Query().Get(name)
	if len(s) > maxQuery {
		return ""
	}
	return s
}

// readable refuses an address of which a part would be left out: a list without the
// filter that was asked for says something that is not so.
func (v *visit) readable() error {
	query, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		return refuseFilter("The address of this page cannot be read behind its question mark. Choose in the form instead.")
	}
	for _, values := range query {
		if slices.ContainsFunc(values, func(s string) bool { return len(s) > maxQuery }) {
			return refuseFilter("A value in the address of this page is longer than " + strconv.Itoa(maxQuery) + " bytes. Shorten it.")
		}
	}
	return nil
}

// oneOf joins words into "a, b or c".
func oneOf(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// choice returns a parameter that is one of a list's, or "" where it is missing. Others
// are refused with the field's label, and not repeated: they would find nothing, and
// look as if there were nothing.
func (v *visit) choice(name, label string, offered []string) (string, error) {
	s := v.query(name)
	switch {
	case s == "" || slices.Contains(offered, s):
		return s, nil
	case len(offered) == 0 || len(offered) > 12:
		return "", refuseFilter(label + ": this is none of what can be chosen. Go back, and choose in the form.")
	}
	return "", refuseFilter(label + ": choose " + oneOf(offered) + ".")
}

// with returns the address of this page with parameters changed: pairs of name and
// value, where "" removes.
func (v *visit) with(pairs ...string) string { return withQuery(v.r.URL, pairs...) }

func withQuery(u *url.URL, pairs ...string) string {
	q := u.Query()
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		} else {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + q.Encode()
}

// fresh reports whether who this is was proved a moment ago.
func (v *visit) fresh() bool {
	return v.session != nil && v.console.directory.Fresh(*v.session)
}

// redirect sends the browser to an address of ours, without a body that repeats it.
func (v *visit) redirect(to string) error {
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// errNoPage is the answer for addresses that are not in the table.
var errNoPage = wire.Refuse(gatehouse.ErrNotFound, "console/no-page", "There is no page at this address. Choose one in the menu.")

// mount returns the handler of one route: bounded, closed to other origins, and open
// to those who hold its permission.
func (k *Console) mount(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		v := &visit{console: k, route: &r, now: time.Now().UTC()}
		surface := wire.Surface{
			Name: "console", Log: k.log, BodyStall: 10 * time.Second,
			RenderError: func(w http.ResponseWriter, req *http.Request, p wire.Problem) {
				v.w, v.r = w, req
				v.showProblem(p)
			},
		}
		surface.Handler(r.pattern, func(w http.ResponseWriter, req *http.Request) error {
			k.setHeaders(w.Header())
			if wire.Aged(req.Context()) {
				w.Header().Set("Connection", "close")
			}
			v.w, v.r = w, req
			return k.admit(v)
		}).ServeHTTP(w, req)
	})
}

// admit finds out who this is and takes a place for the visit, for as long as it lasts. A
// form is here before: who sends one slowly, which takes no account, keeps nobody else
// waiting. Strangers have places of their own.
func (k *Console) admit(v *visit) error {
	if !strings.EqualFold(v.r.Host, k.url.Host) {
		return k.elsewhere(v)
	}
	if v.route.command {
		if err := k.sameOrigin(v.r); err != nil {
			return err
		}
		if err := k.receive(v); err != nil {
			return err
		}
	}
	whole := v.r
	if err := k.make(v); err != nil || v.feed == nil {
		return err
	}
	v.r = whole
	return v.feed(v)
}

// make lets a visit in, in the time that a page may take.
func (k *Console) make(v *visit) error {
	if v.route.asset { // is in memory, and costs nothing
		return k.guard(v)
	}
	bounded, cancel := context.WithTimeout(v.context(), k.limits.Time)
	defer cancel()
	v.r = v.r.WithContext(bounded)
	if !wire.Named(bounded) {
		from, _ := k.proxies.Source(v.r)
		leave, ok := k.lobby.enter(from)
		if !ok {
			return wire.WithRetryAfter(errBusy, time.Second)
		}
		defer leave()
	}
	err := k.serve(v)
	if err != nil && v.r.Context().Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		return wire.Public(errors.Join(gatehouse.ErrUnavailable, err), "This took too long. Ask for less, such as a shorter time.")
	}
	return err
}

var errBusy = wire.Refuse(gatehouse.ErrLimited, "console/busy", "The console is busy with other pages. Try again in a moment.")

// serve takes a place for whoever this is, and lets them in.
func (k *Console) serve(v *visit) error {
	if err := k.ask(v); err != nil {
		return err
	}
	places := k.strangers
	if v.who != nil {
		places = k.places
	}
	if !places.take(v.context()) {
		return errBusy
	}
	begun := time.Now()
	defer func() { places.leave(time.Since(begun)) }()
	return k.guard(v)
}

// ask looks up who this is, for few at a time.
func (k *Console) ask(v *visit) error {
	select {
	case k.asking <- struct{}{}:
		defer func() { <-k.asking }()
		return v.identify()
	case <-v.context().Done():
		return errBusy
	}
}

// receive reads a form whole, in the time that a page may take.
func (k *Console) receive(v *visit) error {
	var form bytes.Buffer
	body, began, part := http.MaxBytesReader(v.w, v.r.Body, k.limits.Body), time.Now(), make([]byte, 4<<10)
	for {
		n, err := body.Read(part)
		form.Write(part[:n])
		var large *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			v.r.Body = io.NopCloser(&form)
			return nil
		case errors.As(err, &large):
			return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "console/form", "The form is too large. Shorten what you entered, and send it again."), http.StatusRequestEntityTooLarge)
		case err != nil:
			return wire.Refuse(gatehouse.ErrInvalid, "console/form", "The form cannot be read. Go back, reload the page, and send it again.")
		case time.Since(began) > k.limits.Time:
			return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "console/form", "The form took too long to arrive, and nothing was done. Send it again."), http.StatusRequestTimeout)
		}
	}
}

// elsewhere answers for other names than the console's own. A name of somebody else
// that leads to this address must not show our pages: its scripts could read them.
func (k *Console) elsewhere(v *visit) error {
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "console/host", "The console is at "+k.url.String()+". Open it there."), http.StatusMisdirectedRequest)
	}
	return v.redirect(k.url.Scheme + "://" + k.url.Host + "/")
}

// guard lets a visit in, in this order: who this is, what they may, and how fresh that
// is. Another site's forms were refused before anything is looked up.
func (k *Console) guard(v *visit) error {
	// Who is signed in and proves it again does not share a budget with strangers, who
	// could use it up; the directory counts what they try.
	if v.route.signing && v.who == nil {
		allowed, err := k.sources.allow(v.browser.Source, v.browser.Binding.Reveal(), func() (bool, error) {
			return k.directory.KnownBrowser(v.context(), v.browser)
		})
		if err != nil {
			return err
		}
		if !allowed {
			return wire.Refuse(gatehouse.ErrLimited, "console/rate", "Too many attempts came from your network. Wait a minute and try again.")
		}
	}
	if v.who == nil && v.fromElsewhere() {
		return v.showStatus(http.StatusOK, "bounce.html", "One moment", v.r.URL.RequestURI())
	}
	if v.route.permission != anyone {
		if v.who == nil {
			return v.signInFirst()
		}
		if v.route.permission != self && !v.may(v.route.permission) {
			return wire.Refuse(gatehouse.ErrDenied, "console/permission", "Your role does not have the permission "+string(v.route.permission)+". An owner can grant it.")
		}
		if v.route.fresh && !v.fresh() {
			return v.proveFirst()
		}
	}
	if v.route.permission != anyone && v.route.permission != self {
		if err := v.readable(); err != nil {
			return err
		}
	}
	v.takeFlash()
	return v.route.handler(v)
}

// sameOrigin refuses what another site's page sent, and what no browser did.
func (k *Console) sameOrigin(r *http.Request) error {
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return wire.Refuse(gatehouse.ErrDenied, "console/origin", "This can only be sent by a form of the console. Open its page, and press the button there.")
	}
	// Browsers that do not send Sec-Fetch-Site name the scheme here only: a page of the same
	// name without TLS is somebody else's.
	if origin := r.Header.Get("Origin"); origin != "" && !strings.EqualFold(origin, k.url.Scheme+"://"+k.url.Host) || k.cross.Check(r) != nil {
		return wire.Refuse(gatehouse.ErrDenied, "console/origin", "This came from a page of another site, and was not done. If you meant it, do it in the console itself.")
	}
	return nil
}

// fromElsewhere reports whether a browser followed a link of another site. Whoever does
// may well be signed in: the browser kept its cookies to itself because of where the
// link was. Asked again by a page of ours it has them, and this is not true twice.
func (v *visit) fromElsewhere() bool {
	site := v.r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && v.r.Method == http.MethodGet && v.r.Header.Get("Sec-Fetch-Dest") == "document"
}

// signInFirst sends the browser to the sign-in page, and back here afterwards. A
// command is not repeated for somebody who was not signed in when they gave it.
func (v *visit) signInFirst() error {
	to := "/sign-in"
	if v.r.Method == http.MethodGet && v.r.URL.Path != "/" && !v.route.live {
		to += "?" + url.Values{"return": {v.r.URL.RequestURI()}}.Encode()
	}
	return v.redirect(to)
}

// proveFirst sends the browser to prove again who it is, and back to the form.
func (v *visit) proveFirst() error {
	back := v.r.URL.RequestURI()
	if v.route.command {
		back = v.back()
	}
	return v.redirect("/prove?" + url.Values{"return": {back}}.Encode())
}

// back returns the page of ours whose form was sent: the referrer, of which the
// browser tells us ours only.
func (v *visit) back() string {
	u, err := url.Parse(v.r.Header.Get("Referer"))
	if err != nil || u.Host != v.console.url.Host {
		return "/"
	}
	return localPath(u.RequestURI())
}

// localPath returns to if it is a path on this host, and "/" otherwise: what a link
// carries must not send people away from here.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > 2000 || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		u.Scheme != "" || u.Host != "" || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}
