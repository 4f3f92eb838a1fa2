package review_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/store/storetest"
)

// No item is longer in the evidence than it was taken to be when it was decided about.
func TestItemsAreAsLongAsTheyMayBe(t *testing.T) {
	long := time.Date(2199, 12, 31, 23, 59, 59, 999999000, time.FixedZone("", -3600))
	for _, text := range []string{"", "a", "<>&", "\u2028\u2029", "\"\\", "\xff\xfe", "\x00\x1f\x7f", "日本語", "é"} {
		text = strings.Repeat(text, 80)
		for _, kind := range []review.Kind{review.Grant, review.Wide, review.Purpose, review.Scope, review.Party, review.Listed} {
			for _, effect := range []review.Effect{review.Outside, review.InConfiguration, review.LastOwner} {
				i := review.Item{
					Number: 50_000, Right: review.Right{Kind: kind, System: text, Holder: text, Name: text, Detail: text, Created: long, Used: long},
					Proposed: true, Why: text, Decision: review.Confirmed, By: strings.Repeat("a", 26), Own: true, At: long, Reason: text,
					Entry: strings.Repeat("e", 36), Effect: effect, Done: long,
				}
				bound, d := review.HookTestOnlyBound(i)
				b, err := json.Marshal(d)
				if err != nil || len(b)+1 > bound {
					t.Errorf("%s, %s, of %q: %d bytes (%v), taken to be at most %d", kind, effect, text[:min(len(text), 6)], len(b), err, bound)
				}
			}
		}
	}
}

// A review whose evidence could not be verified does not begin, and no reason makes it
// longer than that.
func TestEvidenceIsNeverTooLong(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	ctx := t.Context()
	c := w.config(w.db.Reviews())
	begin := func(most int) (*review.Reviews, review.Review, error) {
		c.MaxEvidence = most
		r := w.open(c)
		v, err := r.Begin(ctx, s.ada, 0, 0)
		return r, v, err
	}
	_, _, err := begin(40 << 10)
	w.refused("a review of more than there is room for", err, "review/large")
	r, v, err := begin(50 << 10)
	w.must(err)
	items, err := r.Items(ctx, v.ID)
	w.must(err)
	reason, refused := strings.Repeat("<", 500), false
	for _, i := range items {
		ruling := review.Ruling{Decision: review.Confirmed, Items: []int{i.Number}, Reason: reason}
		err := r.Decide(ctx, operator.Host(), v.ID, ruling)
		if err != nil {
			refused = true
			w.refused("a reason that there is no room for", err, "review/reasons")
			ruling.Reason = ""
			w.must(r.Decide(ctx, operator.Host(), v.ID, ruling))
		}
	}
	if !refused {
		t.Errorf("%d reasons of %d bytes in %d bytes of evidence were not refused", len(items), len(reason), c.MaxEvidence)
	}
	_, err = r.Finish(ctx, operator.Host(), v.ID)
	w.must(err)
	file, err := r.Evidence(ctx, v.ID)
	w.must(err)
	if _, _, err := review.Verify(file, w.verifier); err != nil || len(file) > c.MaxEvidence || !strings.Contains(string(file), "u003c") {
		t.Errorf("the evidence has %d bytes: %v", len(file), err)
	}
}

// Names of lists leave room for the rest.
func TestNamesOfListsAreBounded(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	list := func(n int, name string) []byte {
		var b strings.Builder
		b.WriteString("account,role\n")
		for i := range n {
			fmt.Fprintf(&b, "%s%d,%s\n", name, i, name)
		}
		return []byte(b.String())
	}
	_, err := w.reviews.Import(t.Context(), operator.Host(), "hostile", list(7_000, strings.Repeat("<", 100)))
	if !errors.Is(err, gatehouse.ErrLimited) {
		t.Errorf("a list whose names are longer in the evidence than there is room for: %v, want ErrLimited", err)
	}
	_, err = w.reviews.Import(t.Context(), operator.Host(), "long", list(7_000, strings.Repeat("x", 100)))
	w.must(err)
	_, err = w.reviews.Import(t.Context(), operator.Host(), "other", list(6_000, strings.Repeat("<", 100)))
	if !errors.Is(err, gatehouse.ErrLimited) {
		t.Errorf("a list for which another one leaves no room: %v, want ErrLimited", err)
	}
	_, err = w.reviews.Import(t.Context(), operator.Host(), "long", list(6_000, strings.Repeat("<", 100)))
	w.must(err)
}

