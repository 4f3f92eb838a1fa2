package console

import (
	"encoding/json"
	"net/url"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
)

// Bounds of what a browser sends for a factor.
const (
	maxPassword = 1024
	maxCode     = 64
	maxCeremony = 20 << 10
	maxResponse = 32 << 10
	maxToken    = 200
)

// signInRoutes are the pages for who is not signed in yet.
func (k *Console) signInRoutes() []route {
	return []route{
		get("/sign-in", anyone, showSignIn),
		signing(post("/sign-in/passkey/begin", anyone, beginSignIn)),
		signing(post("/sign-in/passkey", anyone, signInWithPasskey)),
		signing(post("/sign-in/password", anyone, signInWithPassword)),
		signing(post("/sign-in/code", anyone, signInWithCode)),
		signing(post("/sign-in/provider/begin", anyone, beginProvider)),
		signing(get("/sign-in/provider", anyone, signInWithProvider)),
		post("/sign-out", self, signOut),
	}
}

// signing marks a step of signing in, which a source may take so often.
func signing(r route) route { r.signing = true; return r }

// signInPage is what the page to sign in shows; the page to prove again is made of
// the same.
type signInPage struct {
	// Base is the path of the steps; Return where it goes on.
	Base, Return, Wrong string
	Email               string
	// Passkey and Password say which ways there are.
	Passkey, Password bool
	// Provider says that there is single sign-on.
	Provider bool
	Again    bool
}

func showSignIn(v *visit) error {
	back := localPath(v.query("return"))
	if v.who != nil {
		return v.redirect(v.landing(back))
	}
	return v.show("sign-in.html", "Sign in", v.signInPage(back, "", ""))
}

func (v *visit) signInPage(back, wrong, email string) signInPage {
	return signInPage{
		Base: "/sign-in", Return: localPath(back), Wrong: wrong, Email: email, Passkey: true, Password: true, Provider: v.console.directory.HasProvider(),
	}
}

// landing returns where somebody who has just signed in goes: to what they asked for,
// or where they begin.
func (v *visit) landing(back string) string {
	if back = localPath(back); back != "/" {
		return back
	}
	return v.console.home(v.who, v.now)
}

// begun is what the browser's script gets to ask for a passkey.
type begun struct {
	Options  json.RawMessage `json:"options"`
	Ceremony string          `json:"ceremony"`
}

func beginSignIn(v *visit, _ *nothing) (*outcome, error) {
	options, ceremony, err := v.console.directory.SignInPasskeyBegin(v.context(), v.browser)
	if err != nil {
		return nil, err
	}
	return answer(mustJSON(begun{options, ceremony})), nil
}

// passkeyAnswer is the command of what the browser's script made of a passkey.
type passkeyAnswer struct {
	ceremony, response, back string
}

func (a *passkeyAnswer) read(f *form) {
	a.ceremony, a.response, a.back = f.need("ceremony", maxCeremony), f.need("response", maxResponse), f.text("return", 2000)
}

func signInWithPasskey(v *visit, in *passkeyAnswer) (*outcome, error) {
	token, _, err := v.console.directory.SignInPasskeyFinish(v.context(), v.browser, in.ceremony, []byte(in.response))
	if err != nil {
		return again(err, "sign-in.html", "Sign in", func(wrong string) any {
			return v.signInPage(in.back, wrong, "")
		})
	}
	return v.signedIn(token, in.back)
}

// signedIn gives the browser its session and goes on.
func (v *visit) signedIn(token secret.Text, back string) (*outcome, error) {
	v.setCookie(sessionCookie, token.Reveal(), 0)
	if v.who != nil {
		// The browser has another session now; should this fail, the old one ends by itself.
		_ = v.console.directory.SignOut(v.context(), v.browser, v.token)
	}
	if back = localPath(back); back != "/" {
		return goTo(back), nil
	}
	// Where somebody begins depends on who they are, which is known from now on.
	_, account, err := v.console.directory.Session(v.context(), v.browser, token)
	if err != nil {
		return nil, err
	}
	return goTo(v.console.home(&account, v.now)), nil
}

// passwordEntry is the command of the form for e-mail address and password.
type passwordEntry struct {
	email, back string
	password    secret.Text
}

func (p *passwordEntry) read(f *form) {
	p.email, p.back, p.password = f.text("email", 200), f.text("return", 2000), f.secret("password", maxPassword)
}

// codePage asks for the second factor. Half is what the first one gave: it is of use
// to this browser only, for a few minutes.
type codePage struct {
	Base, Return, Wrong, Half string
}

