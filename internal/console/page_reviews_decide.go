package console

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/identity/review"
	"gatehouse/internal/wire"
)

// finishDanger says what will happen when a review is closed.
func finishDanger(r review.Review, items []review.Item) *Danger {
	d := &Danger{Title: "Close this review", Action: "/reviews/" + string(r.ID) + "/finish", Word: "finish", Button: "Close the review"}
	ends := map[review.Kind]int{}
	elsewhere := 0
	for _, i := range items {
		if i.Decision == review.Confirmed {
			continue
		}
		switch i.Kind {
		case review.Grant, review.Key, review.Handles:
			ends[i.Kind]++
		default:
			elsewhere++
		}
	}
	for _, k := range []struct {
		kind review.Kind
		text string
	}{{review.Grant, "roles of operators end, also in sessions under way"}, {review.Key, "keys of services stop working"}, {review.Handles, "services lose the handles that they held for a purpose"}} {
		if n := ends[k.kind]; n > 0 {
			d.Will = append(d.Will, count(int64(n))+" "+k.text+".")
		}
	}
	if elsewhere > 0 {
		d.Will = append(d.Will, count(int64(elsewhere))+" rights become open items: they stand in the configuration, or in other systems.")
	}
	if len(d.Will) == 0 {
		d.Will = append(d.Will, "Every right was confirmed: nothing ends.")
	}
	d.Will = append(d.Will, "The evidence is signed, and nothing of it changes any more.")
	return d
}

// choices is the command of the form with the rights of a review: d-NUMBER is keep or
// remove.
type choices struct {
	keep, remove []int
	// seen has, by number, the entry of the decision that the page showed; "" for none.
	seen         map[int]string
	rest         bool // keep those that were undecided and that nothing was chosen for
	reason, back string
}

// maxEntry bounds what a form repeats of an entry's name, in bytes.
const maxEntry = 64

func (c *choices) read(f *form) {
	c.reason, c.back, c.rest = f.text("reason", 500), f.one("back"), f.choice("rest", "", "keep") == "keep"
	c.seen = map[int]string{}
	for _, text := range f.many("shown", reviewRights) {
		number, entry, _ := strings.Cut(text, ":")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || len(entry) > maxEntry {
			f.refuse("shown", "has an entry that is no number")
			return
		}
		c.seen[n] = entry
	}
	names := make([]string, 0, len(f.values))
	for name := range f.values {
		if strings.HasPrefix(name, "d-") {
			names = append(names, name)
		}
	}
	if len(names) > reviewRights {
		f.refuse("d", "has too many entries")
		return
	}
	slices.Sort(names)
	for _, name := range names {
		n, err := strconv.Atoi(strings.TrimPrefix(name, "d-"))
		if err != nil || n < 1 || name != fmt.Sprint("d-", n) {
			return // it is left over, and refused as such
		}
		switch f.choice(name, "keep", "remove") {
		case "keep":
			c.keep = append(c.keep, n)
		case "remove":
			c.remove = append(c.remove, n)
		}
	}
}

func (p reviewPages) decide(v *visit, in *choices) (*outcome, error) {
	id := review.ID(v.r.PathValue("id"))
	items, err := p.reviews.Items(v.context(), id)
	if err != nil {
		return nil, err
	}
	if in.rest {
		for _, n := range slices.Sorted(maps.Keys(in.seen)) {
			if in.seen[n] == "" && !slices.Contains(in.keep, n) && !slices.Contains(in.remove, n) {
				in.keep = append(in.keep, n)
			}
		}
	}
	decided, mine, meanwhile := 0, 0, 0
	for _, c := range []struct {
		decision review.Decision
		numbers  []int
	}{{review.Removed, in.remove}, {review.Confirmed, in.keep}} {
		reason := in.reason
		if c.decision == review.Confirmed && len(in.remove) > 0 {
			reason = "" // it says why something is to end
		}
		for _, n := range c.numbers {
			// What stands like this already is not decided again: the page shows all.
			if n <= len(items) && items[n-1].Decision == c.decision {
				continue
			}
			err := p.reviews.Decide(v.context(), v.by(), id, review.Ruling{Decision: c.decision, Items: []int{n}, Reason: reason, Seen: map[int]string{n: in.seen[n]}})
			if errors.Is(err, review.ErrMeanwhile) {
				meanwhile++
				continue
			}
			if errors.Is(err, review.ErrOwn) || wire.RuleOf(err) == "operator/permission" {
				mine++
				continue
			}
			if err != nil {
				return nil, err
			}
			decided++
		}
	}
	said := count(int64(decided)) + " rights were decided."
	if decided == 1 {
		said = "One right was decided."
	}
	if mine > 0 {
		said += " " + count(int64(mine)) + " were not: they are for another reviewer, or for an owner."
	}
	if meanwhile > 0 {
		said += " " + count(int64(meanwhile)) + " were not: a colleague decided about them since you opened the page. It shows now what they decided; choose again if you disagree."
	}
	to := "/reviews/" + string(id)
	if strings.HasPrefix(in.back, to) {
		to = in.back
	}
	return goTo(to).saying(said), nil
}

// finishing is the command of the form that closes a review.
type finishing struct{}

func (*finishing) read(f *form) { f.typed("finish") }

func (p reviewPages) finish(v *visit, _ *finishing) (*outcome, error) {
	id := review.ID(v.r.PathValue("id"))
	r, err := p.reviews.Finish(v.context(), v.by(), id)
	if err != nil {
		return nil, err
	}
	said := "The review is finished, and its evidence is signed."
	if r.Counts.OpenItems > 0 {
		said += " " + count(int64(r.Counts.OpenItems)) + " rights are left to be removed elsewhere."
	}
	return goTo("/reviews/" + string(id)).saying(said), nil
}

func (p reviewPages) evidence(v *visit) error {
	id := review.ID(v.r.PathValue("id"))
	b, err := p.reviews.Evidence(v.context(), id)
	if err != nil {
		return err
	}
	return v.download("application/json", "review-"+string(id)+".json", append(b, '\n'))
}

func (p reviewPages) table(v *visit) error {
	id := review.ID(v.r.PathValue("id"))
	items, err := p.reviews.Items(v.context(), id)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := review.WriteCSV(&b, items); err != nil {
		return err
	}
	return v.download("text/csv; charset=utf-8", "review-"+string(id)+".csv", b.Bytes())
}

// download answers with a file, whose name is ours.
func (v *visit) download(media, name string, b []byte) error {
	v.w.Header().Set("Content-Type", media)
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	v.w.WriteHeader(http.StatusOK)
	_, err := v.w.Write(b)
	return err
}
