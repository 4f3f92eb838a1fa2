package review_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// staff are the operators of the tests, and what services have.
type staff struct {
	ada, bo, cy operator.Actor // an owner, security, and an operator who does nothing
	adaID, boID operator.AccountID
	cyID        operator.AccountID
	used        identity.ServiceKey
	unused      identity.ServiceKey
	handle      identity.Handle
}

// setUp makes an installation with something of every kind, forty days ago.
func (w *world) setUp() staff {
	w.t.Helper()
	var s staff
	s.adaID, s.ada = w.join("ada", operator.Owner)
	s.boID, s.bo = w.join("bo", operator.Security)
	s.cyID, s.cy = w.join("cy", operator.Operator)
	s.used, s.unused, s.handle = w.key("scheduler"), w.key("old"), w.handle("old", "analytics")
	w.services.KeyUsed(s.used.ID, netip.MustParseAddr("192.0.2.1"))
	w.must(w.services.FlushKeyUses(w.t.Context()))
	w.ahead = 40 * day
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.used, s.cyID)
	w.configured = []review.Right{
		{Kind: review.Purpose, Holder: "scheduler", Name: "publish", Used: w.now()},
		{Kind: review.Purpose, Holder: "old", Name: "analytics"},
		{Kind: review.Wide, Holder: "old", Name: "events.services", Used: w.now()},
		{Kind: review.Scope, Holder: "publish", Name: "dm.read", Used: w.now(), Flaw: "no call needs it"},
		{Kind: review.Party, Holder: "segment.test", Name: "analytics", Used: w.now().Add(-100 * day)},
	}
	return s
}

