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

// step is what happens next. After the newcomers came, somebody comes back and somebody
// else goes from time to time.
func (t *demoStory) step(ctx context.Context, step int) error {
	begin := []func() error{
		t.comes(ctx, 0), t.comes(ctx, 1), t.comes(ctx, 2), func() error { return t.review(ctx) },
		t.comes(ctx, 3), t.comes(ctx, 4), t.withdraws(0), t.comes(ctx, 5), t.breaks(2), t.comes(ctx, 6), t.removes(ctx, 1),
		t.comes(ctx, 7), t.comes(ctx, 8), t.comes(ctx, 9), t.comes(ctx, 10), t.comes(ctx, 11),
	}
	switch {
	case step < len(begin):
		return begin[step]()
	case step%24 == 0:
		return t.comes(ctx, step/24*2%len(newcomers))()
	case step%24 == 6:
		return t.breaks((step/24*2 + 2) % len(newcomers))()
	case step%24 == 12:
		return t.withdraws((step/24*2 + 4) % len(newcomers))()
	}
	return nil
}

// person is who a newcomer is at the platforms. The sandbox's first three are there from
// the beginning.
func (t *demoStory) person(n int) string { return t.box.People()[3+n] }

// comes has a newcomer connect: the even ones X, the odd ones Facebook.
func (t *demoStory) comes(ctx context.Context, n int) func() error {
	return func() error {
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
}

// withdraws has a newcomer end the grant in X's settings.
func (t *demoStory) withdraws(n int) func() error {
	return func() error { t.box.X.RevokePerson(t.person(n)); return nil }
}

// breaks ends the tokens of a newcomer without a notice: they have to connect again.
func (t *demoStory) breaks(n int) func() error {
	return func() error {
		for _, token := range t.tokens[n] {
			t.box.X.Revoke(token)
		}
		return nil
	}
}

// removes has a newcomer remove the app in Facebook's settings, and ask for deletion.
func (t *demoStory) removes(ctx context.Context, n int) func() error {
	return func() error { t.box.Meta.RemoveApp(ctx, "facebook", t.person(n), true); return nil }
}

// review takes in a list of the code host and begins a review of all access.
func (t *demoStory) review(ctx context.Context) error {
	if _, err := t.reviews.Import(ctx, operator.Host(), "code-host", []byte(demoList)); err != nil {
		return err
	}
	_, err := t.reviews.Begin(ctx, operator.Host(), 0, 0)
	return err
}
