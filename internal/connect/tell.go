package connect

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// HealthChange is one change of a connection's state, for the app to hear of.
type HealthChange struct {
	// ID names the change: the connection and a number that grows. The same
	// change told again, after a crash or a failure, has the same ID, and no two
	// have the same.
	ID string
	// Connection is as it is now. If it has changed again since the change began
	// to be told, its Status, Cause and Next are still those of this change, and
	// its Reason is empty; the other change follows. Once the person is erased,
	// Person is empty, also in a change from before: their key seals nothing more. It is
	// empty for an Unreadable one, too.
	Connection Connection
	// Previous is the state that the app was told before; "" is none.
	Previous Status
}

const (
	// tellTime bounds how long one round of telling begins new ones; the rest
	// has its turn in the next.
	tellTime = 500 * time.Millisecond
	// tellRest is how long a change that was begun belongs to whoever began it,
	// and so the pause after a failure.
	tellRest = 10 * time.Second
)

// tell does one round of telling the app what it has not heard: it finds the rows
// whose state differs from the one told, so that nothing is forgotten by a crash.
// A change is written down before it is told, with its number: otherwise one that
// was told, not marked, and undone meanwhile would leave the app with what is not
// true any more, or give one number to two changes. Of one connection there is one
// change under way, so that they are told in their order; what came and went
// between two rounds is not told.
func (c *Connections) tell(ctx context.Context) error {
	for start := time.Now(); time.Since(start) < tellTime && ctx.Err() == nil; {
		untold, err := c.store.Untold(ctx, time.Now(), tendBatch)
		if err != nil {
			return err
		}
		var group errgroup.Group
		group.SetLimit(tendAtOnce)
		for _, u := range untold {
			group.Go(func() error {
				if err := c.tellOne(ctx, u); err != nil {
					c.logger.WarnContext(ctx, "the app was not told of a connection's state", slog.String("app", string(u.App)), slog.String("rule", ruleOf(err)))
				}
				return nil
			})
		}
		_ = group.Wait() // no member returns an error
		if len(untold) < tendBatch {
			return nil
		}
	}
	return nil
}

// tellOne tells one change and marks it told.
func (c *Connections) tellOne(ctx context.Context, u Untold) error {
	was := u.Telling
	begun := was
	if begun.Now == "" {
		begun.Now, begun.Seq = u.Health(), was.Seq+1
	}
	done := Telling{Told: begun.Now, Seq: begun.Seq}
	if c.tellApp == nil {
		_, err := c.store.SaveTelling(ctx, u.ID, was, done)
		return err
	}
	// Rounded as it is stored, because the mark below compares it.
	begun.At = time.Now().Add(tellRest).Truncate(time.Microsecond)
	if taken, err := c.store.SaveTelling(ctx, u.ID, was, begun); err != nil || !taken {
		return err // another process is at it
	}
	change, err := c.change(ctx, u.Record, begun)
	if err != nil {
		return err
	}
	if err := c.tellApp(ctx, change); err != nil {
		return err
	}
	_, err = c.store.SaveTelling(context.WithoutCancel(ctx), u.ID, begun, done)
	return err
}

// change is what the app is told.
func (c *Connections) change(ctx context.Context, rec Record, t Telling) (HealthChange, error) {
	erased := rec.Status == Erased
	if t.Now != rec.Health() {
		status, cause, _ := strings.Cut(t.Now, "/")
		rec.Status, rec.Cause, rec.Reason = Status(status), Cause(cause), ""
	}
	v, err := c.listed(ctx, rec)
	if erased || v.Unreadable { // whose it is cannot be said
		v.Person = ""
	}
	previous, _, _ := strings.Cut(t.Told, "/")
	return HealthChange{ID: fmt.Sprintf("%s:%d", rec.ID, t.Seq), Connection: v, Previous: Status(previous)}, err
}
