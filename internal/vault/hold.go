package vault

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// How long domain keys stay unwrapped, and what happens when the root key does not
// answer. While a vault is open it holds the domain keys, and asks the root key for
// them again at the end of each hold:
//
//   - it answers: fresh keys, and another hold;
//   - it is out of reach: the held ones serve on, up to KeepWithoutRoot after the
//     last answer, while it is asked again every few seconds. The loss of a key
//     management system for an hour stops no call, and is told at once;
//   - it says no: they are dropped. To deny access at the key management system,
//     or to disable the key there, is how an operator closes the gates from
//     outside, and that must not take longer than a hold.
const (
	// DefaultKeep is how long held keys serve without their root key when
	// [Config.KeepWithoutRoot] is zero.
	DefaultKeep = 24 * time.Hour

	// askAgain is how soon a root key that was out of reach is asked again, and
	// askLimit how long one round of asking may take.
	askAgain = 15 * time.Second
	askLimit = 30 * time.Second

	// failurePause is how long an answer "no", or none, stands for everybody: calls
	// that find nothing held must not queue up to hear it one after another.
	failurePause = time.Second
)

// rootError is what a root key said, as against what was wrong with our own rows.
type rootError struct{ err error }

func (e *rootError) Error() string { return e.err.Error() }
func (e *rootError) Unwrap() error { return e.err }

// closedError is a root key's refusal as those see it who want to seal or open: to
// them something that they need is not there, and trying again later may help.
// That the root key denied us is no denial of what they asked for.
type closedError struct{ text string }

func (e *closedError) Error() string { return e.text }
func (*closedError) Unwrap() error   { return gatehouse.ErrUnavailable }

// closed turns what a root key said into what a caller is told.
func closed(err error) error {
	var root *rootError
	if !errors.As(err, &root) {
		return err
	}
	if !errors.Is(err, gatehouse.ErrUnavailable) && !errors.Is(err, context.Canceled) {
		err = &closedError{err.Error()}
	}
	return wire.Public(err, "The root key is not to be had, so nothing can be opened at the moment. An operator finds out more with 'gatehouse doctor'.")
}

// storeError is a store that could not be read: that says nothing about the keys.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// RootState is how a root key answered when it was last asked.
type RootState string

// The states of a root key.
const (
	RootAnswers RootState = "answers"
	RootLost    RootState = "lost"    // out of reach; what is held serves until Until
	RootRefuses RootState = "refuses" // it says no; nothing is held
)

// RootStatus is the condition of a vault's root key.
type RootStatus struct {
	// Root is the root key's ID.
	Root  string
	State RootState
	// Since is when the state began, Asked when the root key was last asked.
	Since, Asked time.Time
	// Until is when the held domain keys are dropped if the root key stays out of
	// reach; zero when none are held.
	Until time.Time
	// Err is what the root key last said, for an operator; nil while it answers.
	Err error
}

// RootStatus returns the condition of the root key, without asking it.
func (v *Vault) RootStatus() RootStatus {
	if s := v.status.Load(); s != nil {
		return *s
	}
	return RootStatus{Root: v.config.Root.ID(), State: RootAnswers}
}

// lately returns the root key's last answer if it was no answer or a refusal, and
// is only a moment old. The caller holds mu.
func (v *Vault) lately() error {
	s := v.status.Load()
	if s == nil || s.State == RootAnswers || time.Since(s.Asked) >= failurePause {
		return nil
	}
	return s.Err
}

// settle puts the result of a fetch in force: fresh keys replace the held ones; a
// root key out of reach, a store that cannot be read and a caller who hung up
// change nothing about them; anything else drops them. The caller holds mu.
func (v *Vault) settle(ctx context.Context, ring *keyring, err error) error {
	var root *rootError
	var unread *storeError
	switch {
	case err == nil:
		v.forget()
		hold := v.config.HoldDomainKeys
		v.config.Log.InfoContext(ctx, "domain keys unwrapped", slog.String("root", v.config.Root.ID()), slog.Duration("hold", hold))
		v.held.Store(ring)
		v.again(ring, hold)
		v.tell(ctx, RootStatus{State: RootAnswers, Until: ring.until}, true)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()) && errors.Is(err, context.Canceled):
		// Whoever asked hung up. It says nothing about the root key.
	case errors.As(err, &unread):
	case errors.As(err, &root) && errors.Is(err, gatehouse.ErrUnavailable):
		var until time.Time
		if held := v.held.Load(); held != nil {
			until = held.until
		}
		v.tell(ctx, RootStatus{State: RootLost, Until: until, Err: err}, !until.IsZero())
	case errors.As(err, &root):
		had := v.held.Load() != nil
		v.forget()
		v.tell(ctx, RootStatus{State: RootRefuses, Err: err}, had)
	default:
		v.forget()
	}
	return err
}

// again sets the timer at which the keys of a ring are asked for again. The caller
// holds mu.
func (v *Vault) again(ring *keyring, after time.Duration) {
	if left := time.Until(ring.until); after > left {
		after = left
	}
	v.drop = time.AfterFunc(after, func() { v.refresh(ring) })
}

// refresh runs on the timer's goroutine at the end of a hold. Calls go on with what
// is held meanwhile: they take no lock.
func (v *Vault) refresh(ring *keyring) {
	ctx, cancel := context.WithTimeout(v.life, askLimit)
	defer cancel()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.held.Load() != ring {
		return // replaced or dropped meanwhile
	}
	_, err := v.unwrap(ctx)
	switch {
	case err == nil || v.held.Load() != ring:
	case !time.Now().Before(ring.until):
		v.config.Log.ErrorContext(ctx, "the root key stayed out of reach: the domain keys are dropped, and nothing opens until it answers",
			slog.String("root", v.config.Root.ID()), slog.Any("error", err))
		v.forget()
	default:
		v.again(ring, min(askAgain, v.config.HoldDomainKeys))
	}
}

// tell notes the root key's condition and, when it changed, says so: to whoever
// watches, and to the operator's log unless nothing was held, when the caller
// hears the error itself. The caller holds mu.
func (v *Vault) tell(ctx context.Context, s RootStatus, had bool) {
	last := v.RootStatus()
	s.Root, s.Asked, s.Since = last.Root, time.Now(), last.Since
	changed := last.State != s.State
	if changed || s.Since.IsZero() {
		s.Since = s.Asked
	}
	v.status.Store(&s)
	if !changed {
		return
	}
	name, problem := slog.String("root", s.Root), slog.Any("error", s.Err)
	switch {
	case s.State == RootAnswers:
		v.config.Log.InfoContext(ctx, "the root key answers again", name, slog.Duration("after", s.Since.Sub(last.Since)))
	case !had:
	case s.State == RootLost:
		v.config.Log.WarnContext(ctx, "the root key is out of reach; what is held serves on", name, slog.Time("until", s.Until), problem)
	case s.State == RootRefuses:
		v.config.Log.ErrorContext(ctx, "the root key refuses: the domain keys are dropped, and nothing opens", name, problem)
	}
	if v.config.OnRoot != nil {
		v.config.OnRoot(s)
	}
}
