package review

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/operator"
)

// Finish closes a review whose rights are all decided, or whose time is over, carries
// its decisions out and signs the evidence.
func (r *Reviews) Finish(ctx context.Context, by operator.Actor, id ID) (Review, error) {
	if err := r.authorise(ctx, by); err != nil {
		return Review{}, err
	}
	review, err := r.Review(ctx, id)
	if err != nil {
		return Review{}, err
	}
	if review.State == Open && r.now().Before(review.Due) {
		items, err := r.Items(ctx, id)
		if err != nil {
			return Review{}, err
		}
		for _, item := range items {
			switch {
			case item.Decision == "":
				return Review{}, ErrUndecided
			case item.Decision == Removed && item.guarded():
				return Review{}, errGuarded
			}
		}
	}
	if err := r.close(ctx, review); err != nil {
		return Review{}, err
	}
	review, err = r.Review(ctx, id)
	if err == nil && review.State == Closing {
		err = errGuarded // decided by somebody else since we looked
	}
	return review, err
}

// close brings a review to its end. Each step can be repeated and comes to the same:
// first the decisions stand, then each is carried out and noted, then what was decided
// becomes one signed document, which is kept before the log says so. Whoever dies in
// between leaves the rest to the next one.
func (r *Reviews) close(ctx context.Context, review Review) error {
	if review.State == Open {
		// Before its decisions stand: of a review in which one right is altered, none is ended.
		if err := r.whole(ctx, review); err != nil {
			return err
		}
		was := review.MAC
		review.Closed = r.now()
		if err := r.seal(ctx, &review); err != nil {
			return err
		}
		if err := r.config.Store.Close(ctx, was, review); err != nil {
			return fmt.Errorf("closing a review: %w", err)
		}
	}
	review, err := r.Review(ctx, review.ID) // as whoever closed it first left it
	if err != nil || review.State == Finished {
		return err
	}
	items, err := r.Items(ctx, review.ID)
	if err != nil {
		return err
	}
	early := false
	for _, item := range items {
		if item.Decision == Confirmed || item.Effect != "" {
			continue
		}
		if item.guarded() && r.now().Before(review.Due) {
			early = true // whoever closed the review early did not see this decision
			continue
		}
		effect, err := r.end(ctx, review, item)
		if err != nil {
			return fmt.Errorf("ending a right (%s, number %d): %w", item.Kind, item.Number, err)
		}
		item.Effect, item.Done = effect, r.now()
		if err := r.sealItem(ctx, &item); err != nil {
			return err
		}
		if err := r.config.Store.Effect(ctx, item); err != nil {
			return fmt.Errorf("noting what was done: %w", err)
		}
	}
	if early {
		return nil // the rest is done when the review is due
	}
	return r.sign(ctx, review.ID)
}