// The whole of a review: listed, proposed, decided, closed, carried out, signed.
func TestReview(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		s := w.setUp()
		_, err := w.reviews.Import(t.Context(), s.ada, "code-host", []byte("account,role,last_used\nada,admin,"+w.now().Format(time.DateOnly)+"\ngone,admin,\n"))
		w.must(err)
		r := w.begin(s.bo)
		type row struct {
			Kind   review.Kind
			Holder string
			Name   string
			Why    string
		}
		var got []row
		for _, i := range w.items(r.ID) {
			if i.Proposed != (i.Why != "") {
				t.Errorf("proposed and its reason differ: %+v", i)
			}
			got = append(got, row{i.Kind, i.Holder, i.Name, i.Why})
		}
		hundred := "not used since " + w.now().Add(-100*day).UTC().Format(time.DateOnly)
		want := []row{
			{review.Grant, string(s.adaID), "owner", ""}, {review.Grant, string(s.boID), "security", ""}, {review.Grant, string(s.cyID), "operator", "never used"},
			{review.Key, "old", string(s.unused.ID), "never used"}, {review.Key, "scheduler", string(s.used.ID), ""},
			{review.Handles, "old", "analytics", "never used"},
			{review.Purpose, "old", "analytics", "never used"}, {review.Purpose, "scheduler", "publish", ""},
			{review.Wide, "old", "events.services", ""}, {review.Scope, "publish", "dm.read", "no call needs it"},
			{review.Party, "segment.test", "analytics", hundred},
			{review.Listed, "ada", "admin", ""}, {review.Listed, "gone", "admin", "never used"},
		}
		grants := want[:3] // in the order of random identifiers
		for i := range grants {
			for j := range i {
				if grants[i].Holder < grants[j].Holder {
					grants[i], grants[j] = grants[j], grants[i]
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("rights (-want +got):\n%s", diff)
		}
		if r.Counts.Items != 13 || r.Counts.Proposed != 7 || r.Counts.Undecided != 13 {
			t.Errorf("counts: %+v", r.Counts)
		}
		// A second one does not begin beside it.
		_, err = w.reviews.Begin(t.Context(), s.ada, 0, 0)
		w.refused("a second review", err, "review/open")

		// Decided: each by somebody else, and one differently in the end.
		w.must(w.decide(s.ada, w.item(r.ID, review.Grant, string(s.boID), "security"), review.Confirmed))
		w.must(w.decide(s.bo, w.item(r.ID, review.Key, "scheduler", string(s.used.ID)), review.Removed))
		w.must(w.decide(s.ada, w.item(r.ID, review.Key, "scheduler", string(s.used.ID)), review.Confirmed))
		w.must(w.decide(s.bo, w.item(r.ID, review.Grant, string(s.cyID), "operator"), review.Removed))
		w.must(w.decide(s.ada, w.item(r.ID, review.Purpose, "scheduler", "publish"), review.Confirmed))
		_, err = w.reviews.Finish(t.Context(), s.bo, r.ID)
		w.refused("finishing with undecided rights", err, "review/undecided")
		if !w.has(s.cyID, operator.Operator) {
			t.Error("a role ended before the review closed")
		}

		// Its time is over.
		w.ahead += 14 * day
		late := s.handle // made since, and not asked about
		late.ID, late.Created = "late", w.now()
		w.must(w.db.Identity().AddHandle(t.Context(), identity.HandleRecord{Handle: late, Environment: "production"}))
		w.refused("confirming too late", w.decide(s.ada, w.item(r.ID, review.Key, "old", string(s.unused.ID)), review.Confirmed), "review/closed")
		w.must(w.reviews.Tend(t.Context()))
		r, err = w.reviews.Review(t.Context(), r.ID)
		w.must(err)
		if r.State != review.Finished || r.Counts != (review.Counts{Items: 13, Proposed: 7, Confirmed: 3, Removed: 1, Lapsed: 9, Exceptions: 1, OpenItems: 6}) {
			t.Errorf("the review is %+v", r)
		}
		if w.has(s.cyID, operator.Operator) || !w.has(s.boID, operator.Security) || !w.has(s.adaID, operator.Owner) {
			t.Error("roles are not as decided: the operator's was removed, security's confirmed, and the last owner stays")
		}
		if w.live(s.unused) || !w.live(s.used) {
			t.Error("keys are not as decided: the unused lapsed, the used was confirmed")
		}
		for h, want := range map[gatehouse.HandleID]bool{s.handle.ID: false, late.ID: true} {
			if got, err := w.services.Handle(t.Context(), h); err != nil || got.Revoked.IsZero() != want {
				t.Errorf("handle %s is %+v (%v), want valid: %t", h, got, err, want)
			}
		}
		open, err := w.reviews.OpenItems(t.Context())
		w.must(err)
		if len(open) != 6 {
			t.Errorf("open items: %+v", open)
		}
		for _, i := range open {
			if i.Do() == "" || i.Decision != review.Lapsed {
				t.Errorf("open item %+v says nothing of what to do", i)
			}
		}
		if w.logged("review.finish", "failed", "open=6", "lapsed=9", "sha256=") != 1 || w.logged("review.decide") != 5 || w.logged("review.lapse") != 10 {
			t.Error("the log does not have each decision, each end and the whole")
		}
		// Nobody's name is in it.
		if n := w.logged("gone"); n != 0 {
			t.Errorf("%d entries name somebody of an imported list", n)
		}

		// The evidence.
		file, err := w.reviews.Evidence(t.Context(), r.ID)
		w.must(err)
		d, covered, err := review.Verify(file, w.verifier)
		if err != nil || !covered {
			t.Fatalf("Verify: %v, covered by a checkpoint: %t", err, covered)
		}
		if d.Review != r.ID || d.Counts != r.Counts || len(d.Items) != 13 || len(d.Lists) != 1 || d.Alone || d.Environment != "production" {
			t.Errorf("the evidence says %+v", d)
		}
		for _, i := range d.Items {
			if (i.Decision != review.Lapsed) != (i.Entry != "") {
				t.Errorf("right %d (%s) names the log's entry %q", i.Number, i.Decision, i.Entry)
			}
		}

		// What was left is gone from the configuration, and from the next list.
		w.mu.Lock()
		w.configured = w.configured[:1]
		w.mu.Unlock()
		_, err = w.reviews.Import(t.Context(), s.bo, "code-host", []byte(`[{"role":"admin","account":"ada"}]`))
		w.must(err)
		open, err = w.reviews.OpenItems(t.Context())
		w.must(err)
		if len(open) != 1 || open[0].Holder != "ada" {
			t.Errorf("after the next list, open: %+v, want ada's alone", open)
		}
		again, err := w.reviews.Evidence(t.Context(), r.ID)
		if err != nil || !bytes.Equal(file, again) {
			t.Error("the evidence changed")
		}
	})
}

