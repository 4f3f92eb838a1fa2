package connect

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"

	"golang.org/x/sync/errgroup"
)

// AtPlatform says how far a revocation has come at the platform.
type AtPlatform string

// The states of a revocation at its platform.
const (
	// Confirmed: the platform ended the grant, or said that it had ended.
	Confirmed AtPlatform = "confirmed"
	// Outstanding: the platform has not confirmed; it is asked again.
	Outstanding AtPlatform = "outstanding"
	// WithParent: the token ends with the grant that it came from.
	WithParent AtPlatform = "with_parent"
	// NotOffered: the platform documents no way for an app to end this grant. The
	// token is dropped here, and dies at its expiry or when the person removes
	// the app.
	NotOffered AtPlatform = "not_offered"
)

// Ended is one connection that RevokeAll ended, in this run or an earlier one.
type Ended struct {
	Connection
	AtPlatform AtPlatform
}

// RevokedAll is what RevokeAll did.
type RevokedAll struct {
	// Ended are the connections in scope that were ended for this reason.
	Ended []Ended
	// OpenImports are imports that were interrupted and whose pairs the platform
	// has not confirmed to have ended.
	OpenImports int
	// Bearers are X's app-only bearers by app; the error says why one could not
	// be invalidated.
	Bearers map[gatehouse.AppName]error
}

// RevokeAll ends every connection in scope: all of them here first, so that
// nothing is usable while platforms are asked; then at the platforms. It can be
// interrupted anywhere and run again. Progress is told how many of how many
// confirmations were asked for.
func (c *Connections) RevokeAll(ctx context.Context, s Scope, reason string, progress func(done, of int)) (RevokedAll, error) {
	if !plainText(reason, 1, 200) {
		return RevokedAll{}, wire.Refuse(gatehouse.ErrInvalid, "connect/reason", "the reason must be 1 to 200 bytes of printable text")
	}
	// A failure, such as of the log, ends nothing: what can be cut off is.
	failed := c.cutAll(ctx, s, reason)
	var waiting []Record
	err := c.every(ctx, s, func(rec Record) error {
		if rec.RevokeOutstanding {
			waiting = append(waiting, rec)
		}
		return nil
	})
	if err != nil {
		return RevokedAll{}, errors.Join(failed, err)
	}
	c.giveBackAll(ctx, waiting, progress)
	report := RevokedAll{Bearers: map[gatehouse.AppName]error{}}
	for _, name := range c.Apps() {
		a := c.apps[name]
		if s.covers(a) && a.Platform == gatehouse.X && a.ConsumerKey != "" {
			report.Bearers[name] = c.invalidateBearer(ctx, a)
		}
	}
	report.OpenImports, err = c.dropImports(ctx, s)
	if failed = errors.Join(failed, err, ctx.Err()); failed != nil {
		return report, failed
	}
	err = c.every(ctx, s, func(rec Record) error {
		if rec.Status != Revoked || rec.Reason != reason || rec.Redeemed.IsZero() {
			return nil
		}
		v, err := c.listed(ctx, rec)
		report.Ended = append(report.Ended, Ended{v, c.atPlatformOf(rec)})
		return err
	})
	return report, err
}

// covers reports whether an app is in scope.
func (s Scope) covers(a App) bool {
	return (s.App == "" || s.App == a.Name) && (s.Platform == "" || s.Platform == a.Platform)
}

