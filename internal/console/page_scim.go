package console

import (
	"context"
	"net/url"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
)

// ScimSource tells of the tokens with which identity providers keep the operators'
// accounts, and changes them.
type ScimSource interface {
	Scim(ctx context.Context) (ScimView, error)
	// MakeToken makes a token and returns it: it is not kept. Zero life is the usual one;
	// all others end after others, and with less than zero they stay as they are. Where
	// it takes two, and nobody else has agreed, it is *operator.NeedApproval.
	MakeToken(ctx context.Context, by operator.Actor, life, others time.Duration) (NewScimToken, error)
	RevokeToken(ctx context.Context, by operator.Actor, id string) error
}

// ScimView is what the page about identity providers shows.
type ScimView struct {
	// Enabled says that the door for identity providers is open.
	Enabled bool
	// URL is what an identity provider is told; "" where there is no door.
	URL    string
	Tokens []ScimToken
}

// ScimToken is a token in the list, without what is presented.
type ScimToken struct {
	// State is "in use", "ends soon" or "expired".
	ID, State string
	// By is the account that made it, "" for the host.
	By            operator.AccountID
	Created, Ends time.Time
	// Used is zero if it was never presented.
	Used time.Time
}

// NewScimToken is a token that was made. Text is shown once.
type NewScimToken struct {
	ID   string
	Text secret.Text
	Ends time.Time
}

// Scim returns the pages about identity providers' tokens, below Operators.
func Scim(from ScimSource) Page {
	p := scimPage{from}
	return Page{routes: []route{
		get(scimPath, operatorsRead, p.list),
		post(scimPath+"/tokens", operatorsChange, p.make).demanding(),
		post(scimPath+"/tokens/{token}/revoke", operatorsChange, p.revoke).demanding(),
	}}
}

const scimPath = "/operators/scim"

type scimPage struct{ from ScimSource }

// scimData is what the page shows.
type scimData struct {
	S    ScimView
	Live int
	List Table
	// Make is where a token is made; "" if whoever looks may not.
	Make          string
	Approval      bool
	Lives, Others []Option
	Ends          []Danger
}

func (p scimPage) list(v *visit) error {
	view, err := p.from.Scim(v.context())
	if err != nil {
		return err
	}
	names, err := v.fullNames()
	if err != nil {
		return err
	}
	data := scimData{S: view, List: Table{
		Caption: "Tokens of identity providers", Columns: []Column{{Name: "Token"}, {Name: "State"}, {Name: "Made"}, {Name: "Made by"}, {Name: "Last used"}, {Name: "Ends"}},
		Empty: Empty{Title: "No identity provider has a token", Text: "With one, Okta, Entra ID or another makes, suspends and removes operators' accounts by itself. Make one here, or on the host:", Command: "gatehouse account scim-token create"},
	}}
	for _, k := range view.Tokens {
		tone := Good
		switch k.State {
		case "ends soon":
			tone = Warn
		case "expired":
			tone = Off
		}
		if tone != Off {
			data.Live++
		}
		by := textCell("the host")
		if k.By != "" {
			// Who was removed has no name any more, and their number stays.
			by = linkCell(names[k.By], "/operators/"+url.PathEscape(string(k.By)))
			if names[k.By] == "" {
				by = idCell(string(k.By), "")
			}
		}
		data.List.Rows = append(data.List.Rows, Row{Cells: []Cell{idCell(k.ID, ""), badgeCell(tone, k.State), timeCell(k.Created), by, timeCell(k.Used), untilCell(k.Ends)}})
		if v.may(operatorsChange) {
			d := Danger{
				Title: "End the token " + brief(k.ID), Word: "revoke", Button: "End this token", Action: scimPath + "/tokens/" + url.PathEscape(k.ID) + "/revoke",
				Will: []string{"It is refused from now on, and cannot be taken back. Accounts stay as they are: nobody is suspended by it."},
			}
			if !k.Used.IsZero() {
				d.Will = append(d.Will, "The identity provider that has it can suspend nobody any more, and leavers stay, until it has another.")
			}
			data.Ends = append(data.Ends, d)
		}
	}
	if v.may(operatorsChange) {
		data.Make = scimPath + "/tokens"
		data.Lives = []Option{{Value: "", Label: "1 year"}, {Value: "2160h", Label: "90 days"}, {Value: "720h", Label: "30 days"}}
		data.Others = []Option{{Value: "", Label: "Stay as they are"}}
		for _, s := range spans[:3] {
			data.Others = append(data.Others, Option{Value: s.word, Label: "End after " + s.label})
		}
		if data.Approval, err = v.console.directory.TakesTwo(v.context(), v.by()); err != nil {
			return err
		}
	}
	return v.show("scim.html", "SCIM tokens", data)
}

// makingToken is the form that makes a token.
type makingToken struct{ life, others time.Duration }

func (c *makingToken) read(f *form) {
	c.life, c.others = f.span("life"), f.span("others")
	if c.life < 0 {
		f.refuse("life", "is none of what can be chosen")
	}
	if c.others < 0 || c.others > 7*24*time.Hour {
		f.refuse("others", "is none of what can be chosen")
	}
	if c.others == 0 {
		c.others = -1
	}
}

func (p scimPage) make(v *visit, in *makingToken) (*outcome, error) {
	var made NewScimToken
	asked, err := v.withApproval(func(by operator.Actor) (err error) {
		made, err = p.from.MakeToken(v.context(), by, in.life, in.others)
		return err
	})
	if err != nil || asked {
		return outcomeOf(asked, err, scimPath, "")
	}
	view, err := p.from.Scim(v.context())
	if err != nil {
		// The token exists, and is shown whatever becomes of this look.
		view = ScimView{Enabled: true}
	}
	return showOnce("scim-made.html", "New token", struct {
		K       NewScimToken
		Text    string
		URL     string
		Enabled bool
		Back    string
	}{made, made.Text.Reveal(), view.URL, view.Enabled, scimPath}), nil
}

func (p scimPage) revoke(v *visit, _ *revoking) (*outcome, error) {
	if err := p.from.RevokeToken(v.context(), v.by(), v.r.PathValue("token")); err != nil {
		return nil, err
	}
	return goTo(scimPath).saying("The token works no more."), nil
}