func TestWhoMayReview(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	ctx := t.Context()
	for what, err := range map[string]error{
		"beginning": func() error { _, err := w.reviews.Begin(ctx, s.cy, 0, 0); return err }(),
		"importing": func() error {
			_, err := w.reviews.Import(ctx, s.cy, "cloud", []byte("account,role\na,b\n"))
			return err
		}(),
	} {
		w.refused(what+" without the right", err, "operator/permission")
	}
	r := w.begin(operator.Host())
	own := w.item(r.ID, review.Grant, string(s.adaID), "owner")
	bos := w.item(r.ID, review.Grant, string(s.boID), "security")
	cys := w.item(r.ID, review.Grant, string(s.cyID), "operator")
	w.refused("deciding without the right", w.decide(s.cy, cys, review.Confirmed), "operator/permission")
	w.refused("one's own, to remove", w.decide(s.bo, bos, review.Removed), "review/own")
	w.refused("an owner's, without being one", w.decide(s.bo, own, review.Confirmed), "operator/permission")
	w.refused("nobody", w.decide(operator.Actor{}, cys, review.Confirmed), "operator/session")
	_, err := w.reviews.Finish(ctx, s.cy, r.ID)
	w.refused("finishing without the right", err, "operator/permission")
	w.must(w.decide(s.bo, cys, review.Confirmed))
	w.must(w.decide(s.ada, bos, review.Confirmed))
	// Ada is the only owner, and what takes one is hers: the evidence says so.
	w.must(w.decide(s.ada, own, review.Confirmed))

	for what, c := range map[string]struct {
		ruling review.Ruling
		want   error
	}{
		"no such right":      {review.Ruling{Decision: review.Confirmed, Items: []int{99}}, gatehouse.ErrNotFound},
		"number 0":           {review.Ruling{Decision: review.Confirmed, Items: []int{0}}, gatehouse.ErrNotFound},
		"no right":           {review.Ruling{Decision: review.Confirmed}, gatehouse.ErrInvalid},
		"lapsed":             {review.Ruling{Decision: review.Lapsed, Items: []int{1}}, gatehouse.ErrInvalid},
		"nothing":            {review.Ruling{Items: []int{1}}, gatehouse.ErrInvalid},
		"a reason too long":  {review.Ruling{Decision: review.Confirmed, Items: []int{4}, Reason: strings.Repeat("x", 501)}, gatehouse.ErrInvalid},
		"a reason of two":    {review.Ruling{Decision: review.Confirmed, Items: []int{4}, Reason: "a\nb"}, gatehouse.ErrInvalid},
		"a reason that fits": {review.Ruling{Decision: review.Confirmed, Items: []int{4}, Reason: strings.Repeat("x", 500)}, nil},
	} {
		if err := w.reviews.Decide(ctx, s.ada, r.ID, c.ruling); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	w.refused("an unknown review", w.reviews.Decide(ctx, s.ada, "nothing", review.Ruling{Decision: review.Confirmed, Items: []int{1}}), "review/unknown")

	// The configuration leaves reviews to owners.
	c := w.config(w.db.Reviews())
	c.Reviewers = []operator.Role{operator.Owner}
	w.reviews = w.open(c)
	w.refused("another role than the configuration's", w.decide(s.bo, cys, review.Confirmed), "review/reviewer")
	w.must(w.decide(s.ada, cys, review.Confirmed))
	// So ada is the only one: all that is hers is hers to decide.
	w.must(w.decide(s.ada, own, review.Confirmed))
	for _, i := range w.items(r.ID) {
		if i.Decision == "" {
			w.must(w.decide(s.ada, i, review.Confirmed))
		}
	}
	r, err = w.reviews.Finish(ctx, s.ada, r.ID)
	w.must(err)
	file, err := w.reviews.Evidence(ctx, r.ID)
	w.must(err)
	if d, _, err := review.Verify(file, w.verifier); err != nil || !d.Alone {
		t.Errorf("the evidence of somebody alone: %+v, %v", d, err)
	}
	if w.logged("review.decide", "own=true") != 2 {
		t.Error("the log does not say that somebody decided about their own right")
	}
}

// What decides approvals is not taken away in a review before its holders had time.
func TestGuardedRolesEndWhenTheReviewIsDue(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	r := w.begin(s.ada)
	for _, i := range w.items(r.ID) {
		d := review.Confirmed
		if i.Holder == string(s.boID) || i.Holder == string(s.cyID) {
			d = review.Removed
		}
		by := s.ada
		if i.Holder == string(s.adaID) {
			by = operator.Host()
		}
		w.must(w.decide(by, i, d))
	}
	_, err := w.reviews.Finish(t.Context(), s.ada, r.ID)
	w.refused("finishing early", err, "review/guarded")
	if !w.has(s.boID, operator.Security) || !w.has(s.cyID, operator.Operator) {
		t.Error("a role ended before its time")
	}
	w.ahead += 15 * day
	r, err = w.reviews.Finish(t.Context(), s.ada, r.ID)
	w.must(err)
	if r.State != review.Finished || w.has(s.boID, operator.Security) || w.has(s.cyID, operator.Operator) {
		t.Errorf("at its time: %+v", r)
	}
	if _, err := w.reviews.Begin(t.Context(), s.ada, 23*time.Hour, 0); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a review that is due within a day: %v, want ErrInvalid", err)
	}
	_, err = w.reviews.Begin(t.Context(), s.ada, 24*time.Hour, 0)
	w.must(err)
}

