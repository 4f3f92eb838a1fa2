package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity/operator"
)

// accountRoutes are the pages about one's own account.
func (k *Console) accountRoutes() []route {
	return []route{
		get("/account", self, showAccount),
		post("/account/profile", self, changeProfile).demanding(),
		post("/account/passkey/begin", self, beginNewPasskey).demanding(),
		post("/account/passkey", self, addPasskey).demanding(),
		post("/account/passkey/remove", self, removePasskey).demanding(),
		post("/account/password", self, changePassword).demanding(),
		get("/account/app", self, showNewApp).demanding(),
		post("/account/app", self, changeApp).demanding(),
		post("/account/recovery", self, renewRecovery).demanding(),
		post("/account/sessions/end", self, endSession),
		post("/account/sessions/end-others", self, endOtherSessions),
	}
}

// accountPage is what the page about one's own account shows.
type accountPage struct {
	Account     operator.Account
	Roles       []roleView
	Permissions string
	Fresh       bool
	Prove       string
	Passkeys    []ownPasskey
	Recovery    Danger
	Sessions    Table
	Others      bool
	Wrong       string
}

// ownPasskey is a passkey, and the form that removes it.
type ownPasskey struct {
	operator.Passkey
	Remove Danger
}

// roleView is a role that somebody has.
type roleView struct {
	Role  operator.Role
	Until time.Time
	Over  bool
}

func rolesOf(a operator.Account, now time.Time) []roleView {
	var out []roleView
	for _, g := range a.Grants {
		out = append(out, roleView{g.Role, g.Until, !g.Until.IsZero() && !now.Before(g.Until)})
	}
	return out
}

// rolesText names the roles that somebody has now.
func rolesText(a operator.Account, now time.Time) string {
	var names []string
	for _, r := range rolesOf(a, now) {
		if !r.Over {
			names = append(names, string(r.Role))
		}
	}
	if len(names) == 0 {
		return "no role"
	}
	return strings.Join(names, ", ")
}

func showAccount(v *visit) error {
	p, err := v.accountPage("")
	if err != nil {
		return err
	}
	return v.show("account.html", "Your account", p)
}

func (v *visit) accountPage(wrong string) (*accountPage, error) {
	p := &accountPage{Account: *v.who, Roles: rolesOf(*v.who, v.now), Fresh: v.fresh(), Prove: proveLink("/account"), Wrong: wrong}
	var may []string
	for _, x := range operator.Permissions() {
		if v.may(x) {
			may = append(may, string(x))
		}
	}
	p.Permissions = strings.Join(may, ", ")
	passkeys, err := v.console.directory.Passkeys(v.context(), v.by())
	if err != nil {
		return nil, err
	}
	for i, k := range passkeys {
		p.Passkeys = append(p.Passkeys, ownPasskey{k, removePasskeyForm(k, i, len(passkeys) == 1)})
	}
	p.Recovery = recoveryForm
	sessions, err := v.console.directory.Sessions(v.context(), v.by(), v.who.ID)
	if err != nil {
		return nil, err
	}
	p.Others = len(sessions) > 1
	p.Sessions = sessionTable(sessions, "/account/sessions/end", nil)
	return p, nil
}

// Columns of the table of sessions that not everybody is shown.
const sessionBrowser, sessionAddress, sessionAct = 0, 1, 5

// sessionTable lists sessions, each with a button that ends it.
func sessionTable(sessions []operator.Session, end string, with []Hidden) Table {
	t := Table{
		Caption: "Browsers that are signed in",
		Columns: []Column{{Name: "Browser"}, {Name: "Address"}, {Name: "Since"}, {Name: "Last used"}, {Name: "Ends"}, {Name: ""}},
		Empty:   Empty{Title: "No browser is signed in", Text: "Sessions appear here while they last."},
	}
	for _, s := range sessions {
		last := buttonCell(Button{Action: end, Label: "End", Fields: append(slices.Clone(with), Hidden{"session", string(s.ID)})})
		if s.Current {
			last = badgeCell(Good, "this one")
		}
		t.Rows = append(t.Rows, Row{[]Cell{textCell(agentName(s.Agent)), textCell(s.Source), timeCell(s.Created), timeCell(s.Seen), timeCell(s.Until), last}})
	}
	return t
}

