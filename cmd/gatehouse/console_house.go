package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/cases"
	"gatehouse/internal/console"
	"gatehouse/internal/outbox"
	"gatehouse/internal/policy"
	"gatehouse/internal/vault"
)

// housePages are the pages about the house itself: Health, Operators, Reviews.
func (s *server) housePages() []console.Page {
	return []console.Page{console.Operators(), console.Scim(scimSource{s.parts}), console.Reviews(s.reviews), console.Health(healthSource{s.parts, time.Now()})}
}

// healthSource says how this process is, to whoever watches it in a browser.
type healthSource struct {
	*parts
	started time.Time
}

func (h healthSource) Health(ctx context.Context) (console.HealthView, error) {
	view := console.HealthView{Node: h.cfg.Node, Version: version, Started: h.started}
	duties, err := h.dutiesCheck(ctx)
	if err != nil {
		return view, err
	}
	events, err := h.eventsCheck(ctx)
	if err != nil {
		return view, err
	}
	view.Checks = append(view.Checks, rootKeyCheck(h.vault.RootStatus()), h.logCheck(), h.storeCheck(ctx), duties, events, h.modeCheck())
	view.Checks = append(view.Checks, checksOf(backupFindings(ctx, h.parts, time.Now()), true)...)
	view.Checks = append(view.Checks, checksOf(clockFindings(h.connect.Clocks()), false)...)
	if err := checkCA(ctx, h.parts); err != nil {
		view.Checks = append(view.Checks, console.Check{
			Name: "Local certificates", Tone: console.Warn, State: "must be renewed", Says: "The certificate authority that your app's clients trust ends soon, or is not the one in its file.",
			Next: "Restart Gatehouse: it renews it at a start. Then give clients the new ca.pem.",
		})
	}
	if err := checkModes(h.cfg); err != nil {
		view.Checks = append(view.Checks, console.Check{
			Name: "Files", Tone: console.Bad, State: "others can read them", Says: "Other users of this machine can read a key or the database.", Next: "'gatehouse doctor' names the file; chmod 600 it.",
		})
	}
	slices.SortStableFunc(view.Checks, func(a, b console.Check) int { return urgency(b.Tone) - urgency(a.Tone) })
	return view, nil
}

// urgency orders checks: what needs somebody comes first.
func urgency(t console.Tone) int {
	switch t {
	case console.Bad:
		return 2
	case console.Warn:
		return 1
	}
	return 0
}

// checksOf makes the doctor's findings one check each; good says whether those that
// need nobody are shown too.
func checksOf(found []finding, good bool) []console.Check {
	var out []console.Check
	for _, f := range found {
		c := console.Check{Name: upper(f.Check), Tone: console.Good, State: "in order", Says: upper(f.Text) + ".", Next: f.Next}
		warning, isWarning := strings.CutPrefix(f.Text, "warning: ")
		switch {
		case !f.OK:
			c.Tone, c.State = console.Bad, "needs somebody"
		case isWarning:
			c.Tone, c.State, c.Says = console.Warn, "not in order", upper(warning)+"."
		case !good:
			continue
		}
		out = append(out, c)
	}
	return out
}

func upper(s string) string { return strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):] }

// someOf says how many there are of what is read up to a bound.
func someOf(n, most int, one, many string) string {
	switch {
	case n == 1:
		return "1 " + one
	case n >= most:
		return "at least " + strconv.Itoa(most) + " " + many
	}
	return strconv.Itoa(n) + " " + many
}

// mostCounted bounds what the page reads to count it.
const mostCounted = 100

func (h healthSource) dutiesCheck(ctx context.Context) (console.Check, error) {
	overdue, err := h.cases.List(ctx, cases.Filter{State: cases.Overdue, Limit: mostCounted})
	c := console.Check{Name: "Duties", Tone: console.Good, State: "none overdue", Says: "Whoever asked to be deleted is being deleted in time.", Href: "/people"}
	if len(overdue) > 0 {
		c.Tone, c.State = console.Bad, someOf(len(overdue), mostCounted, "overdue", "overdue")
		c.Says = "The app has not answered that it deleted what it has, and the deadline is over. What is held here goes as soon as the app was told."
		c.Next = "See why the app does not answer its events: 'gatehouse case list --state overdue'. Each is done when it answers."
	}
	return c, err
}

