package console

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
)

// reviewing adds the pages of reviews, about the operators and about rights of the
// configuration.
func (h *house) reviewing(configured ...review.Right) *review.Reviews {
	h.t.Helper()
	services, err := identity.New(identity.Config{Store: h.db.Identity(), Log: h.log, Derive: h.config.Derive, Environment: "development"})
	must(h.t, err)
	source := audit.NewSource(h.db.Audit())
	reviews, err := review.New(review.Config{
		Store: h.db.Reviews(), Log: h.log, Operators: h.directory, Services: services, Environment: "development", Signer: h.signer, Now: h.now,
		Checkpoint: func(ctx context.Context) (string, error) {
			b, err := source(ctx, audit.CheckpointPath)
			return string(b), err
		},
		OperatorUsed: func(context.Context, operator.AccountID, time.Time) (time.Time, error) { return h.now(), nil },
		Configured:   func(context.Context, time.Time) ([]review.Right, error) { return configured, nil },
	})
	must(h.t, err)
	h.build(nil, Reviews(reviews))
	return reviews
}

// seen are the fields by which a page of a review says what it showed.
func seen(page reply) (fields []string) {
	for _, m := range regexp.MustCompile(`name="shown" value="([^"]*)"`).FindAllStringSubmatch(page.body, -1) {
		fields = append(fields, "shown", m[1])
	}
	return fields
}

// Two reviewers have the same page open: what the first decides stands, and the second
// sees it.
func TestASecondReviewersPageDoesNotOverwrite(t *testing.T) {
	h := newHouse(t, nil)
	ada, bob := h.join("Ada", operator.Owner), h.join("Bob", operator.Owner)
	reviews := h.reviewing(
		review.Right{Kind: review.Purpose, Holder: "web", Name: "publish"}, review.Right{Kind: review.Purpose, Holder: "web", Name: "insights"})
	r, err := reviews.Begin(t.Context(), operator.By(sessionOf(t, ada)), 0, 0)
	must(t, err)
	at := "/reviews/" + string(r.ID)
	numbers := map[string]int{}
	stands := func() map[string]review.Decision {
		t.Helper()
		items, err := reviews.Items(t.Context(), r.ID)
		must(t, err)
		all := map[string]review.Decision{}
		for _, i := range items {
			numbers[i.Name], all[i.Name] = i.Number, i.Decision
		}
		return all
	}
	stands()
	field := func(name string) string { return fmt.Sprint("d-", numbers[name]) }
	adas, bobs := seen(ada.get(at)), seen(bob.get(at))
	if len(adas) < 4 {
		t.Fatalf("the page says of %d rights what it showed", len(adas)/2)
	}
	ada.post(at+"/decide", append(adas, field("publish"), "remove", "reason", "left over")...).goesTo(t, at)
	ada.get(at).shows(t, "One right was decided.", "as it was when the review began")

	// The second has not reloaded, and keeps the rest.
	bob.post(at+"/decide", append(bobs, field("insights"), "remove", "rest", "keep")...).goesTo(t, at)
	bob.get(at).shows(t, "1 were not: a colleague decided about them since you opened the page", "Ada", "left over")
	if all := stands(); all["publish"] != review.Removed || all["insights"] != review.Removed {
		t.Errorf("the decisions are %v; want both removed", all)
	}
	// Now they have seen it, and may disagree.
	bobs = seen(bob.get(at))
	bob.post(at+"/decide", append(bobs, field("publish"), "keep")...).goesTo(t, at)
	bob.get(at).shows(t, "One right was decided.", "!a colleague decided")
	if all := stands(); all["publish"] != review.Confirmed {
		t.Errorf("the decisions are %v; want the one kept", all)
	}
	// A form that says nothing of what it showed was one of before all of this.
	ada.post(at+"/decide", field("publish"), "remove").goesTo(t, at)
	ada.get(at).shows(t, "a colleague decided")
	for _, shown := range []string{"x", "0:", "-1:", "1:" + string(make([]byte, 65))} {
		if r := ada.post(at+"/decide", "shown", shown); r.status != 400 {
			t.Errorf("shown %q: %d, want 400", shown, r.status)
		}
	}
	if all := stands(); all["publish"] != review.Confirmed {
		t.Errorf("the decisions are %v; want what was seen last", all)
	}
}