// agentName returns what people call the browser that says so of itself.
func agentName(agent string) string {
	name, system := "", ""
	for _, known := range []struct{ mark, name string }{{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}} {
		if strings.Contains(agent, known.mark) {
			name = known.name
			break
		}
	}
	for _, known := range []struct{ mark, name string }{{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"}} {
		if strings.Contains(agent, known.mark) {
			system = known.name
			break
		}
	}
	switch {
	case name != "" && system != "":
		return name + " on " + system
	case name != "":
		return name
	case agent == "":
		return "unknown"
	}
	return agent
}

// accountAgain shows the page once more with what was wrong.
func (v *visit) accountAgain(err error) (*outcome, error) {
	out, err := again(plainWords(err), "account.html", "Your account", func(wrong string) any { return wrong })
	if err != nil {
		return nil, err
	}
	wrong, _ := out.data.(string)
	if out.data, err = v.accountPage(wrong); err != nil {
		return nil, err
	}
	return out, nil
}

// done goes back to the account with a word about what was done.
func (v *visit) accountDone(err error, said string) (*outcome, error) {
	if err != nil {
		return v.accountAgain(err)
	}
	return goTo("/account").saying(said), nil
}

func changeProfile(v *visit, in *profile) (*outcome, error) {
	return v.accountDone(v.console.directory.SetProfile(v.context(), v.holder(), in.name, in.email), "Your name and address were changed.")
}

func beginNewPasskey(v *visit, _ *nothing) (*outcome, error) {
	options, ceremony, err := v.console.directory.BeginPasskey(v.context(), v.holder())
	if err != nil {
		return nil, err
	}
	return answer(mustJSON(begun{options, ceremony})), nil
}

func addPasskey(v *visit, in *passkeyAnswer) (*outcome, error) {
	return v.accountDone(v.console.directory.FinishPasskey(v.context(), v.holder(), in.ceremony, []byte(in.response)), "The passkey was added.")
}

// passkeyChoice is the command of the button beside a passkey.
type passkeyChoice struct{ passkey operator.PasskeyID }

func (c *passkeyChoice) read(f *form) {
	c.passkey = operator.PasskeyID(f.need("passkey", 100))
	f.typed("remove")
}

// removePasskeyForm says what it means to remove a passkey; n tells the forms apart.
func removePasskeyForm(k operator.Passkey, n int, last bool) Danger {
	d := Danger{
		Title: "Remove " + k.Name, Word: "remove", Button: "Remove", Action: "/account/passkey/remove", Fields: []Hidden{{"passkey", string(k.ID)}}, ID: fmt.Sprintf("-passkey%d", n),
		Will: []string{"Nobody signs in with this passkey any more. It cannot be put back: the device has to make a new one.", "Browsers that are signed in stay so: end those that you do not know."},
	}
	if last {
		d.Will = append(d.Will, "It is your only passkey: you sign in with password and code from then on. Without these it is refused.")
	}
	return d
}

// recoveryForm says what new recovery codes mean.
var recoveryForm = Danger{
	Title: "New recovery codes", Word: "new codes", Button: "Make new recovery codes", Action: "/account/recovery", ID: "-recovery",
	Will: []string{"The codes that you have, on paper or elsewhere, stop working now.", "New ones are shown once. Print them, or write them down, before you leave that page."},
}

// recoveryRenewal is the command of that form.
type recoveryRenewal struct{}

func (*recoveryRenewal) read(f *form) { f.typed(recoveryForm.Word) }

func removePasskey(v *visit, in *passkeyChoice) (*outcome, error) {
	return v.accountDone(v.console.directory.RemovePasskey(v.context(), v.holder(), in.passkey), "The passkey was removed. Delete it on the device too.")
}

func changePassword(v *visit, in *newPassword) (*outcome, error) {
	if err := v.console.directory.SetPassword(v.context(), v.holder(), in.password); err != nil {
		return v.accountAgain(err)
	}
	if !v.who.TOTP {
		return goTo("/account/app").saying("The password was set. It needs an authenticator app beside it."), nil
	}
	return goTo("/account").saying("The password was changed."), nil
}

// appPage offers an authenticator app its key.
type appPage struct {
	TOTP  totpView
	Wrong string
}

const appTitle = "Authenticator app"

func (v *visit) appPage(wrong string) (appPage, error) {
	offer, err := v.console.directory.BeginTOTP(v.context(), v.holder())
	if err != nil {
		return appPage{}, err
	}
	view, err := newTOTPView(offer)
	return appPage{view, wrong}, err
}

func showNewApp(v *visit) error {
	p, err := v.appPage("")
	if err != nil {
		return err
	}
	return v.show("app.html", appTitle, p)
}

func changeApp(v *visit, in *newCode) (*outcome, error) {
	err := v.console.directory.FinishTOTP(v.context(), v.holder(), in.code)
	if err == nil {
		return goTo("/account").saying("The authenticator app is set. If it replaced another, that one's codes do not work any more."), nil
	}
	var failed error
	out, err := again(err, "app.html", appTitle, func(wrong string) any {
		p, err := v.appPage(wrong)
		failed = err
		return p
	})
	if failed != nil {
		return nil, failed
	}
	return out, err
}

func renewRecovery(v *visit, _ *recoveryRenewal) (*outcome, error) {
	codes, err := v.console.directory.NewRecoveryCodes(v.context(), v.holder())
	if err != nil {
		return v.accountAgain(err)
	}
	return showOnce("codes.html", "Recovery codes", codesPage{Codes: reveal(codes), Next: "/account"}), nil
}

// sessionChoice is the command of the button beside a session.
type sessionChoice struct{ session operator.SessionID }

func (c *sessionChoice) read(f *form) { c.session = operator.SessionID(f.need("session", 100)) }

func endSession(v *visit, in *sessionChoice) (*outcome, error) {
	if err := v.console.directory.EndSession(v.context(), v.by(), v.who.ID, in.session); err != nil {
		return nil, err
	}
	return goTo("/account").saying("That browser is signed out."), nil
}

func endOtherSessions(v *visit, _ *nothing) (*outcome, error) {
	if err := v.console.directory.EndSessions(v.context(), v.by(), v.who.ID); err != nil {
		return nil, err
	}
	return goTo("/account").saying("All other browsers are signed out."), nil
}