// sign makes the evidence, if there is none, says so in the log, and finishes.
func (r *Reviews) sign(ctx context.Context, id ID) error {
	evidence, err := r.config.Store.Evidence(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		var signed []byte
		if signed, err = r.evidence(ctx, id); err != nil {
			return err
		}
		if err := r.config.Store.Sign(ctx, id, signed); err != nil {
			return fmt.Errorf("keeping the evidence: %w", err)
		}
		// Somebody else may have been first.
		evidence, err = r.config.Store.Evidence(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("reading the evidence: %w", err)
	}
	if !r.signed(id, evidence) {
		r.config.Operators.TellAltered(operator.AlteredRow{Kind: operator.RowReview, Name: string(id)})
		return ErrAltered
	}
	review, err := r.Review(ctx, id)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(evidence)
	e := r.entry("review.finish", id, "gatehouse")
	c := review.Counts
	for name, n := range map[string]int{"rights": c.Items, "confirmed": c.Confirmed, "removed": c.Removed, "lapsed": c.Lapsed, "exceptions": c.Exceptions, "open": c.OpenItems} {
		e.Facts[name] = fmt.Sprint(n)
	}
	e.Facts["sha256"] = hex.EncodeToString(digest[:])
	if c.OpenItems > 0 {
		e.Verdict = "failed"
	}
	if _, err := r.config.Log.Record(ctx, e); err != nil {
		return fmt.Errorf("recording the end of a review: %w", err)
	}
	if err := r.config.Store.Finish(ctx, id, r.now()); err != nil {
		return fmt.Errorf("finishing a review: %w", err)
	}
	return nil
}

// end takes one right away, where Gatehouse can.
func (r *Reviews) end(ctx context.Context, review Review, item Item) (Effect, error) {
	effect, err := r.take(ctx, review, item)
	if err != nil {
		return "", err
	}
	e := r.entry("review.lapse", item.Review, "gatehouse")
	e.Facts["item"], e.Facts["kind"], e.Facts["decision"], e.Facts["effect"] = fmt.Sprint(item.Number), string(item.Kind), string(item.Decision), string(effect)
	switch item.Kind {
	case Grant:
		e.Facts["account"], e.Facts["role"] = item.Holder, item.Name
	case Key, Handles, Purpose, Wide:
		e.Service = gatehouse.ServiceName(item.Holder)
	}
	// What was taken away is, whether or not the log can say so now.
	r.config.Log.Reduction(e)
	return effect, nil
}

func (r *Reviews) take(ctx context.Context, review Review, item Item) (Effect, error) {
	switch item.Kind {
	case Grant:
		err := r.config.Operators.Revoke(ctx, operator.Itself(), operator.AccountID(item.Holder), operator.Role(item.Name))
		switch {
		case errors.Is(err, operator.ErrLast):
			return LastOwner, nil
		case errors.Is(err, gatehouse.ErrNotFound):
			return Gone, nil
		}
		return Ended, err
	case Key:
		return r.takeKey(ctx, review, identity.ServiceKeyID(item.Name))
	case Handles:
		handles, err := r.handlesOf(ctx, gatehouse.ServiceName(item.Holder))
		if err != nil {
			return "", err
		}
		for _, h := range handles[gatehouse.PurposeName(item.Name)] {
			// Those made since the review began were not asked about.
			if h.Created.After(review.Begun) {
				continue
			}
			if err := r.config.Services.RevokeHandle(ctx, h.ID); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
				return "", err
			}
		}
		return Ended, nil
	case Listed:
		return Outside, nil
	}
	return InConfiguration, nil
}

// takeKey gives a key an end, and those that took its place since the review began:
// they are the same right, and nobody was asked about them.
func (r *Reviews) takeKey(ctx context.Context, review Review, id identity.ServiceKeyID) (Effect, error) {
	effect := Gone
	for {
		key, err := r.config.Services.ServiceKey(ctx, id)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return effect, nil
		}
		if err != nil {
			return "", err
		}
		if key.Live(review.Closed) {
			if err := r.config.Services.ExpireServiceKey(ctx, key, review.Closed); err != nil {
				return "", err
			}
			effect = Ended
		}
		if key.Successor == "" {
			return effect, nil
		}
		next, err := r.config.Services.ServiceKey(ctx, key.Successor)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return effect, nil
		}
		if err != nil {
			return "", err
		}
		// An older one is a right of its own. (Each is younger than the one before, so that
		// this ends.)
		if !next.Created.After(review.Begun) || !next.Created.After(key.Created) {
			return effect, nil
		}
		id = next.ID
	}
}

// Do says what has to be done about an open item.
func (i Item) Do() string {
	switch {
	case i.Effect == Outside:
		return "remove the account's role in " + i.System + ", then import its list again"
	case i.Effect != InConfiguration:
		return ""
	}
	switch i.Kind {
	case Purpose:
		return "take the purpose out of services." + i.Holder + ".purposes"
	case Wide:
		return "take the service out of " + i.Name
	case Scope:
		return "take the scope out of purposes." + i.Holder + ".scopes"
	case Party:
		return "take the purpose out of third_parties." + i.Holder + ".purposes"
	}
	return "take it out of the configuration"
}

