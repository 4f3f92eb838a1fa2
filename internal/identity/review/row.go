package review

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

// What a review says has a MAC while it can still take effect: who writes to the
// database alone begins none, changes no right, no decision and no date of one. A
// finished review has no need of it: its evidence is signed.

// ErrAltered means that a review is not as Gatehouse wrote it. Nothing is done with it
// but to begin the next one in its place.
var ErrAltered = wire.Refuse(gatehouse.ErrConflict, "review/altered",
	"This review is not as Gatehouse wrote it: somebody else changed the database. Begin a new one, which takes its place: gatehouse account review start.")

// Altered is the state in which an altered review is listed. It stands in no row.
const Altered State = "altered"

// ReviewedList is an imported list as a review was begun with it.
type ReviewedList struct {
	List
	// MAC is over the review and the list.
	MAC string
}

// seal gives a review its MAC. Its items and lists are counted, so that none is taken
// out.
func (r *Reviews) seal(ctx context.Context, v *Review) (err error) {
	v.MAC, err = r.config.Operators.RowMAC(ctx, operator.RowReview, reviewParts(*v)...)
	return err
}

func reviewParts(v Review) []string {
	return []string{
		string(v.ID), operator.RowTime(v.Begun), v.By, operator.RowTime(v.Due), operator.RowTime(v.Since), operator.RowTime(v.Closed),
		strconv.Itoa(v.Counts.Items), strconv.Itoa(v.Lists),
	}
}

// holds reports whether a review's own row is as it was written.
func (r *Reviews) holds(ctx context.Context, v Review) (bool, error) {
	if v.State == Finished {
		return true, nil
	}
	ok, err := r.config.Operators.RowHolds(ctx, v.MAC, operator.RowReview, reviewParts(v)...)
	ok = ok && (v.State == Open && v.Closed.IsZero() || v.State == Closing && !v.Closed.IsZero())
	if err == nil && !ok {
		r.config.Operators.TellAltered(operator.AlteredRow{Kind: operator.RowReview, Name: string(v.ID)})
	}
	return ok, err
}

// sealItem gives an item its MAC.
func (r *Reviews) sealItem(ctx context.Context, i *Item) (err error) {
	i.MAC, err = r.config.Operators.RowMAC(ctx, operator.RowReviewItem, itemParts(*i)...)
	return err
}

// itemParts is all that an item says, but whether it was seen gone. That it lapsed is
// no decision: it follows from there being none when the review closed.
func itemParts(i Item) []string {
	if i.Decision == Lapsed {
		i.Decision, i.By, i.At = "", "", time.Time{}
	}
	return []string{
		string(i.Review), strconv.Itoa(i.Number), string(i.Kind), i.System, i.Holder, i.Name, i.Detail, operator.RowTime(i.Created),
		operator.RowTime(i.Used), i.Flaw, strconv.FormatBool(i.Proposed), i.Why, string(i.Decision), i.By, strconv.FormatBool(i.Own),
		operator.RowTime(i.At), i.Reason, i.Entry, string(i.Effect), operator.RowTime(i.Done),
	}
}

// itemHolds reports whether an item of a review is as it was written.
func (r *Reviews) itemHolds(ctx context.Context, v Review, i Item) (bool, error) {
	if v.State == Finished {
		return true, nil
	}
	ok, err := r.config.Operators.RowHolds(ctx, i.MAC, operator.RowReviewItem, itemParts(i)...)
	if i.Decision == Lapsed {
		ok = ok && i.By == itself && v.State == Closing && i.At.Equal(v.Closed)
	}
	return ok, err
}

// tellItem tells of an item that is altered.
func (r *Reviews) tellItem(id ID, number int) {
	r.config.Operators.TellAltered(operator.AlteredRow{Kind: operator.RowReviewItem, Name: string(id) + "." + strconv.Itoa(number)})
}

// checked returns the items of a review, all of which are as they were written.
func (r *Reviews) checked(ctx context.Context, v Review) ([]Item, error) {
	for {
		items, wrong, err := r.check(ctx, v)
		if !errors.Is(err, ErrAltered) {
			return items, err
		}
		// Its items were read after it: it may have been closed in between, which happens
		// once.
		again, read := r.Review(ctx, v.ID)
		if read != nil {
			return nil, read
		}
		if again.State == v.State {
			r.tellItem(v.ID, wrong)
			return nil, err
		}
		v = again
	}
}

