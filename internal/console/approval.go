package console

import (
	"errors"
	"strings"

	"gatehouse/internal/identity/operator"
)

// withApproval does what may take a second operator. If it does, and none has agreed
// to exactly this yet, it is proposed: asked is true, and nothing was done. Once
// somebody has agreed, the same form does it.
func (v *visit) withApproval(do func(by operator.Actor) error) (asked bool, err error) {
	err = do(v.by())
	var need *operator.NeedApproval
	if !errors.As(err, &need) {
		return false, err
	}
	known, err := v.console.directory.Approvals(v.context())
	if err != nil {
		return false, err
	}
	for _, a := range known {
		if a.AskedBy != v.who.ID || a.Act != need.Proposal.Act || a.Digest != need.Proposal.Digest || !v.now.Before(a.Until) {
			continue
		}
		switch a.State {
		case operator.Approved:
			return false, do(v.by().With(a.ID))
		case operator.Waiting:
			return true, nil
		}
	}
	_, err = v.console.directory.Propose(v.context(), v.by(), need.Proposal)
	return err == nil, err
}

// askedSaid is what somebody is told whose act waits for a second operator.
const askedSaid = "Nothing was done yet: this takes two. Another operator was asked to approve it; when they have, do the same again within a day."

// outcomeOf goes to a page after what may have taken a second operator.
func outcomeOf(asked bool, err error, to, said string) (*outcome, error) {
	switch {
	case err != nil:
		return nil, err
	case asked:
		return goTo("/operators/approvals").saying(askedSaid), nil
	}
	return goTo(to).saying(said), nil
}

// approvalRoutes are the pages about what takes two.
func approvalRoutes() []route {
	return []route{
		get("/operators/approvals", operatorsRead, showApprovals),
		post("/operators/approvals/approve", approvalsDecide, approve).demanding(),
		post("/operators/approvals/decline", approvalsDecide, decline).demanding(),
		post("/operators/approvals/restore", restoreApprove, proposeRestore).demanding(),
	}
}

// approvalsPage lists what waits for a second operator, and what was decided.
type approvalsPage struct {
	Waiting []approvalView
	Past    Table
	// Restore offers to propose that a backup is restored.
	Restore bool
}

// approvalView is something that waits.
type approvalView struct {
	operator.Approval
	What, About, By string
	// Mine says that whoever looks asked for it, or that it is about them; Decide that
	// they may decide it.
	Mine, Decide bool
}

// actName says what an act does.
func actName(a operator.Act) string {
	switch a {
	case operator.ActDestroyKey:
		return "Destroy a key"
	case operator.ActRevokeEverything:
		return "Cut all connections off"
	case operator.ActRestore:
		return "Restore a backup"
	case operator.ActChangeOwner:
		return "Change who may decide"
	case operator.ActScimToken:
		return "Make a token for an identity provider"
	}
	return string(a)
}

func showApprovals(v *visit) error {
	all, err := v.console.directory.Approvals(v.context())
	if err != nil {
		return err
	}
	names, err := v.fullNames()
	if err != nil {
		return err
	}
	p := approvalsPage{Restore: v.may(restoreApprove), Past: Table{
		Caption: "Approvals of the past",
		Columns: []Column{{Name: "What"}, {Name: "About"}, {Name: "Asked by"}, {Name: "Asked"}, {Name: "State"}, {Name: "Decided by"}},
		Empty:   Empty{Title: "Nothing has taken two yet", Text: "Destroying a key, cutting everything off, restoring a backup beside this installation, making a token for an identity provider, and changing who may decide wait here for a second operator."},
	}}
	for _, a := range all {
		if a.State == operator.Waiting && v.now.Before(a.Until) {
			mine := a.AskedBy == v.who.ID || a.Subject == v.who.ID
			p.Waiting = append(p.Waiting, approvalView{a, actName(a.Act), about(a, names), names[a.AskedBy], mine, !mine && v.may(approvalsDecide)})
			continue
		}
		tone, state := Off, string(a.State)
		switch {
		case a.State == operator.Approved && v.now.Before(a.Until):
			tone = Good
		case a.State == operator.Approved || a.State == operator.Waiting:
			state += ", over"
		case a.State == operator.Declined:
			tone = Warn
		case a.State == operator.Altered:
			tone, state = Bad, "altered in the database"
		}
		p.Past.Rows = append(p.Past.Rows, Row{[]Cell{
			textCell(actName(a.Act)), textCell(about(a, names)), textCell(names[a.AskedBy]), timeCell(a.Asked), badgeCell(tone, state), textCell(names[a.DecidedBy]),
		}})
	}
	return v.show("approvals.html", "Approvals", p)
}

