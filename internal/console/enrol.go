package console

import (
	"errors"
	"strings"
	"time"

	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"

	"gatehouse"
)

// EnrolPath is where somebody enrols.
const EnrolPath = "/enrol"

// EnrolLink is the link to enrol of a token, at a console's address without a slash at
// its end. The token stands behind the #: browsers send that to nobody, so that no proxy
// writes it down.
func EnrolLink(console, token string) string { return console + EnrolPath + "#" + token }

// enrolRoutes are the steps of whoever has a link to enrol. The browser keeps its token
// in a cookie while they last: nothing else says who this is.
func (k *Console) enrolRoutes() []route {
	return []route{
		signing(get(EnrolPath, anyone, showEnrol)),
		// Links of before had the token in the path.
		signing(get(EnrolPath+"/{token}", anyone, showEnrolLink)),
		signing(post(EnrolPath, anyone, takeEnrolLink)),
		signing(post(EnrolPath+"/profile", anyone, enrolProfile)),
		signing(post(EnrolPath+"/passkey/begin", anyone, enrolBegin)),
		signing(post(EnrolPath+"/passkey", anyone, enrolPasskey)),
		signing(post(EnrolPath+"/password", anyone, enrolPassword)),
		signing(post(EnrolPath+"/code", anyone, enrolCode)),
		signing(post(EnrolPath+"/finish", anyone, enrolFinish)),
	}
}

// enrolPage is one step of enrolment.
type enrolPage struct {
	Base, Wrong string
	Name, Email string
	Roles       string
	Until       time.Time
	// Step is link, profile, factors, code or finish.
	Step string
	// Link is what stands in the field of the step link already.
	Link string
	TOTP totpView
}

func (v *visit) link() secret.Text { return secret.New(v.cookie(enrolCookie)) }

func (v *visit) enrolling() operator.EnrolmentOrSession {
	return operator.EnrolmentOrSession{Browser: v.browser, Enrolment: v.link()}
}

// enrolState returns the step at which an enrolment stands.
func (v *visit) enrolState(wrong string) (*enrolPage, error) {
	e, err := v.console.directory.Enrolment(v.context(), v.link())
	if err != nil {
		return nil, err
	}
	p := &enrolPage{Base: EnrolPath, Wrong: wrong, Name: e.Account.Name, Email: e.Account.Email, Until: e.Until, Roles: rolesText(e.Account, v.now)}
	switch {
	case p.Name == "" || p.Email == "":
		p.Step = "profile"
	case e.Complete:
		p.Step = "finish"
	case e.Account.Password:
		offer, err := v.console.directory.BeginTOTP(v.context(), v.enrolling())
		if err != nil {
			return nil, err
		}
		p.Step = "code"
		if p.TOTP, err = newTOTPView(offer); err != nil {
			return nil, err
		}
	default:
		p.Step = "factors"
	}
	return p, nil
}

const enrolTitle = "Set up your account"

func showEnrol(v *visit) error {
	if v.link().IsZero() {
		return v.show("enrol.html", enrolTitle, &enrolPage{Base: EnrolPath, Step: "link"})
	}
	p, err := v.enrolState("")
	if errors.Is(err, operator.ErrEnrolment) {
		v.setCookie(enrolCookie, "", -1)
	}
	if err != nil {
		return err
	}
	return v.show("enrol.html", enrolTitle, p)
}

// showEnrolLink shows what a link of before holds as if it had been pasted: following it
// does nothing, since programs that preview links do so.
func showEnrolLink(v *visit) error {
	return v.show("enrol.html", enrolTitle, &enrolPage{Base: EnrolPath, Step: "link", Link: v.r.PathValue("token")})
}

// enrolLink is the command of the form that takes a link to enrol, or what stands behind
// its #.
type enrolLink struct{ token secret.Text }

func (l *enrolLink) read(f *form) {
	text := strings.TrimSpace(f.secret("link", 1000).Reveal())
	l.token = secret.New(text[strings.LastIndexAny(text, "#/")+1:])
}

func takeEnrolLink(v *visit, in *enrolLink) (*outcome, error) {
	if _, err := v.console.directory.Enrolment(v.context(), in.token); err != nil {
		return nil, err
	}
	v.setCookie(enrolCookie, in.token.Reveal(), 0)
	return goTo(EnrolPath), nil
}

