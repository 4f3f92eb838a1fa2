package console

import (
	"errors"
	"net/http"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

// returnCookie keeps where somebody wanted to go while they are at a provider.
const returnCookie = "gatehouse-return"

// backForm is the command of a form that has a way back and nothing else.
type backForm struct{ back string }

func (b *backForm) read(f *form) { b.back = f.text("return", 2000) }

// leavePage leads to the provider. A form may not: the pages' policy keeps what forms
// lead to on this host.
type leavePage struct{ Address string }

func beginProvider(v *visit, in *backForm) (*outcome, error) {
	address, err := v.console.directory.SignInProviderBegin(v.context(), v.browser)
	if err != nil {
		return nil, err
	}
	v.setCookie(returnCookie, localPath(in.back), 10*time.Minute)
	return showOnce("leave.html", "Single sign-on", leavePage{address}), nil
}

// proveWithProvider leads to the provider, which is told to ask who this is. What comes of
// it is a new session, in the place of this one.
func proveWithProvider(v *visit, in *backForm) (*outcome, error) {
	address, err := v.console.directory.ProveProviderBegin(v.context(), v.browser, v.token)
	if err != nil {
		return nil, err
	}
	v.setCookie(returnCookie, localPath(in.back), 10*time.Minute)
	return showOnce("leave.html", "Single sign-on", leavePage{address}), nil
}

// maxProvider bounds what a provider sends a browser back with, in bytes.
const maxProvider = 16 << 10

// signInWithProvider takes the browser back from the provider. It is the one thing that
// a link may do: what it carries is bound to this browser and counts once, and the
// browser comes here from our own page (see [visit.fromElsewhere]).
func signInWithProvider(v *visit) error {
	query := v.r.URL.Query()
	back := localPath(v.cookie(returnCookie))
	v.setCookie(returnCookie, "", -1)
	if len(v.r.URL.RawQuery) > maxProvider || query.Get("state") == "" {
		return wire.Refuse(gatehouse.ErrInvalid, "console/provider", "The provider sent nothing that could be used. Begin again.")
	}
	fail := func(wrong string, status int) error {
		if v.who != nil {
			return v.showStatus(status, "sign-in.html", proveTitle, v.provePage(back, wrong))
		}
		return v.showStatus(status, "sign-in.html", "Sign in", v.signInPage(back, wrong, ""))
	}
	if query.Get("error") != "" {
		return fail("The provider did not confirm who you are. Try again, or use another way.", http.StatusUnauthorized)
	}
	token, _, half, err := v.console.directory.SignInProviderFinish(v.context(), v.browser, query.Get("state"), query.Get("code"))
	switch {
	case errors.Is(err, operator.ErrSignIn), errors.Is(err, operator.ErrLocked):
		p := wire.ProblemOf(err)
		return fail(p.Detail, p.Status)
	case err != nil:
		return err
	case !half.IsZero():
		return v.show("code.html", "Enter a code", codePage{Base: "/sign-in", Return: back, Half: half.Reveal()})
	}
	out, err := v.signedIn(token, back)
	if err != nil {
		return err
	}
	return v.finish(out)
}
