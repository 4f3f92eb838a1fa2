package console

import (
	"context"
	"strings"
	"time"
	"unicode"

	"gatehouse/internal/identity/operator"
)

// EverythingSource ends all connections of a scope at once.
type EverythingSource interface {
	// Everything says what stands in a scope; one that does not exist is
	// gatehouse.ErrInvalid.
	Everything(ctx context.Context, s EverythingScope) (EverythingView, error)
	// CutOff begins to end it, after operator.Directory.Allow, and does not wait.
	CutOff(ctx context.Context, by operator.Actor, s EverythingScope, reason string) error
	// CuttingOff is how far that is, or what came of it last.
	CuttingOff() CuttingOff
}

// EverythingScope narrows what ends to an app or a platform. "" is every one.
type EverythingScope struct{ App, Platform string }

// word is what must be typed: a form that was sent for another scope does nothing.
func (s EverythingScope) word() string {
	switch {
	case s.App != "" && s.Platform != "":
		return s.App + " " + s.Platform
	case s.App+s.Platform != "":
		return s.App + s.Platform
	}
	return "everything"
}

// EverythingView is what would end.
type EverythingView struct {
	// Apps and Platforms are what the scope can be narrowed to.
	Apps, Platforms []string
	// Connections is how many work; less than zero when nobody has counted them.
	Connections int64
	// Services lose their keys, as far as the configuration says.
	Services []string
}

// CuttingOff is how far it is, or what came of the last one. Ended is zero while it
// runs, and Began before the first since the start.
type CuttingOff struct {
	Began, Ended time.Time
	Scope        EverythingScope
	Done, Total  int64
	// Failed says why it was not finished; "" if it was.
	Failed string
	// Connections and People are how many were ended and have to connect again, Keys how
	// many keys of services; Outstanding is what a platform has not confirmed, and
	// NotOffered what it offers no way to end.
	Connections, People, Keys, Outstanding, NotOffered int64
}

// maxReason is how long a reason may be, in bytes: as a connection keeps it.
const maxReason = 200

// Everything returns the page that cuts everything off.
func Everything(from EverythingSource) Page {
	p := everythingPage{from}
	return Page{routes: []route{
		get("/connections/everything", everythingRevoke, p.show),
		stream("/connections/everything/live", everythingRevoke, p.feed),
		post("/connections/everything/revoke", everythingRevoke, p.revoke).demanding(),
	}}
}

type everythingPage struct{ from EverythingSource }

// cuttingData is the part of the page that keeps itself up to date.
type cuttingData struct {
	CuttingOff
	Running  bool
	Progress Progress
	Badge    Badge
}

func cuttingOf(c CuttingOff) cuttingData {
	d := cuttingData{CuttingOff: c, Running: !c.Began.IsZero() && c.Ended.IsZero()}
	d.Progress = Progress{Label: "Asking the platforms", Done: c.Done, Total: c.Total}
	switch {
	case d.Running:
		d.Badge = Badge{Warn, "under way"}
	case c.Failed != "":
		d.Badge = Badge{Bad, "not finished"}
	case c.Outstanding > 0:
		d.Badge = Badge{Warn, "cut off here, platforms to confirm"}
	default:
		d.Badge = Badge{Good, "done"}
	}
	return d
}

func (p everythingPage) show(v *visit) error {
	s := EverythingScope{v.query("app"), v.query("platform")}
	view, err := p.from.Everything(v.context(), s)
	if err != nil {
		return err
	}
	data := struct {
		Filter   Filter
		Scope    EverythingScope
		Danger   Danger
		Reason   Field
		Services []string
		Known    bool
		N        int64
		Cutting  cuttingData
	}{
		Scope: s, Services: view.Services, Known: view.Connections >= 0, N: view.Connections, Cutting: cuttingOf(p.from.CuttingOff()),
		Filter: Filter{Action: "/connections/everything", Fields: []Field{
			{Name: "app", Label: "App", Type: "select", Options: anyOf(s.App, "All", view.Apps)},
			{Name: "platform", Label: "Platform", Type: "select", Options: anyOf(s.Platform, "All", view.Platforms)},
		}},
		Reason: Field{Name: "reason", Label: "Why", Required: true, Max: maxReason, Autocomplete: "off", Hint: "It stands in the log and with each connection. Name nobody."},
		Danger: Danger{
			Title: "Cut off " + s.words(), Word: s.word(), Button: "Cut off", Action: "/connections/everything/revoke",
			Fields: []Hidden{{"app", s.App}, {"platform", s.Platform}},
			Will: []string{
				"The keys of the services concerned stop working at once, and so does every handle. Your app can call nothing until it has a new key.",
				"Every connection is cut off here, then its grant is ended at its platform, which is asked again until it confirms. X's app-only bearer is invalidated.",
				"The vault's keys get new versions.",
				"Nothing of it can be taken back: the people have to connect again.",
				"What others keep is yours to replace: client secrets at the platforms, the root key, the secret that signs events.",
			},
		},
	}
	if s != (EverythingScope{}) {
		data.Filter.Clear = "/connections/everything"
	}
	if two, err := v.console.directory.TakesTwo(v.context(), v.by()); err != nil {
		return err
	} else if two {
		data.Danger.Approval = "This takes two: another operator has to agree to exactly this scope; then send this form again. If there is no time for that, whoever has the host can do it alone: gatehouse connect revoke --all."
	}
	return v.show("everything.html", "Cut everything off", data)
}

// words say what a scope is, to people.
func (s EverythingScope) words() string {
	switch {
	case s.App != "" && s.Platform != "":
		return "every connection of app " + s.App + " at " + s.Platform
	case s.App != "":
		return "every connection of app " + s.App
	case s.Platform != "":
		return "every connection at " + s.Platform
	}
	return "every connection"
}

// Proposal is what a second operator agrees to: the scope, and nothing else that could
// be more than they saw. The reason is told, and may be put better the second time.
func (s EverythingScope) Proposal(reason string) operator.Proposal {
	return operator.Proposal{
		Act: operator.ActRevokeEverything, Target: s.words() + ", because: " + reason,
		Digest: operator.Digest(operator.ActRevokeEverything, "app", s.App, "platform", s.Platform),
	}
}

func (p everythingPage) feed(v *visit, to *feed) error {
	for last, first := (cuttingData{}), true; ; first = false {
		now := cuttingOf(p.from.CuttingOff())
		if first || now.Running || last.Running || !now.Began.Equal(last.Began) {
			if err := to.send("replace", "everything.html", "cutting", now); err != nil {
				return err
			}
		}
		last = now
		if err := to.wait(nil, stateEvery); err != nil {
			return err
		}
	}
}

// cuttingOff is the form that ends everything in a scope.
type cuttingOff struct {
	scope  EverythingScope
	reason string
}

func (c *cuttingOff) read(f *form) {
	c.scope = EverythingScope{f.text("app", 100), f.text("platform", 100)}
	c.reason = f.need("reason", maxReason)
	if strings.ContainsFunc(c.reason, func(r rune) bool { return !unicode.IsPrint(r) }) {
		f.refuse("reason", "has characters that cannot be seen")
	}
	f.typed(c.scope.word())
}

func (p everythingPage) revoke(v *visit, in *cuttingOff) (*outcome, error) {
	asked, err := v.withApproval(func(by operator.Actor) error { return p.from.CutOff(v.context(), by, in.scope, in.reason) })
	return outcomeOf(asked, err, "/connections/everything", "It has begun. You need not wait here.")
}