// check is checked for a review as it was read, with the number of an item that is
// altered.
func (r *Reviews) check(ctx context.Context, v Review) ([]Item, int, error) {
	items, err := r.config.Store.Items(ctx, v.ID)
	if err != nil {
		return nil, 0, fmt.Errorf("reading a review: %w", err)
	}
	if v.State != Finished && len(items) != v.Counts.Items {
		return nil, 0, ErrAltered
	}
	for n, i := range items {
		ok, err := r.itemHolds(ctx, v, i)
		if err != nil {
			return nil, 0, err
		}
		if !ok || v.State != Finished && i.Number != n+1 {
			return nil, i.Number, ErrAltered
		}
	}
	return items, 0, nil
}

// reviewedLists returns the imported lists that a review was begun with. How many there
// are is in the review's MAC.
func (r *Reviews) reviewedLists(ctx context.Context, v Review) ([]List, error) {
	reviewed, err := r.config.Store.ReviewedLists(ctx, v.ID)
	if err != nil {
		return nil, fmt.Errorf("reading the lists of a review: %w", err)
	}
	lists := make([]List, 0, len(reviewed))
	for _, l := range reviewed {
		ok, err := r.config.Operators.RowHolds(ctx, l.MAC, operator.RowReviewList, listParts(v.ID, l.List)...)
		if err != nil {
			return nil, err
		}
		if !ok {
			r.config.Operators.TellAltered(operator.AlteredRow{Kind: operator.RowReviewList, Name: string(v.ID)})
			return nil, ErrAltered
		}
		lists = append(lists, l.List)
	}
	return lists, nil
}

// sealLists makes the rows of the lists that a review is begun with.
func (r *Reviews) sealLists(ctx context.Context, id ID, lists []List) ([]ReviewedList, error) {
	reviewed := make([]ReviewedList, 0, len(lists))
	for _, l := range lists {
		mac, err := r.config.Operators.RowMAC(ctx, operator.RowReviewList, listParts(id, l)...)
		if err != nil {
			return nil, err
		}
		reviewed = append(reviewed, ReviewedList{l, mac})
	}
	return reviewed, nil
}

func listParts(id ID, l List) []string {
	return []string{string(id), l.System, operator.RowTime(l.At), l.By, l.SHA256, strconv.Itoa(l.Rights), strconv.FormatBool(l.HasUse)}
}

// Altered returns the reviews that are not finished and not as they were written, and
// tells the log of each.
func (r *Reviews) Altered(ctx context.Context) ([]operator.AlteredRow, error) {
	reviews, err := r.Reviews(ctx)
	if err != nil {
		return nil, err
	}
	var out []operator.AlteredRow
	for _, v := range reviews {
		if v.State == Finished {
			continue
		}
		err := r.whole(ctx, v)
		if errors.Is(err, ErrAltered) {
			out = append(out, operator.AlteredRow{Kind: operator.RowReview, Name: string(v.ID)})
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// whole looks at all that belongs to a review: ErrAltered if it is not as it was
// written.
func (r *Reviews) whole(ctx context.Context, v Review) error {
	if v.State == Altered {
		return ErrAltered
	}
	if _, err := r.checked(ctx, v); err != nil {
		return err
	}
	_, err := r.reviewedLists(ctx, v)
	return err
}

// discard removes reviews that are altered: they would keep the next one from
// beginning, and nobody could finish them.
func (r *Reviews) discard(ctx context.Context, by string) error {
	reviews, err := r.Reviews(ctx)
	if err != nil {
		return err
	}
	for _, v := range reviews {
		if v.State == Finished {
			continue
		}
		if err := r.whole(ctx, v); err == nil || !errors.Is(err, ErrAltered) {
			return err
		}
		if _, err := r.config.Log.Record(ctx, r.entry("review.discard", v.ID, by)); err != nil {
			return fmt.Errorf("recording that a review is discarded: %w", err)
		}
		if err := r.config.Store.Discard(ctx, v.ID); err != nil {
			return fmt.Errorf("discarding a review: %w", err)
		}
	}
	return nil
}