// A file of many commas is refused before it is cut into fields.
func TestManyFieldsCostLittle(t *testing.T) {
	for what, file := range map[string]string{
		"in the heading":       strings.Repeat(",", review.MaxListBytes),
		"in a line":            "account,role\n" + strings.Repeat(",", review.MaxListBytes-20),
		"after a quoted comma": "account,role\n\"a,b\"" + strings.Repeat(",", review.MaxListBytes-20),
		"after a bare quote":   "account,role\na\"" + strings.Repeat(",", review.MaxListBytes-20),
		"in quotes":            "account,role\n\"" + strings.Repeat(",", review.MaxListBytes-20),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := review.ParseList([]byte(file))
		runtime.ReadMemStats(&after)
		// The file itself, what the reader keeps of a line, and a field of all of it.
		if used := after.TotalAlloc - before.TotalAlloc; used > 8*review.MaxListBytes {
			t.Errorf("%s: %d MiB", what, used>>20)
		}
		if !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	got, _, err := review.ParseList([]byte("account,role,last_used\n\"a,b,c,d\",\"x\"\"y,\n,\"\"z\",\n"))
	if err == nil || !strings.Contains(err.Error(), "cannot be printed") {
		t.Errorf("a line's end in a field: %v, %v", got, err)
	}
	got, _, err = review.ParseList([]byte("account,role,last_used\n\"a,b,c,d\",\"x\"\"y,,,\"\"z\",\nb,c,\n"))
	if err != nil || len(got) != 2 || got[0].Account != "a,b,c,d" || got[0].Role != `x"y,,,"z` {
		t.Errorf("commas in quotes: %+v, %v", got, err)
	}
}

// Rights of others lapse with a review: one that is due soon is for an owner to begin.
func TestOnlyAnOwnerBeginsAShortReview(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	ctx := t.Context()
	_, err := w.reviews.Begin(ctx, s.bo, 7*day-time.Second, 0)
	w.refused("a review that is due within a week", err, "review/short")
	discard := func(r review.Review) { w.must(w.db.Reviews().Discard(ctx, r.ID)) }
	for what, begin := range map[string]func() (review.Review, error){
		"one of a week":        func() (review.Review, error) { return w.reviews.Begin(ctx, s.bo, 7*day, 0) },
		"the configuration's":  func() (review.Review, error) { return w.reviews.Begin(ctx, s.bo, 0, 0) },
		"an owner's short one": func() (review.Review, error) { return w.reviews.Begin(ctx, s.ada, day, 0) },
		"the host's short one": func() (review.Review, error) { return w.reviews.Begin(ctx, operator.Host(), day, 0) },
		"as short as it may be": func() (review.Review, error) {
			c := w.config(w.db.Reviews())
			c.Shortest = 2 * day
			return w.open(c).Begin(ctx, s.bo, 2*day, 0)
		},
		"as short as all are": func() (review.Review, error) {
			c := w.config(w.db.Reviews())
			c.Due = 2 * day
			return w.open(c).Begin(ctx, s.bo, 0, 0)
		},
	} {
		r, err := begin()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		discard(r)
	}
	for _, shortest := range []time.Duration{day - 1, 15 * day} {
		c := w.config(w.db.Reviews())
		c.Shortest = shortest
		if _, err := review.New(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("Shortest %s: %v, want ErrInvalid", shortest, err)
		}
	}
}