// meanwhile is a store on which somebody does something just before a review is closed.
type meanwhile struct {
	review.Store
	do func()
}

func (s meanwhile) Close(ctx context.Context, was string, r review.Review) error {
	s.do()
	return s.Store.Close(ctx, was, r)
}

// Somebody decides that another owner goes while they finish the review: the role stays
// until the review is due all the same.
func TestGuardedRoleIsDecidedWhileAReviewIsFinished(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	r := w.begin(s.ada)
	for _, i := range w.items(r.ID) {
		w.must(w.decide(operator.Host(), i, review.Confirmed))
	}
	racing := w.open(w.config(meanwhile{w.db.Reviews(), func() {
		w.must(w.decide(s.ada, w.item(r.ID, review.Grant, string(s.boID), "security"), review.Removed))
	}}))
	_, err := racing.Finish(t.Context(), s.ada, r.ID)
	w.refused("finishing early", err, "review/guarded")
	w.must(w.reviews.Tend(t.Context()))
	if !w.has(s.boID, operator.Security) {
		t.Error("the role ended before its time")
	}
	if _, err := w.reviews.Evidence(t.Context(), r.ID); err == nil {
		t.Error("there is evidence of what was not done")
	}
	w.ahead += 15 * day
	w.must(w.reviews.Tend(t.Context()))
	if got, err := w.reviews.Review(t.Context(), r.ID); err != nil || got.State != review.Finished || w.has(s.boID, operator.Security) {
		t.Errorf("at its time: %+v, %v", got, err)
	}
}

// A key that is rotated while its review goes on is the same right: what took its place
// ends with it. What was made apart from it does not.
func TestARotatedKeyEndsWithTheOneThatWasReviewed(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	w.ahead = 0
	rotate := func(k identity.ServiceKey) identity.ServiceKey {
		next, _, err := w.services.RotateServiceKey(t.Context(), k.ID, identity.Rotation{Overlap: day})
		w.must(err)
		return next
	}
	earlier := rotate(s.used) // a right of its own in the review
	r := w.begin(s.ada)
	first := rotate(s.unused)
	second := rotate(first)
	apart := w.key("old")
	kept := rotate(earlier)
	w.must(w.decide(s.ada, w.item(r.ID, review.Key, "old", string(s.unused.ID)), review.Removed))
	w.must(w.decide(s.ada, w.item(r.ID, review.Key, "scheduler", string(s.used.ID)), review.Removed))
	w.must(w.decide(s.ada, w.item(r.ID, review.Key, "scheduler", string(earlier.ID)), review.Confirmed))
	w.ahead = 15 * day
	w.must(w.reviews.Tend(t.Context()))
	for name, c := range map[string]struct {
		key  identity.ServiceKey
		live bool
	}{
		"the removed one": {s.unused, false}, "what took its place": {first, false}, "and its place": {second, false}, "one that was made apart": {apart, true},
		"the successor of a confirmed one": {kept, true},
	} {
		if got := w.live(c.key); got != c.live {
			t.Errorf("%s is accepted: %v", name, got)
		}
	}
	if i := w.item(r.ID, review.Key, "old", string(s.unused.ID)); i.Effect != review.Ended {
		t.Errorf("the effect is %q", i.Effect)
	}
}