func signInWithPassword(v *visit, in *passwordEntry) (*outcome, error) {
	half, err := v.console.directory.SignInPassword(v.context(), v.browser, in.email, in.password)
	if err != nil {
		return again(err, "sign-in.html", "Sign in", func(wrong string) any {
			return v.signInPage(in.back, wrong, in.email)
		})
	}
	return showOnce("code.html", "Enter a code", codePage{Base: "/sign-in", Return: localPath(in.back), Half: half.Reveal()}), nil
}

// codeEntry is the command of the form for the second factor.
type codeEntry struct {
	half       secret.Text
	code, back string
}

func (c *codeEntry) read(f *form) {
	c.half, c.code, c.back = f.secret("half", maxToken), f.text("code", maxCode), f.text("return", 2000)
}

func signInWithCode(v *visit, in *codeEntry) (*outcome, error) {
	token, _, err := v.console.directory.SignInCode(v.context(), v.browser, in.half, in.code)
	if err != nil {
		return again(err, "code.html", "Enter a code", func(wrong string) any {
			return codePage{Base: "/sign-in", Return: localPath(in.back), Wrong: wrong, Half: in.half.Reveal()}
		})
	}
	return v.signedIn(token, in.back)
}

func signOut(v *visit, _ *nothing) (*outcome, error) {
	v.setCookie(sessionCookie, "", -1)
	if err := v.console.directory.SignOut(v.context(), v.browser, v.token); err != nil {
		return nil, err
	}
	return goTo("/sign-in").saying("You are signed out."), nil
}

// proveRoutes are the steps of showing a factor again in a session.
func (k *Console) proveRoutes() []route {
	return []route{
		get("/prove", self, showProve),
		signing(post("/prove/passkey/begin", self, beginProof)),
		signing(post("/prove/passkey", self, proveWithPasskey)),
		signing(post("/prove/password", self, proveWithPassword)),
		signing(post("/prove/code", self, proveWithCode)),
		signing(post("/prove/provider/begin", self, proveWithProvider)),
	}
}

func (v *visit) provePage(back, wrong string) signInPage {
	return signInPage{Base: "/prove", Return: localPath(back), Wrong: wrong, Email: v.who.Email, Passkey: v.who.Passkeys > 0, Password: v.who.Password, Provider: v.console.directory.HasProvider(), Again: true}
}

const proveTitle = "Show that it is you"

func showProve(v *visit) error {
	return v.show("sign-in.html", proveTitle, v.provePage(v.query("return"), ""))
}

func beginProof(v *visit, _ *nothing) (*outcome, error) {
	options, ceremony, err := v.console.directory.ProvePasskeyBegin(v.context(), v.browser, v.token)
	if err != nil {
		return nil, err
	}
	return answer(mustJSON(begun{options, ceremony})), nil
}

func proveWithPasskey(v *visit, in *passkeyAnswer) (*outcome, error) {
	token, _, err := v.console.directory.ProvePasskeyFinish(v.context(), v.browser, v.token, in.ceremony, []byte(in.response))
	if err != nil {
		return again(err, "sign-in.html", proveTitle, func(wrong string) any { return v.provePage(in.back, wrong) })
	}
	return v.proved(token, in.back)
}

// proved gives the session its new token and goes on.
func (v *visit) proved(token secret.Text, back string) (*outcome, error) {
	v.setCookie(sessionCookie, token.Reveal(), 0)
	return goTo(v.landing(back)), nil
}

func proveWithPassword(v *visit, in *passwordEntry) (*outcome, error) {
	half, err := v.console.directory.ProvePassword(v.context(), v.browser, v.token, in.password)
	if err != nil {
		return again(err, "sign-in.html", proveTitle, func(wrong string) any { return v.provePage(in.back, wrong) })
	}
	return showOnce("code.html", "Enter a code", codePage{Base: "/prove", Return: localPath(in.back), Half: half.Reveal()}), nil
}

func proveWithCode(v *visit, in *codeEntry) (*outcome, error) {
	token, _, err := v.console.directory.ProveCode(v.context(), v.browser, v.token, in.half, in.code)
	if err != nil {
		return again(err, "code.html", "Enter a code", func(wrong string) any {
			return codePage{Base: "/prove", Return: localPath(in.back), Wrong: wrong, Half: in.half.Reveal()}
		})
	}
	return v.proved(token, in.back)
}

// holder is whoever changes their own factors, in a session.
func (v *visit) holder() operator.EnrolmentOrSession {
	return operator.EnrolmentOrSession{Browser: v.browser, Session: v.token}
}

// proveLink returns the address of the proof, with the way back.
func proveLink(back string) string { return "/prove?" + url.Values{"return": {back}}.Encode() }