// about says what an approval is about, with what tells the accounts apart that it may be
// about in the place of their numbers: whom it is about, and who gets something by it.
func about(a operator.Approval, names map[operator.AccountID]string) string {
	if a.Subject == "" {
		return a.Target
	}
	words := strings.Split(a.Target, " ")
	for i, w := range words {
		if name := names[operator.AccountID(w)]; w != "" && name != "" {
			words[i] = name
		}
	}
	return strings.Join(words, " ")
}

// names returns what the operators are called; who was removed is a number. Who is called
// as another, by the letters that one sees, is named in full.
func (v *visit) names() (map[operator.AccountID]string, error) {
	accounts, err := v.console.directory.Accounts(v.context())
	if err != nil {
		return nil, err
	}
	names := map[operator.AccountID]string{"": "–"}
	called := map[string]int{}
	for _, a := range accounts {
		called[strings.ToLower(operatorName(a))]++
	}
	for _, a := range accounts {
		names[a.ID] = operatorName(a)
		if called[strings.ToLower(operatorName(a))] > 1 {
			names[a.ID] = fullName(a)
		}
	}
	return names, nil
}

// fullNames returns what tells the operators apart for whoever decides about one: the
// name, which they choose themselves, the address, and the beginning of the number, which
// nobody chooses.
func (v *visit) fullNames() (map[operator.AccountID]string, error) {
	accounts, err := v.console.directory.Accounts(v.context())
	if err != nil {
		return nil, err
	}
	names := map[operator.AccountID]string{"": "–"}
	for _, a := range accounts {
		names[a.ID] = fullName(a)
	}
	return names, nil
}

func fullName(a operator.Account) string {
	short := string(a.ID)[:min(8, len(a.ID))]
	words := []string{a.Name}
	switch {
	case a.Email != "" && a.Name != "":
		words = append(words, "<"+a.Email+">")
	case a.Email != "":
		words[0] = a.Email
	case a.Name == "":
		return short + "…"
	}
	return strings.Join(append(words, "("+short+"…)"), " ")
}

// operatorName returns what an operator is called in lists.
func operatorName(a operator.Account) string {
	switch {
	case a.Name != "":
		return a.Name
	case a.Email != "":
		return a.Email
	}
	return string(a.ID)[:min(8, len(a.ID))] + "…"
}

// approvalChoice is the command of the buttons beside what waits.
type approvalChoice struct{ approval operator.ApprovalID }

func (c *approvalChoice) read(f *form) { c.approval = operator.ApprovalID(f.need("approval", 100)) }

func approve(v *visit, in *approvalChoice) (*outcome, error) {
	if err := v.console.directory.Approve(v.context(), v.by(), in.approval); err != nil {
		return nil, err
	}
	return goTo("/operators/approvals").saying("You approved it. Whoever asked can do it now, once."), nil
}

func decline(v *visit, in *approvalChoice) (*outcome, error) {
	if err := v.console.directory.Decline(v.context(), v.by(), in.approval); err != nil {
		return nil, err
	}
	return goTo("/operators/approvals").saying("You declined it. Nothing will be done."), nil
}
