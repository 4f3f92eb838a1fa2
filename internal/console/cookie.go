package console

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// The console's cookies, without the prefix that they have over TLS.
const (
	sessionCookie = "gatehouse"
	bindingCookie = "gatehouse-browser"
	flashCookie   = "gatehouse-said"
	enrolCookie   = "gatehouse-enrol"
	themeCookie   = "gatehouse-theme"
)

// maxConnections is how many connections one account may have open: a browser has six, or
// one.
const maxConnections = 24

// cookieName returns a cookie's name. Over TLS the prefix makes the browser refuse
// one that another host of the domain, or somebody without TLS, tries to set. Without
// TLS, on localhost, a browser sends its cookies to every port: the name then has what
// tells this console from others that are reached there, over ssh as well.
func (k *Console) cookieName(name string) string { return cookieName(k.url, k.environment, name) }

func cookieName(at *url.URL, e gatehouse.Environment, name string) string {
	if at.Scheme == "https" {
		return "__Host-" + name
	}
	return name + "-" + string(e) + "-" + at.Port()
}

// CookieNames returns the names of the cookies of a session and of the browser that it is
// bound to, for a console at an address.
func CookieNames(at *url.URL, e gatehouse.Environment) (session, browser string) {
	return cookieName(at, e, sessionCookie), cookieName(at, e, bindingCookie)
}

// setCookie sets one of the console's cookies; life zero is until the browser ends,
// less removes it.
func (v *visit) setCookie(name, value string, life time.Duration) {
	c := &http.Cookie{
		Name: v.console.cookieName(name), Value: value, Path: "/", HttpOnly: true, Secure: v.console.secure(), SameSite: http.SameSiteStrictMode,
	}
	switch {
	case life < 0:
		c.MaxAge = -1
	case life > 0:
		c.MaxAge = int(life.Seconds())
	}
	http.SetCookie(v.w, c)
}

// cookie returns a cookie's value. Two of the name mean that somebody set one beside
// ours: then there is none.
func (v *visit) cookie(name string) string {
	found := v.r.CookiesNamed(v.console.cookieName(name))
	if len(found) != 1 || len(found[0].Value) > 1000 {
		return ""
	}
	return found[0].Value
}

// identify finds out whose browser this is, if anybody's.
func (v *visit) identify() error {
	binding := v.cookie(bindingCookie)
	// Only with a form of ours: a browser that follows a link of another site keeps its
	// cookies to itself, and a new one would end the session that it has.
	if binding == "" && v.route.signing && v.route.command {
		binding = rand.Text()
		v.setCookie(bindingCookie, binding, 400*24*time.Hour)
	}
	agent := v.r.UserAgent()
	if len(agent) > 300 {
		agent = agent[:300]
	}
	from, told := v.console.proxies.Source(v.r)
	v.browser = operator.Browser{Source: from, Agent: agent, Binding: secret.New(binding), Unattended: v.route.live}
	token := v.cookie(sessionCookie)
	if token == "" {
		return nil
	}
	session, account, err := v.console.directory.Session(v.context(), v.browser, secret.New(token))
	if errors.Is(err, operator.ErrSession) {
		v.setCookie(sessionCookie, "", -1)
		return nil
	}
	if err != nil {
		return err
	}
	v.token, v.session, v.who = secret.New(token), &session, &account
	if !told { // a proxy's connection carries many
		wire.KnownAs(v.context(), string(account.ID), maxConnections)
	}
	return nil
}

// say has the next page say something, once.
func (v *visit) say(text string) {
	if len(text) > 500 {
		text = text[:500]
	}
	v.setCookie(flashCookie, base64.RawURLEncoding.EncodeToString([]byte(text)), time.Minute)
}

// takeFlash takes what the last command said. What a browser sends is a claim: it is
// shown as text to whoever sent it.
func (v *visit) takeFlash() {
	value := v.cookie(flashCookie)
	if value == "" || v.route.command || v.route.live || v.route.asset {
		return
	}
	text, err := base64.RawURLEncoding.DecodeString(value)
	if err == nil {
		v.flash = string(text)
	}
	v.setCookie(flashCookie, "", -1)
}

// theme returns the choice of colours: "light", "dark", or "" for the system's.
func (v *visit) theme() string {
	switch t := v.cookie(themeCookie); t {
	case "light", "dark":
		return t
	}
	return ""
}
