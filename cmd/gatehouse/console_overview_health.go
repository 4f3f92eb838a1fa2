package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/console"
)

// glanceEvery is how old what the overview says of the page Health may be: that page
// asks the database and the disk, and the overview is drawn every few seconds.
const glanceEvery = 30 * time.Second

// onOverview are the checks of the page Health that the overview looks at itself.
var onOverview = []string{"Root key", "Log", "Duties", "Events to the app"}

// healthGlance is what the page Health warns of, for the overview: two pages must not
// say that all is well and that something is not.
type healthGlance struct {
	of healthSource

	mu   sync.Mutex
	at   time.Time      // guarded by mu
	said []console.Need // guarded by mu; never changed in place
}

// looks returns what needs somebody, and what is only worth a look, by the same line as
// that page. What cannot be looked at is not said: the page Health says it.
func (g *healthGlance) looks(ctx context.Context, now time.Time) (wrong, looks []console.Need) {
	for _, n := range g.all(ctx, now) {
		if n.Tone == console.Bad {
			wrong = append(wrong, n)
		} else {
			looks = append(looks, n)
		}
	}
	return wrong, looks
}

func (g *healthGlance) all(ctx context.Context, now time.Time) []console.Need {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.at.IsZero() && now.Sub(g.at) < glanceEvery {
		return g.said
	}
	view, err := g.of.Health(ctx)
	if err != nil {
		return g.said
	}
	g.at, g.said = now, nil
	for _, c := range view.Checks {
		if (c.Tone == console.Warn || c.Tone == console.Bad) && !slices.Contains(onOverview, c.Name) {
			g.said = append(g.said, console.Need{Tone: c.Tone, Text: strings.ToLower(c.Name) + ": " + c.State, Href: "/health"})
		}
	}
	return g.said
}
