package main

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/sandbox"
)

// demoStory is what happens to an app beside its calls, so that whoever looks at the
// console sees each page do its work: people come, one withdraws the grant at X, one
// removes the app at Facebook and asks for deletion, the tokens of a third stop working,
// and access is reviewed. All of it happens the way it happens in earnest: by consent, by
// the platforms' notices and answers, by what a reviewer does.
type demoStory struct {
	app     *demoApp
	box     *sandbox.Server
	reviews *review.Reviews
	browser http.Client // of people; each walk has its own cookies
	pause   time.Duration
	tokens  map[int][]string // newcomer → the tokens that their consent brought
}

// newcomers are people whom the app knows by these names.
var newcomers = []string{
	"barbara", "edsger", "frances", "radia", "donald", "hedy", "katherine", "tim", "margaret", "vint", "karen", "anita",
}

// demoList is who may do what at the team's code host, as a listing of it might be.
const demoList = `account,role,last_used
ada,owner,2026-11-20
grace,maintainer,2026-11-19
edsger,developer,2025-02-03
ci-bot,deploy,2026-11-20
old-contractor,developer,2024-06-30
`

// Run lets something happen every pause until ctx ends. What fails is not an error of the
// demo: whoever tries things out beside it may be in its way, and the log shows it.
func (t *demoStory) Run(ctx context.Context) error {
	tick := time.NewTicker(t.pause)
	defer tick.Stop()
	for step := 0; ; step++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			_ = t.step(ctx, step)
			_ = t.app.answerDuties(ctx, time.Now())
		}
	}
}

// happening is one thing of the story; who is a newcomer's number.
type happening struct {
	what string
	who  int
}

// What may happen.
const (
	comes, withdraws, breaks, removes, reviews, nothingNew = "comes", "withdraws", "breaks", "removes", "reviews", ""
)

// storyBegins is how the story begins, one happening for each step.
var storyBegins = []happening{
	{comes, 0}, {comes, 1}, {comes, 2}, {reviews, 0}, {comes, 3}, {comes, 4}, {withdraws, 0}, {comes, 5}, {breaks, 2}, {comes, 6}, {removes, 1},
	{comes, 7}, {comes, 8}, {comes, 9}, {comes, 10}, {comes, 11},
}

// A round is roundSteps long, and a deletion takes deletionSteps: mostly one is open, and
// somebody has to connect again, whenever one looks.
const roundSteps, deletionSteps = 24, 18

// happens says what happens at a step. In each round one newcomer withdraws, the tokens of a
// second stop working, and a third removes the app; all three come back in the next, the
// third when their deletion is done.
func happens(step int) happening {
	round := step / roundSteps
	if round == 0 {
		if step < len(storyBegins) {
			return storyBegins[step]
		}
		return happening{nothingNew, 0}
	}
	people := len(newcomers)
	withdrew := func(round int) int { return 4 * round % people }
	broke := func(round int) int { return (4*round + 2) % people }
	removed := func(round int) int { return (2*round + 1) % people }
	switch step % roundSteps {
	case 0:
		return happening{comes, broke(round - 1)}
	case 3:
		return happening{comes, withdrew(round - 1)}
	case 6:
		return happening{breaks, broke(round)}
	case 9:
		return happening{withdraws, withdrew(round)}
	case 12:
		return happening{removes, removed(round)}
	case 18:
		return happening{comes, removed(round - 1)}
	}
	return happening{nothingNew, 0}
}

// step is what happens next.
func (t *demoStory) step(ctx context.Context, step int) error {
	switch h := happens(step); h.what {
	case comes:
		return t.comes(ctx, h.who)
	case withdraws:
		t.box.X.RevokePerson(t.person(h.who)) // in X's settings
	case breaks:
		// Without a notice: they have to connect again.
		for _, token := range t.tokens[h.who] {
			t.box.X.Revoke(token)
		}
	case removes:
		// In Facebook's settings, asking for deletion.
		t.box.Meta.RemoveApp(ctx, "facebook", t.person(h.who), true)
	case reviews:
		return t.review(ctx)
	}
	return nil
}

// person is who a newcomer is at the platforms. The sandbox's first three are there from
// the beginning.
func (t *demoStory) person(n int) string { return t.box.People()[3+n] }

// comes has a newcomer connect: the even ones X, the odd ones Facebook.
func (t *demoStory) comes(ctx context.Context, n int) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := t.browser
	browser.Jar = jar
	registration := demoX
	if n%2 == 1 {
		registration = demoFacebook
	}
	before := len(t.box.Ledger())
	if err := t.app.consentAs(ctx, &browser, registration, newcomers[n], t.person(n)); err != nil {
		return err
	}
	t.tokens[n] = nil
	for _, issued := range t.box.Ledger()[before:] {
		if registration == demoX && strings.HasPrefix(issued.Kind, "x ") {
			t.tokens[n] = append(t.tokens[n], issued.Value)
		}
	}
	return nil
}

// review takes in a list of the code host and begins a review of all access.
func (t *demoStory) review(ctx context.Context) error {
	if _, err := t.reviews.Import(ctx, operator.Host(), "code-host", []byte(demoList)); err != nil {
		return err
	}
	_, err := t.reviews.Begin(ctx, operator.Host(), 0, 0)
	return err
}
