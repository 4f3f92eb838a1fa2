package console

import (
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

// Operators returns the pages about who works with this Gatehouse.
func Operators() Page {
	return Page{routes: append(approvalRoutes(),
		get("/operators", operatorsRead, listOperators),
		get("/operators/invite", operatorsChange, showInvite).demanding(),
		post("/operators/invite", operatorsChange, invite).demanding(),
		get("/operators/{id}", operatorsRead, showOperator),
		post("/operators/{id}/grant", operatorsChange, grantRole).demanding(),
		post("/operators/{id}/revoke", operatorsChange, revokeRole),
		post("/operators/{id}/suspend", operatorsChange, suspend),
		post("/operators/{id}/resume", operatorsChange, resume).demanding(),
		post("/operators/{id}/reinvite", operatorsChange, reinvite).demanding(),
		post("/operators/{id}/sign-out", operatorsChange, signOutOperator),
		post("/operators/{id}/end", operatorsChange, endSessionOf),
		post("/operators/{id}/hand-over", operatorsChange, handOver).demanding(),
		post("/operators/{id}/remove", operatorsChange, removeOperator).demanding(),
	)}
}

// stateBadge shows where an account stands in its life.
func stateBadge(a operator.Account) Badge {
	switch a.State {
	case operator.Active:
		return Badge{Good, "active"}
	case operator.Suspended:
		switch a.Reason {
		case "idle":
			return Badge{Warn, "suspended: idle"}
		case "scim":
			return Badge{Warn, "suspended: by SCIM"}
		}
		return Badge{Warn, "suspended"}
	case operator.Invited:
		return Badge{Plain, "invited"}
	}
	return Badge{Off, string(a.State)}
}

// factorsText says how somebody signs in.
func factorsText(a operator.Account) string {
	var out []string
	switch {
	case a.Passkeys == 1:
		out = append(out, "a passkey")
	case a.Passkeys > 1:
		out = append(out, count(int64(a.Passkeys))+" passkeys")
	}
	if a.Password && a.TOTP {
		out = append(out, "password and code")
	}
	if len(out) == 0 {
		return "not yet"
	}
	return strings.Join(out, ", ")
}

// operatorsPage lists the operators.
type operatorsPage struct {
	List    Table
	Waiting int
	Invite  bool
	Scim    string // address of the tokens of identity providers
	Removed string // address of the list with those who were removed, or without
	All     bool
}

func listOperators(v *visit) error {
	accounts, err := v.console.directory.Accounts(v.context())
	if err != nil {
		return err
	}
	approvals, err := v.console.directory.Approvals(v.context())
	if err != nil {
		return err
	}
	order, err := v.choice("sort", "Order", []string{"name", "-name", "state", "-state", "seen", "-seen"})
	if err != nil {
		return err
	}
	all, err := v.choice("all", "Removed ones, too", []string{"yes"})
	if err != nil {
		return err
	}
	by, down := strings.CutPrefix(order, "-")
	sortOperators(accounts, by, down)
	p := operatorsPage{Invite: v.may(operatorsChange), Scim: v.page(scimPath), All: all == "yes", List: Table{
		Caption: "Operators",
		Columns: []Column{
			sortable(v.r.URL, "Operator", "name", by, down), {Name: "E-mail"}, {Name: "Roles"}, sortable(v.r.URL, "State", "state", by, down),
			{Name: "Signs in with"}, sortable(v.r.URL, "Last seen", "seen", by, down),
		},
		Empty: Empty{Title: "There are no operators yet", Text: "The first one enrols by a link that the host makes.", Command: "gatehouse account invite EMAIL --role owner"},
	}}
	for _, a := range approvals {
		if a.State == operator.Waiting && v.now.Before(a.Until) {
			p.Waiting++
		}
	}
	removed := false
	for _, a := range accounts {
		if a.State == operator.Removed {
			removed = true
			if !p.All {
				continue
			}
		}
		b := stateBadge(a)
		p.List.Rows = append(p.List.Rows, Row{[]Cell{
			linkCell(operatorName(a), "/operators/"+string(a.ID)), textCell(a.Email), textCell(rolesText(a, v.now)),
			badgeCell(b.Tone, b.Text), textCell(factorsText(a)), timeCell(a.LastSeen),
		}})
	}
	switch {
	case p.All:
		p.Removed = v.with("all", "")
	case removed:
		p.Removed = v.with("all", "yes")
	}
	return v.show("operators.html", "Operators", p)
}

// sortOperators sorts by what a column shows; by nothing else it leaves the order of
// their making.
func sortOperators(list []operator.Account, by string, down bool) {
	compare := map[string]func(a, b operator.Account) int{
		"name": func(a, b operator.Account) int {
			return strings.Compare(strings.ToLower(operatorName(a)), strings.ToLower(operatorName(b)))
		},
		"state": func(a, b operator.Account) int { return strings.Compare(string(a.State), string(b.State)) },
		"seen":  func(a, b operator.Account) int { return a.LastSeen.Compare(b.LastSeen) },
	}[by]
	if compare == nil {
		return
	}
	slices.SortStableFunc(list, func(a, b operator.Account) int {
		if down {
			a, b = b, a
		}
		return compare(a, b)
	})
}

// invitePage is the form of an invitation.
type invitePage struct {
	Wrong             string
	Name, Email, Role string
	Roles             []roleChoice
	Today             string
}

// roleChoice is a role that can be given, with what it is for.
type roleChoice struct {
	Role     operator.Role
	Says     string
	Selected bool
}

// roleSays says in a sentence what a role is for.
func roleSays(r operator.Role) string {
	switch r {
	case operator.Owner:
		return "Everything, also who the operators are."
	case operator.Security:
		return "Everything but who the operators are."
	case operator.Operator:
		return "Keeps connections running: revokes, erases, rotates keys of services."
	case operator.Developer:
		return "Sees how the app's services fare, and no people."
	case operator.Auditor:
		return "Sees how everything is kept, and no people. Changes nothing."
	}
	return ""
}

func roleChoices(selected operator.Role) []roleChoice {
	var out []roleChoice
	for _, r := range operator.Roles() {
		out = append(out, roleChoice{r, roleSays(r), r == selected})
	}
	return out
}

func newInvitePage(v *visit, in *invitation, wrong string) invitePage {
	return invitePage{Wrong: wrong, Name: in.name, Email: in.email, Role: string(in.role), Roles: roleChoices(in.role), Today: v.now.Format(time.DateOnly)}
}

func showInvite(v *visit) error {
	return v.show("invite.html", "Invite an operator", newInvitePage(v, &invitation{role: operator.Developer}, ""))
}

// invitation is the command of the form of an invitation.
type invitation struct {
	name, email string
	role        operator.Role
	until       time.Time
}

func (i *invitation) read(f *form) {
	i.name, i.email = f.need("name", 100), f.need("email", 200)
	i.role, i.until = readRole(f), f.day("until")
}

func readRole(f *form) operator.Role {
	var names []string
	for _, r := range operator.Roles() {
		names = append(names, string(r))
	}
	return operator.Role(f.choice("role", names...))
}

// linkPage shows a link to enrol, once.
type linkPage struct {
	Name, Link string
	Path       string
}

func invite(v *visit, in *invitation) (*outcome, error) {
	token, account, err := v.console.directory.Invite(v.context(), v.by(), operator.Invitation{Name: in.name, Email: in.email, Role: in.role, Until: in.until})
	if err != nil {
		return again(plainWords(err), "invite.html", "Invite an operator", func(wrong string) any { return newInvitePage(v, in, wrong) })
	}
	return v.showLink(token.Reveal(), account), nil
}

func (v *visit) showLink(token string, a operator.Account) *outcome {
	return showOnce("link.html", "A link to enrol", linkPage{
		Name: operatorName(a), Link: EnrolLink(v.console.url.Scheme+"://"+v.console.url.Host, token), Path: "/operators/" + string(a.ID),
	})
}

// operatorPage is one operator. From where and with what somebody signs in is theirs: it is
// shown to whoever can end their sessions, or may open what the log seals.
type operatorPage struct {
	Account     operator.Account
	Name        string
	State       Badge
	Roles       []roleView
	Permissions string
	Factors     string
	Sessions    Table
	Change      bool
	Self        bool
	Invited     bool
	Active      bool
	Suspended   bool
	Removed     bool
	Grantable   []roleChoice
	Remove      Danger
	Reinvite    Danger
	Heirs       []Option
	Today       string
}

func (v *visit) account() (operator.Account, error) {
	return v.console.directory.Account(v.context(), operator.AccountID(v.r.PathValue("id")))
}

func showOperator(v *visit) error {
	a, err := v.account()
	if err != nil {
		return err
	}
	accounts, err := v.console.directory.Accounts(v.context())
	if err != nil {
		return err
	}
	sessions, err := v.console.directory.Sessions(v.context(), v.by(), a.ID)
	if err != nil {
		return err
	}
	at := "/operators/" + string(a.ID)
	p := operatorPage{
		Account: a, Name: operatorName(a), State: stateBadge(a), Roles: rolesOf(a, v.now), Factors: factorsText(a),
		Change: v.may(operatorsChange) && a.State != operator.Removed, Self: a.ID == v.who.ID,
		Invited: a.State == operator.Invited, Active: a.State == operator.Active, Suspended: a.State == operator.Suspended, Removed: a.State == operator.Removed,
		Grantable: roleChoices(""), Today: v.now.Format(time.DateOnly),
		Sessions: sessionTable(sessions, at+"/end", nil),
	}
	for _, row := range p.Sessions.Rows {
		if !p.Self && !v.may(operatorsChange) && !v.may(logReveal) {
			row.Cells[sessionBrowser], row.Cells[sessionAddress] = textCell(""), textCell("")
		}
		if !p.Change {
			row.Cells[sessionAct] = textCell("")
		}
	}
	p.Sessions.dropEmpty()
	var may []string
	for _, x := range operator.Permissions() {
		if a.May(x, v.now) {
			may = append(may, string(x))
		}
	}
	p.Permissions = strings.Join(may, ", ")
	p.Remove = Danger{
		Title: "Remove this operator", Action: at + "/remove", Word: "remove", Button: "Remove " + p.Name,
		Will: []string{
			"All their sessions end now, and they cannot sign in again.",
			"Their name, e-mail address, passkeys, password and roles are deleted.",
			"Their random number stays in the log, so that what they did still has one author.",
		},
	}
	p.Reinvite = Danger{
		Title: "Lost everything: make a new link", Action: at + "/reinvite", Word: newLinkWord, Button: "Make a new link", ID: "-link",
		Will: []string{
			"Their passkeys, password, authenticator app and recovery codes are deleted now, and all their sessions end.",
			"They cannot sign in until they have used the link, which is shown once and works once. They keep their roles.",
			"Whoever has the link has the account: hand it over by a way that nobody else reads.",
		},
	}
	if decides(a) {
		p.Reinvite.Approval = "They may decide approvals, so this takes a second operator, if there is one."
		p.Remove.Approval = "They may decide approvals, so this takes a second operator, if there is one."
	}
	for _, o := range accounts {
		if o.ID != a.ID && o.State == operator.Active {
			p.Heirs = append(p.Heirs, Option{Value: string(o.ID), Label: fullName(o)})
		}
	}
	return v.show("operator.html", p.Name, p)
}

// decides reports whether an account has a role that decides approvals.
func decides(a operator.Account) bool {
	return slices.ContainsFunc(a.Grants, func(g operator.Grant) bool { return slices.Contains(g.Role.Permissions(), approvalsDecide) })
}

// there is the page of the operator that a command is about.
func (v *visit) there() string { return "/operators/" + v.r.PathValue("id") }

// grantEntry is the command of the form that gives a role.
type grantEntry struct {
	role  operator.Role
	until time.Time
}

func (g *grantEntry) read(f *form) { g.role, g.until = readRole(f), f.day("until") }

func grantRole(v *visit, in *grantEntry) (*outcome, error) {
	a, err := v.account()
	if err != nil {
		return nil, err
	}
	asked, err := v.withApproval(func(by operator.Actor) error {
		return v.console.directory.Grant(v.context(), by, a.ID, operator.Grant{Role: in.role, Until: in.until})
	})
	if err != nil {
		err = wire.Public(err, orText(err, "The role could not be given. An end must lie ahead."))
	}
	return outcomeOf(asked, err, v.there(), "The role was given.")
}

// orText returns what is public about an error, or else a text, if the input was wrong.
func orText(err error, text string) string {
	p := wire.ProblemOf(err)
	if p.Detail == "" && p.Status == 400 {
		return text
	}
	return p.Detail
}

// roleEntry is the command of the button beside a role.
type roleEntry struct{ role operator.Role }

func (r *roleEntry) read(f *form) { r.role = readRole(f) }

func revokeRole(v *visit, in *roleEntry) (*outcome, error) {
	a, err := v.account()
	if err != nil {
		return nil, err
	}
	asked, err := v.withApproval(func(by operator.Actor) error { return v.console.directory.Revoke(v.context(), by, a.ID, in.role) })
	return outcomeOf(asked, err, v.there(), "The role was taken away, also in sessions under way.")
}

func suspend(v *visit, _ *nothing) (*outcome, error) {
	a, err := v.account()
	if err != nil {
		return nil, err
	}
	if a.ID == v.who.ID {
		return nil, wire.Refuse(gatehouse.ErrConflict, "console/self", "This is your own account. Another operator can suspend it.")
	}
	if err := v.console.directory.Suspend(v.context(), v.by(), a.ID); err != nil {
		return nil, err
	}
	return goTo(v.there()).saying("The account is suspended: its sessions ended, and it does not sign in."), nil
}

func resume(v *visit, _ *nothing) (*outcome, error) {
	a, err := v.account()
	if err != nil {
		return nil, err
	}
	if err := v.console.directory.Resume(v.context(), v.by(), a.ID); err != nil {
		return nil, err
	}
	return goTo(v.there()).saying("The account signs in again, with the roles that it had."), nil
}

// reinvitation is the command of the form that makes a new link.
type reinvitation struct{ typed string }

func (r *reinvitation) read(f *form) { r.typed = f.text("typed", 100) }

// newLinkWord is typed before an account loses what it signs in with.
const newLinkWord = "new link"

func reinvite(v *visit, in *reinvitation) (*outcome, error) {
	a, err := v.account()
	if err != nil {
		return nil, err
	}
	if a.State != operator.Invited && in.typed != newLinkWord {
		return nil, errTyped
	}
	var out *outcome
	asked, err := v.withApproval(func(by operator.Actor) error {
		token, account, err := v.console.directory.Reinvite(v.context(), by, a.ID)
		if err == nil {
			out = v.showLink(token.Reveal(), account)
		}
		return err
	})
	if out != nil && err == nil {
		return out, nil
	}
	return outcomeOf(asked, err, v.there(), "")
}

func signOutOperator(v *visit, _ *nothing) (*outcome, error) {
	a, err := v.account()
	if err != nil {
		return nil, err
	}
	if err := v.console.directory.EndSessions(v.context(), v.by(), a.ID); err != nil {
		return nil, err
	}
	return goTo(v.there()).saying("Their sessions ended."), nil
}

func endSessionOf(v *visit, in *sessionChoice) (*outcome, error) {
	a, err := v.account()
	if err != nil {
		return nil, err
	}
	if err := v.console.directory.EndSession(v.context(), v.by(), a.ID, in.session); err != nil {
		return nil, err
	}
	return goTo(v.there()).saying("That browser is signed out."), nil
}

// heirEntry is the command of the form that hands an account's roles over.
type heirEntry struct{ to operator.AccountID }

func (h *heirEntry) read(f *form) {
	h.to = operator.AccountID(f.need("to", 100))
	f.typed("hand over")
}

func handOver(v *visit, in *heirEntry) (*outcome, error) {
	a, err := v.account()
	if err != nil {
		return nil, err
	}
	asked, err := v.withApproval(func(by operator.Actor) error { return v.console.directory.HandOver(v.context(), by, a.ID, in.to) })
	return outcomeOf(asked, err, v.there(), "The roles were handed over.")
}

// removal is the command of the form that removes an operator.
type removal struct{}

func (*removal) read(f *form) { f.typed("remove") }

func removeOperator(v *visit, _ *removal) (*outcome, error) {
	a, err := v.account()
	if err != nil {
		return nil, err
	}
	if a.ID == v.who.ID {
		return nil, wire.Refuse(gatehouse.ErrConflict, "console/self", "This is your own account. Another operator can remove it.")
	}
	asked, err := v.withApproval(func(by operator.Actor) error { return v.console.directory.Remove(v.context(), by, a.ID) })
	return outcomeOf(asked, err, "/operators", "The operator was removed.")
}
