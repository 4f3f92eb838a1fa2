package main

import (
	"context"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/console"
	"gatehouse/internal/vault"
)

// housePages are the pages about the house itself: Health, Operators, Reviews.
func (s *server) housePages() []console.Page {
	return []console.Page{console.Operators(), console.Reviews(s.reviews), console.Health(healthSource{s.parts, time.Now()})}
}

// healthSource says how this process is, to whoever watches it in a browser.
type healthSource struct {
	*parts
	started time.Time
}

func (h healthSource) Health(ctx context.Context) (console.HealthView, error) {
	view := console.HealthView{Node: h.cfg.Node, Version: version, Started: h.started}
	view.Checks = append(view.Checks, h.rootKeyCheck(), h.logCheck(), h.storeCheck(ctx))
	return view, nil
}

func (h healthSource) rootKeyCheck() console.Check {
	root := h.vault.RootStatus()
	c := console.Check{Name: "Root key", State: string(root.State), Href: "/keys"}
	switch root.State {
	case vault.RootAnswers:
		c.Tone, c.Says = console.Good, "The key that wraps all others can be used."
	case vault.RootLost:
		c.Tone, c.Says = console.Warn, "The system that holds the root key does not answer. What is unwrapped serves until "+root.Until.UTC().Format("2 Jan 15:04 UTC")+"."
		c.Next = "Bring the key management system back, or its network; 'gatehouse keys status' says more."
	default:
		c.Tone, c.Says = console.Bad, "Nothing in the store can be opened, and calls are refused."
		c.Next = "Unseal with 'gatehouse keys unseal', or see why the key management system says no: 'gatehouse keys status'."
	}
	return c
}

func (h healthSource) logCheck() console.Check {
	state := h.log.State()
	c := console.Check{Name: "Audit log", State: string(state.Condition), Href: "/log"}
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
	c := console.Check{Name: "Store", Tone: console.Good, State: "answers", Says: "The database answers."}
	began := time.Now()
	if _, err := h.db.Environment(ctx); err != nil {
		c.Tone, c.State, c.Says = console.Bad, "does not answer", "The database does not answer."
		c.Next = "Look at the database and its network; the program's log has its words."
		return c
	}
	c.Says += " It took " + time.Since(began).Round(10*time.Microsecond).String() + "."
	return c
}
