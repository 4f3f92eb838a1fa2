package review

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

// authorise refuses who may not review.
func (r *Reviews) authorise(ctx context.Context, by operator.Actor) error {
	if err := r.config.Operators.Authorise(ctx, by, operator.ReviewsDecide); err != nil {
		return err
	}
	if by.Account() == "" || len(r.config.Reviewers) == 0 {
		return nil
	}
	account, err := r.config.Operators.Account(ctx, by.Account())
	if err != nil {
		return err
	}
	if !r.reviews(account, r.now()) {
		return errReviewer
	}
	return nil
}

// reviews reports whether an account decides in reviews.
func (r *Reviews) reviews(a operator.Account, at time.Time) bool {
	if !a.May(operator.ReviewsDecide, at) {
		return false
	}
	return len(r.config.Reviewers) == 0 || slices.ContainsFunc(r.config.Reviewers, func(role operator.Role) bool { return a.Is(role, at) })
}

// alone reports whether an account is the only one that could decide about an item.
func (r *Reviews) alone(ctx context.Context, id operator.AccountID, item Item) (bool, error) {
	accounts, err := r.config.Operators.Accounts(ctx)
	if err != nil {
		return false, err
	}
	at := r.now()
	for _, a := range accounts {
		if a.ID != id && r.reviews(a, at) && (!item.guarded() || a.May(operator.OwnerChange, at)) {
			return false, nil
		}
	}
	return true, nil
}

// Ruling is what a reviewer decides about some rights of a review.
type Ruling struct {
	Decision Decision // Confirmed or Removed
	Items    []int
	// Reason is the reviewer's, for the evidence; it may be empty.
	Reason string
	// Seen has, by item, the entry of the decision that the reviewer saw, which is empty for
	// none. An item that was decided since is ErrMeanwhile. One that is not in it is decided
	// about as it is.
	Seen map[int]string
}

// Decide confirms or removes rights. A decision can be taken back by another until the
// review closes, which is when something happens. Nobody decides about their own role,
// unless nobody else could. Roles that decide approvals are for owners to decide about.
// Of several rights, those before one that is refused are decided. What somebody else
// decides at the same moment is not overwritten: ErrMeanwhile.
func (r *Reviews) Decide(ctx context.Context, by operator.Actor, id ID, ruling Ruling) error {
	if err := r.authorise(ctx, by); err != nil {
		return err
	}
	switch {
	case ruling.Decision != Confirmed && ruling.Decision != Removed:
		return fmt.Errorf("a right is confirmed or removed: %w", gatehouse.ErrInvalid)
	case len(ruling.Items) == 0 || len(ruling.Items) > maxItems:
		return fmt.Errorf("name the rights by their numbers: %w", gatehouse.ErrInvalid)
	case len(ruling.Reason) > maxReason || !utf8.ValidString(ruling.Reason) || strings.ContainsFunc(ruling.Reason, unicode.IsControl):
		return fmt.Errorf("a reason is one line of at most %d bytes: %w", maxReason, gatehouse.ErrInvalid)
	}
	review, err := r.Review(ctx, id)
	if err != nil {
		return err
	}
	// Past its due time nothing is confirmed any more, whether or not it was closed yet.
	if review.State != Open || !r.now().Before(review.Due) {
		return errClosed
	}
	items, err := r.config.Store.Items(ctx, id)
	if err != nil {
		return fmt.Errorf("reading a review: %w", err)
	}
	if err := r.room(items, ruling); err != nil {
		return err
	}
	for _, n := range ruling.Items {
		if n < 1 || n > len(items) {
			return errItem
		}
		// Those alone: what is decided about is what was asked. All are looked at when the
		// review closes.
		if ok, err := r.itemHolds(ctx, review, items[n-1]); err != nil {
			return err
		} else if !ok || items[n-1].Number != n {
			// Unless the review was closed since it was read.
			if again, err := r.Review(ctx, id); err != nil || again.State != review.State {
				return errors.Join(err, errClosed)
			}
			r.tellItem(id, n)
			return ErrAltered
		}
		if err := r.decide(ctx, by, items[n-1], ruling); err != nil {
			return err
		}
	}
	return nil
}

// room refuses a reason with which the evidence would be longer than can be verified.
// Two reviewers at the same moment may come to it together: reasonsShare is far more than
// they can.
func (r *Reviews) room(items []Item, ruling Ruling) error {
	size := evidenceBound(items)
	for _, n := range ruling.Items {
		if n >= 1 && n <= len(items) {
			size += escaped(ruling.Reason) - escaped(items[n-1].Reason)
		}
	}
	if ruling.Reason != "" && size > r.config.MaxEvidence {
		return wire.Refuse(gatehouse.ErrLimited, "review/reasons", "The reasons of this review are too long together for one signed document. Decide with a shorter one, or none.")
	}
	return nil
}

func (r *Reviews) decide(ctx context.Context, by operator.Actor, item Item, ruling Ruling) error {
	before := item.Entry
	if seen, given := ruling.Seen[item.Number]; given && seen != before {
		return ErrMeanwhile
	}
	own := item.Kind == Grant && by.Account() != "" && string(by.Account()) == item.Holder
	if own {
		alone, err := r.alone(ctx, by.Account(), item)
		if err != nil {
			return err
		}
		if !alone {
			return ErrOwn
		}
	}
	if item.guarded() {
		if err := r.config.Operators.Authorise(ctx, by, operator.OwnerChange); err != nil {
			return err
		}
	}
	item.Decision, item.By, item.Own, item.At, item.Reason = ruling.Decision, by.Name(), own, r.now(), ruling.Reason
	e := r.entry("review.decide", item.Review, item.By)
	e.Facts["item"], e.Facts["decision"], e.Facts["kind"] = fmt.Sprint(item.Number), string(item.Decision), string(item.Kind)
	if item.Kind == Grant {
		e.Facts["account"], e.Facts["role"] = item.Holder, item.Name
	}
	if own {
		e.Facts["own"] = "true"
	}
	// In the log before it stands: a decision that is not in it is none.
	entry, err := r.config.Log.Record(ctx, e)
	if err != nil {
		return fmt.Errorf("recording a decision: %w", err)
	}
	item.Entry = entry
	if err := r.sealItem(ctx, &item); err != nil {
		return err
	}
	err = r.config.Store.Decide(ctx, item, before)
	if errors.Is(err, ErrMeanwhile) {
		// The log has it already, so it has to say that it does not stand.
		e.Verdict, e.Rule = "failed", wire.RuleOf(err)
		_, logged := r.config.Log.Record(ctx, e)
		return errors.Join(err, logged)
	}
	if errors.Is(err, gatehouse.ErrConflict) {
		return errClosed
	}
	if err != nil {
		return fmt.Errorf("storing a decision: %w", err)
	}
	return nil
}