// Tend does what is due: it closes reviews whose time is over, reminds, looks which
// open items are gone, and begins the next review.
func (r *Reviews) Tend(ctx context.Context) error {
	reviews, err := r.Reviews(ctx)
	if err != nil {
		return err
	}
	var errs []error
	at := r.now()
	unfinished := false
	for _, review := range reviews {
		switch {
		case review.State == Finished:
			continue
		case review.State == Altered:
			errs = append(errs, ErrAltered)
		case review.State == Closing || !at.Before(review.Due):
			errs = append(errs, r.close(ctx, review))
		default:
			errs = append(errs, r.remind(ctx, review, at))
		}
		unfinished = true
	}
	errs = append(errs, r.resolve(ctx, at))
	if r.config.Every > 0 && !unfinished && (len(reviews) == 0 || !at.Before(reviews[0].Begun.Add(r.config.Every))) {
		_, err := r.begin(ctx, "gatehouse", r.config.Due, 0)
		if errors.Is(err, ErrOpen) {
			err = nil // another process did
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Run tends, now and then, until ctx ends.
func (r *Reviews) Run(ctx context.Context) error {
	every := time.NewTicker(10 * time.Minute)
	defer every.Stop()
	for {
		if err := r.Tend(ctx); err != nil && ctx.Err() == nil {
			r.config.Logger.WarnContext(ctx, "access reviews could not be looked after", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// Reminder says that rights wait to be decided.
type Reminder struct {
	Review Review
	// Number counts a review's reminders, from 1.
	Number int
}

// reminders are when one is due, as the part of a review's time that is over: at its
// beginning, in the middle, and near the end.
var reminders = []float64{0, 0.5, 0.8, 0.95}

// remind says what waits, once for each time. Who dies in between says it again.
func (r *Reviews) remind(ctx context.Context, review Review, at time.Time) error {
	over := float64(at.Sub(review.Begun)) / float64(review.Due.Sub(review.Begun))
	due := 0
	for due < len(reminders) && over >= reminders[due] {
		due++
	}
	if review.Reminded >= due || review.Counts.Undecided == 0 {
		return nil
	}
	if r.config.Tell != nil {
		if err := r.config.Tell(ctx, Reminder{review, due}); err != nil {
			return fmt.Errorf("reminding of a review: %w", err)
		}
	}
	e := r.entry("review.remind", review.ID, "gatehouse")
	e.Facts["undecided"], e.Facts["due"] = fmt.Sprint(review.Counts.Undecided), review.Due.Format(time.RFC3339)
	if _, err := r.config.Log.Record(ctx, e); err != nil {
		return fmt.Errorf("recording a reminder: %w", err)
	}
	return r.config.Store.Remind(ctx, review.ID, due)
}

// Resolve looks which open items are gone.
func (r *Reviews) Resolve(ctx context.Context) error { return r.resolve(ctx, r.now()) }

// resolve looks which open items are gone: from the newest list of their system, or
// from the configuration in force.
func (r *Reviews) resolve(ctx context.Context, at time.Time) error {
	open, err := r.OpenItems(ctx)
	if err != nil || len(open) == 0 {
		return err
	}
	rights, err := r.config.Configured(ctx, time.Time{})
	if err != nil {
		return fmt.Errorf("listing what the configuration gives: %w", err)
	}
	listed, _, err := r.listed(ctx)
	if err != nil {
		return err
	}
	rights = append(rights, listed...)
	there := make(map[[4]string]bool, len(rights))
	for _, right := range rights {
		there[right.key()] = true
	}
	lists, err := r.config.Store.Lists(ctx)
	if err != nil {
		return fmt.Errorf("reading imported lists: %w", err)
	}
	imported := map[string]time.Time{}
	for _, l := range lists {
		imported[l.System] = l.At
	}
	for _, item := range open {
		// A list that was read before the item came about shows nothing.
		if there[item.key()] || item.Effect == Outside && !imported[item.System].After(item.Done) {
			continue
		}
		e := r.entry("review.closed", item.Review, "gatehouse")
		e.Facts["item"], e.Facts["kind"] = fmt.Sprint(item.Number), strings.ReplaceAll(string(item.Kind), "-", " ")
		if _, err := r.config.Log.Record(ctx, e); err != nil {
			return fmt.Errorf("recording that something is gone: %w", err)
		}
		if err := r.config.Store.Resolve(ctx, item.Review, item.Number, at); err != nil {
			return fmt.Errorf("noting that something is gone: %w", err)
		}
	}
	return nil
}