// enrolAgain shows the step once more with what was wrong.
func (v *visit) enrolAgain(err error) (*outcome, error) {
	if errors.Is(err, operator.ErrEnrolment) {
		return nil, err
	}
	out, err := again(err, "enrol.html", enrolTitle, func(wrong string) any { return wrong })
	if err != nil {
		return nil, err
	}
	wrong, _ := out.data.(string)
	if out.data, err = v.enrolState(wrong); err != nil {
		return nil, err
	}
	return out, nil
}

// profile is the command of the form for name and address.
type profile struct{ name, email string }

func (p *profile) read(f *form) { p.name, p.email = f.need("name", 100), f.need("email", 200) }

func enrolProfile(v *visit, in *profile) (*outcome, error) {
	if err := v.console.directory.SetProfile(v.context(), v.enrolling(), in.name, in.email); err != nil {
		return v.enrolAgain(plainWords(err))
	}
	return goTo(EnrolPath), nil
}

func enrolBegin(v *visit, _ *nothing) (*outcome, error) {
	options, ceremony, err := v.console.directory.BeginPasskey(v.context(), v.enrolling())
	if err != nil {
		return nil, err
	}
	return answer(mustJSON(begun{options, ceremony})), nil
}

func enrolPasskey(v *visit, in *passkeyAnswer) (*outcome, error) {
	if err := v.console.directory.FinishPasskey(v.context(), v.enrolling(), in.ceremony, []byte(in.response)); err != nil {
		return v.enrolAgain(err)
	}
	return enrolFinish(v, &nothing{})
}

// newPassword is the command of the form for a new password.
type newPassword struct{ password secret.Text }

func (p *newPassword) read(f *form) {
	p.password = f.secret("password", maxPassword)
	if !p.password.Equal(f.secret("repeat", maxPassword)) {
		f.refuse("repeat", "is not the same as the password")
	}
}

func enrolPassword(v *visit, in *newPassword) (*outcome, error) {
	if err := v.console.directory.SetPassword(v.context(), v.enrolling(), in.password); err != nil {
		return v.enrolAgain(plainWords(err))
	}
	return goTo(EnrolPath), nil
}

// newCode is the command of the form that proves an authenticator app.
type newCode struct{ code string }

func (c *newCode) read(f *form) { c.code = f.text("code", maxCode) }

func enrolCode(v *visit, in *newCode) (*outcome, error) {
	if err := v.console.directory.FinishTOTP(v.context(), v.enrolling(), in.code); err != nil {
		return v.enrolAgain(err)
	}
	return enrolFinish(v, &nothing{})
}

func enrolFinish(v *visit, _ *nothing) (*outcome, error) {
	codes, token, _, err := v.console.directory.Enrol(v.context(), v.browser, v.link())
	if err != nil {
		return v.enrolAgain(err)
	}
	v.setCookie(enrolCookie, "", -1)
	if len(codes) == 0 {
		out, err := v.signedIn(token, "/")
		if err != nil {
			return nil, err
		}
		return out.saying("Your account is ready. Add a second passkey soon, on another device, in case you lose this one."), nil
	}
	out, err := v.signedIn(token, "/")
	if err != nil {
		return nil, err
	}
	return showOnce("codes.html", "Recovery codes", codesPage{Codes: reveal(codes), Next: out.to}), nil
}

// codesPage shows recovery codes, once.
type codesPage struct {
	Codes []string
	Next  string
}

func reveal(codes []secret.Text) []string {
	out := make([]string, 0, len(codes))
	for _, c := range codes {
		out = append(out, c.Reveal())
	}
	return out
}

// plainWords makes what is wrong with a value that somebody typed public: such errors
// name the field and never the value.
func plainWords(err error) error {
	var weak *factor.PasswordError
	switch {
	case errors.As(err, &weak):
		return wire.Public(err, "This password "+weak.Reason+".")
	case errors.Is(err, gatehouse.ErrInvalid) && wire.ProblemOf(err).Detail == "":
		return wire.Public(err, "This was not accepted. Check that the name can be read and the e-mail address is one, such as ada@example.com.")
	}
	return err
}