func (h healthSource) eventsCheck(ctx context.Context) (console.Check, error) {
	dead, err := h.outbox.List(ctx, outbox.Selection{State: outbox.Dead, Limit: mostCounted})
	c := console.Check{Name: "Events to the app", Tone: console.Good, State: "delivered", Says: "Nothing that the app must be told was given up."}
	if len(dead) > 0 {
		c.Tone, c.State = console.Bad, someOf(len(dead), mostCounted, "given up", "given up")
		c.Says = "The app did not take what it was told for days."
		c.Next = "Mend the endpoint at events.url, then 'gatehouse events list --state dead' and 'gatehouse events replay'."
	}
	return c, err
}

func (h healthSource) modeCheck() console.Check {
	r := h.inForce.Load()
	if r.policy.Mode() == policy.Report {
		return console.Check{
			Name: "Enforcement", Tone: console.Warn, State: "report only", Href: "/purposes",
			Says: "What no purpose declares is allowed and reported, until the end of " + r.cfg.Until.String() + ".",
			Next: "Declare what is really used ('gatehouse policy suggest'), and take mode: report out.",
		}
	}
	return console.Check{Name: "Enforcement", Tone: console.Good, State: "on", Says: "What no purpose declares does not happen.", Href: "/purposes"}
}

// rootKeyCheck says how the root key is. One that does not answer needs somebody before
// what is unwrapped ends.
func rootKeyCheck(root vault.RootStatus) console.Check {
	c := console.Check{Name: "Root key", State: string(root.State), Href: "/keys"}
	switch root.State {
	case vault.RootAnswers:
		c.Tone, c.Says = console.Good, "The key that wraps all others can be used."
	case vault.RootLost:
		c.Tone, c.Says = console.Bad, "The system that holds the root key does not answer."
		if !root.Until.IsZero() {
			c.Says += " What is unwrapped serves until " + root.Until.UTC().Format("2 Jan 15:04 UTC") + "."
		}
		c.Next = "Bring the key management system back, or its network; 'gatehouse keys status' says more."
	default:
		c.Tone, c.Says = console.Bad, "Nothing in the store can be opened, and calls are refused."
		c.Next = "Unseal with 'gatehouse keys unseal', or see why the key management system says no: 'gatehouse keys status'."
	}
	return c
}

func (h healthSource) logCheck() console.Check {
	state := h.log.State()
	c := console.Check{Name: "Log", State: string(state.Condition), Href: "/log"}
	if state.Condition == audit.Writable {
		c.Tone, c.Says = console.Good, "Every call is written down before anything is delivered."
		return c
	}
	c.Tone, c.Says = console.Bad, "The log cannot be written, so the gates are closed. Taking access away still works."
	if !state.Since.IsZero() {
		c.Says += " Since " + state.Since.UTC().Format("2 Jan 15:04:05 UTC") + "."
	}
	c.Next = "Look at the disk or database that holds the log: space, permissions, connection. 'gatehouse doctor' names it."
	return c
}

func (h healthSource) storeCheck(ctx context.Context) console.Check {
	c := console.Check{Name: "Database", Tone: console.Good, State: "answers", Says: "The database answers."}
	began := time.Now()
	if _, err := h.db.Environment(ctx); err != nil {
		c.Tone, c.State, c.Says = console.Bad, "does not answer", "The database does not answer."
		c.Next = "Look at the database and its network; the program's log has its words."
		return c
	}
	c.Says += " It took " + strconv.FormatFloat(float64(time.Since(began).Microseconds())/1000, 'f', 2, 64) + " ms" + "."
	return c
}