// cutAll makes everything in scope unusable here. Connections that appear while
// it is at work are found in the next round. One that fails does not keep the
// others: the errors come back together.
func (c *Connections) cutAll(ctx context.Context, s Scope, reason string) error {
	var failed error
	for round, left := 0, 1; left > 0 && round < 10; round++ {
		left, failed = 0, nil
		err := c.every(ctx, s, func(rec Record) error {
			if rec.Status == Erased {
				return nil
			}
			if rec.Status != Revoked {
				left++
			}
			var err error
			if rec.Redeemed.IsZero() {
				err = c.cutPending(ctx, rec, reason)
			} else {
				// One that is revoked already may have been interrupted before
				// its handles were.
				_, err = c.cut(ctx, rec.ID, reason)
			}
			if err != nil && failed == nil {
				failed = err // the others say the same
			}
			return ctx.Err()
		})
		if err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

// cutPending ends a connection that the app has not redeemed.
func (c *Connections) cutPending(ctx context.Context, rec Record, reason string) error {
	if rec.Status != Pending {
		return nil
	}
	rec.become(Revoked, "", reason)
	rec.RevokeOutstanding, rec.RenewAt = rec.Access != nil, time.Time{}
	if err := c.store.SaveConnections(ctx, rec); !errors.Is(err, gatehouse.ErrConflict) {
		return err
	}
	return nil // it was redeemed meanwhile: the next round finds it
}

// giveBackAll asks platforms to end grants, several at a time. What fails stays
// outstanding in its own row.
func (c *Connections) giveBackAll(ctx context.Context, waiting []Record, progress func(done, of int)) {
	var group errgroup.Group
	group.SetLimit(tendAtOnce)
	var mu sync.Mutex
	done := 0
	for _, rec := range waiting {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			if err := c.giveBack(context.WithoutCancel(ctx), rec); err != nil {
				c.logger.InfoContext(ctx, "revocation not confirmed by the platform", slog.String("app", string(rec.App)), slog.String("rule", ruleOf(err)))
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			if progress != nil {
				progress(done, len(waiting))
			}
			return nil
		})
	}
	_ = group.Wait() // no member returns an error
}

// atPlatformOf says how far a revoked connection has come at its platform.
func (c *Connections) atPlatformOf(rec Record) AtPlatform {
	a, configured := c.apps[rec.App]
	switch {
	case rec.RevokeOutstanding:
		return Outstanding
	case rec.Parent != "" && rec.Kind != KindSystemUser:
		return WithParent
	case rec.Platform == gatehouse.Instagram || rec.Platform == gatehouse.Threads,
		rec.Platform == gatehouse.OAuth2 && configured && a.Endpoints.Revoke == "":
		return NotOffered
	default:
		return Confirmed
	}
}

// dropImports gives back the pairs of imports that were interrupted; they stand
// nowhere else. It returns how many the platform has not confirmed.
func (c *Connections) dropImports(ctx context.Context, s Scope) (int, error) {
	open, err := c.store.OpenImports(ctx, 10000)
	if err != nil {
		return 0, err
	}
	left := 0
	for _, i := range open {
		a, configured := c.apps[i.App]
		if (s.App != "" && s.App != i.App) || (configured && !s.covers(a)) {
			continue
		}
		if !configured {
			left++
			continue
		}
		if err := c.dropImport(ctx, a, i); err != nil {
			c.logger.InfoContext(ctx, "revocation not confirmed by the platform", slog.String("app", string(i.App)), slog.String("rule", ruleOf(err)))
			left++
		}
	}
	return left, nil
}

func (c *Connections) dropImport(ctx context.Context, a App, i ImportRecord) error {
	e := audit.Entry{Action: "connect.revoke", Platform: a.Platform, App: a.Name, Facts: map[string]string{"where": "platform", "what": "import"}}
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	g, err := c.openImport(asking, receipt, i)
	if err == nil {
		err = c.revokeGrant(asking, a, KindUser, g)
	}
	if dead(err) {
		err = nil
	}
	c.log.Outcome(receipt, outcome(e, err))
	if err != nil {
		return err
	}
	return c.store.DropImport(ctx, i)
}

// invalidateBearer ends X's app-only bearer, which anybody who has the consumer
// key and secret could have asked for. X's documentation shows two ways to prove
// who asks; this is the one that needs no user's token.
func (c *Connections) invalidateBearer(ctx context.Context, a App) error {
	e := audit.Entry{Action: "connect.app", Platform: a.Platform, App: a.Name, Facts: map[string]string{"what": "invalidate"}}
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	p := client{c, a}
	bearer, err := p.appBearer(ctx)
	if err == nil {
		var req *http.Request
		if req, err = form(ctx, a.Endpoints.API+"/oauth2/invalidate_token", url.Values{"access_token": {bearer.Reveal()}}); err == nil {
			req.SetBasicAuth(platform.PercentEncode(a.ConsumerKey), platform.PercentEncode(a.ConsumerSecret.Reveal()))
			_, err = p.fetch(req)
		}
	}
	c.log.Outcome(receipt, outcome(e, err))
	return err
}

// Services returns the services that have connections in scope.
func (c *Connections) Services(ctx context.Context, s Scope) ([]gatehouse.ServiceName, error) {
	var names []gatehouse.ServiceName
	err := c.every(ctx, s, func(rec Record) error {
		if !slices.Contains(names, rec.Service) {
			names = append(names, rec.Service)
		}
		return nil
	})
	return names, err
}
