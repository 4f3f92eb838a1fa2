package main

import (
	"context"
	"strings"
	"time"

	"gatehouse/internal/console"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/metrics"
)

// dueSoon is how long before its end a review is something to do now.
const dueSoon = 3 * 24 * time.Hour

// graveness orders what needs doing.
func graveness(t console.Tone) int {
	if t == console.Bad {
		return 1
	}
	return 0
}

// peopleNeeds are what somebody has to do about who may do what, ending being the
// services whose keys end soon.
func (o overviewSource) peopleNeeds(ctx context.Context, m *metrics.Overview, ending []string, now time.Time) ([]console.Need, error) {
	var out []console.Need
	reviews, err := o.reviews.Reviews(ctx)
	if err != nil {
		return nil, err
	}
	for i := range reviews {
		if need, has := reviewNeed(reviews[i], now); has {
			out = append(out, need)
		}
	}
	approvals, err := o.operators.Approvals(ctx)
	if err != nil {
		return nil, err
	}
	waiting := 0
	for i := range approvals {
		if approvals[i].State == operator.Waiting && now.Before(approvals[i].Until) {
			waiting++
		}
	}
	if waiting > 0 {
		out = append(out, console.Need{Tone: console.Warn, Text: count(waiting, "act waits for a second operator", "acts wait for a second operator"), Href: "/operators/approvals"})
	}
	if len(ending) > 0 {
		out = append(out, console.Need{Tone: console.Warn, Text: count(len(ending), "key of a service ends soon", "keys of services end soon") + " with none to take its place: " + firstThree(ending), Href: "/services"})
	}
	if m.SignInsRefused.Level != metrics.Good {
		out = append(out, console.Need{Tone: console.Warn, Text: "sign-ins to the console are refused one after the other: somebody may be guessing", Href: "/log?" + m.SignInsRefused.Search()})
	}
	return out, nil
}

// reviewNeed says what ends soon because nobody has confirmed it.
func reviewNeed(r review.Review, now time.Time) (console.Need, bool) {
	if r.State != review.Open || r.Counts.Undecided == 0 || r.Due.Sub(now) > dueSoon {
		return console.Need{}, false
	}
	when := "now"
	if left := r.Due.Sub(now); left > 0 {
		when = "in " + console.Ahead(left)
	}
	return console.Need{Tone: console.Bad, Text: "a review is due " + when + ": " + count(r.Counts.Undecided, "right that nobody has confirmed ends then", "rights that nobody has confirmed end then"), Href: "/reviews/" + string(r.ID)}, true
}

// serviceKeys are the services whose keys end soon, and those whose keys open every one
// of several purposes: one for each key.
func (o overviewSource) serviceKeys(ctx context.Context, now time.Time) (ending, wide []string, err error) {
	services, err := o.identity.Services(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range services {
		if s.Disabled {
			continue
		}
		keys, err := o.identity.ServiceKeys(ctx, s.Name)
		if err != nil {
			return nil, nil, err
		}
		for _, k := range keys {
			if k.Ending(now) {
				ending = append(ending, string(s.Name))
			}
			if isWide(k, len(o.configured().Services[s.Name].Purposes), now) {
				wide = append(wide, string(s.Name))
			}
		}
	}
	return ending, wide, nil
}

// keyLooks says how many keys open more than a key need open.
func keyLooks(wide []string) []console.Need {
	if len(wide) == 0 {
		return nil
	}
	return []console.Need{{Tone: console.Warn, Text: count(len(wide), "service key opens every purpose", "service keys open every purpose") + ": " + firstThree(wide), Href: "/services"}}
}

// firstThree names at most three, each once.
func firstThree(names []string) string {
	var some []string
	for _, n := range names {
		if len(some) > 0 && some[len(some)-1] == n {
			continue
		}
		if len(some) == 3 {
			return strings.Join(some, ", ") + " and others"
		}
		some = append(some, n)
	}
	return strings.Join(some, ", ")
}