func TestScheduleAndReminders(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	ctx := t.Context()
	w.must(w.reviews.Tend(ctx)) // nothing is scheduled
	if list, err := w.reviews.Reviews(ctx); err != nil || len(list) != 0 {
		t.Fatalf("reviews: %+v, %v", list, err)
	}
	c := w.config(w.db.Reviews())
	c.Every = 90 * day
	w.reviews = w.open(c)
	w.must(w.reviews.Tend(ctx))
	list, err := w.reviews.Reviews(ctx)
	if err != nil || len(list) != 1 || list[0].By != "gatehouse" || list[0].Due.Sub(list[0].Begun) != 14*day {
		t.Fatalf("reviews: %+v, %v", list, err)
	}
	told := func() int { w.mu.Lock(); defer w.mu.Unlock(); return len(w.told) }
	// The first reminder fails, and comes again.
	w.tellErr = errors.New("away")
	if err := w.reviews.Tend(ctx); err == nil {
		t.Error("a reminder that failed is not told")
	}
	w.tellErr = nil
	for range 2 {
		w.must(w.reviews.Tend(ctx))
	}
	if told() != 2 || w.told[0].Number != 1 || w.told[1].Number != 1 || w.logged("review.remind") != 1 {
		t.Errorf("told %+v, want the first reminder, once in vain", w.told)
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{6 * day, 2}, {2 * day, 3}, {4 * day, 4}, {36 * time.Hour, 5}} {
		w.ahead += step.after
		w.must(w.reviews.Tend(ctx))
		if told() != step.want {
			t.Errorf("after %s more: %d reminders, want %d", step.after, told(), step.want)
		}
	}
	// It lapses; the next begins when its time has come, and not before.
	w.ahead += day
	w.must(w.reviews.Tend(ctx))
	w.must(w.reviews.Tend(ctx))
	if list, _ := w.reviews.Reviews(ctx); len(list) != 1 || list[0].State != review.Finished {
		t.Errorf("reviews: %+v", list)
	}
	w.ahead += 76 * day
	w.must(w.reviews.Tend(ctx))
	if list, _ := w.reviews.Reviews(ctx); len(list) != 2 || list[0].State != review.Open {
		t.Errorf("reviews: %+v", list)
	}
	_ = s
}

// Nobody is reminded of what is decided.
func TestNoReminderWithoutNeed(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	r := w.begin(s.ada)
	for _, i := range w.items(r.ID) {
		w.must(w.decide(operator.Host(), i, review.Confirmed))
	}
	w.ahead += 8 * day
	w.must(w.reviews.Tend(t.Context()))
	if len(w.told) != 0 {
		t.Errorf("told %+v", w.told)
	}
}

// Evidence that was changed in any byte is none.
func TestChangedEvidence(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	r := w.begin(s.ada)
	_, err := w.reviews.Evidence(t.Context(), r.ID)
	w.refused("evidence of an open review", err, "review/not-finished")
	w.ahead += 15 * day
	w.must(w.reviews.Tend(t.Context()))
	file, err := w.reviews.Evidence(t.Context(), r.ID)
	w.must(err)
	for i := range file {
		changed := bytes.Clone(file)
		changed[i] ^= 1
		if _, _, err := review.Verify(changed, w.verifier); err == nil {
			t.Fatalf("a changed byte %d (%q) is not seen", i, file[max(0, i-10):min(len(file), i+10)])
		}
	}
	var f struct {
		Review    json.RawMessage `json:"review"`
		Signature string          `json:"signature"`
	}
	w.must(json.Unmarshal(file, &f))
	for name, changed := range map[string][]byte{
		"empty": {}, "cut": file[:len(file)-1], "twice": append(bytes.Clone(file), file...), "spaced": append([]byte(" "), file...),
		"another member": append(bytes.TrimSuffix(bytes.Clone(file), []byte("}")), `,"x":1}`...),
		"two signatures": []byte(strings.Replace(string(file), `"signature":"`, `"signature":"`+strings.TrimSuffix(strings.Trim(string(must(json.Marshal(f.Signature))), `"`), ""), 1)),
	} {
		if _, _, err := review.Verify(changed, w.verifier); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, covered, err := review.Verify(append(bytes.Clone(file), '\n'), w.verifier); err != nil || !covered {
		t.Errorf("with a line's end: %v", err) // as an editor leaves it
	}
	other := newWorld(t, storetest.SQLite(t))
	if _, _, err := review.Verify(file, other.verifier); err == nil {
		t.Error("another log's key verifies it")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
