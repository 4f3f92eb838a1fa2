package connect

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

// refusedPause is how long a connection's refused tokens are not renewed again:
// a platform that refuses every token must not be asked for a new one by every
// call.
const refusedPause = time.Minute

// refusals remembers which connections were renewed because their token was
// refused. The zero value is ready; it forgets what is older than refusedPause.
type refusals struct {
	mu   sync.Mutex
	last map[gatehouse.ConnectionID]refused
}

// refused is a token, as it is stored, that was renewed for being refused.
type refused struct {
	at     time.Time
	access []byte
}

// allow reports whether a connection may be renewed now because this token was
// refused. Those who were refused with the same token all may: it is renewed
// once for all of them.
func (f *refusals) allow(rec Record) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if last, ok := f.last[rec.ID]; ok && now.Sub(last.at) < refusedPause {
		return bytes.Equal(last.access, rec.Access)
	}
	for other, last := range f.last {
		if now.Sub(last.at) >= refusedPause {
			delete(f.last, other)
		}
	}
	if f.last == nil {
		f.last = make(map[gatehouse.ConnectionID]refused)
	}
	f.last[rec.ID] = refused{now, rec.Access}
	return true
}

// first reports whether a connection's tokens were not refused within the last
// refusedPause.
func (f *refusals) first(rec Record) bool {
	f.mu.Lock()
	last, ok := f.last[rec.ID]
	f.mu.Unlock()
	if ok && time.Since(last.at) < refusedPause {
		return false
	}
	return f.allow(rec)
}

// renewable reports whether a record's token can be replaced although the
// platform no longer takes it.
func (r Record) renewable() bool {
	return r.Kind == KindUser && singleUse(r.Platform) && r.Refresh != nil
}

// TokenRefused notes that the platform refused the credential's token for good;
// class is one of our own words for why. If the connection has another token by
// now, nothing is said of that one. A token with a refresh token counts as
// expired, and the refresh token's fate decides. A Page's is checked, because its
// parent may have another. Any other is dead (see MarkDead).
func (c *Connections) TokenRefused(ctx context.Context, k *Credential, class string) error {
	rec, err := c.redeemed(ctx, k.rec.ID)
	if err != nil || !rec.Status.Usable() || !bytes.Equal(rec.Access, k.rec.Access) {
		return err
	}
	if k.renewable {
		_, err := c.expire(ctx, k)
		return err
	}
	if rec.Kind == KindPage && rec.checked() {
		return c.hasten(ctx, rec)
	}
	return c.dies(ctx, rec.ID, Cause(class), rec.Access)
}

// expire makes the credential's token count as expired, so that the next who
// needs it renews it. It reports whether the connection has another token now,
// or may get one.
func (c *Connections) expire(ctx context.Context, k *Credential) (bool, error) {
	for {
		rec, err := c.redeemed(ctx, k.rec.ID)
		if err != nil {
			return false, err
		}
		if !rec.Status.Usable() {
			return false, unusable(rec)
		}
		if !bytes.Equal(rec.Access, k.rec.Access) {
			return true, nil
		}
		now := c.now(rec.App)
		if rec.expired(now) || rec.Status == Renewing {
			return true, nil // somebody has noted it, or is at it
		}
		if !c.refusals.allow(rec) {
			return false, nil
		}
		rec.AccessExpires, rec.RenewAt = now, now
		if err := c.store.SaveConnections(ctx, rec); !errors.Is(err, gatehouse.ErrConflict) {
			return err == nil, err
		}
	}
}

// Replace returns another credential for a connection whose token the platform
// has just refused (k), renewing it once if nobody has yet. It returns nil when
// there is none: the refusal then stands. Of many calls that were refused with
// the same token, all get the same new one. The intent r is that of the call.
func (c *Connections) Replace(ctx context.Context, r audit.Receipt, k *Credential) (*Credential, error) {
	if !k.renewable {
		return nil, nil
	}
	if more, err := c.expire(context.WithoutCancel(ctx), k); err != nil || !more {
		return nil, err
	}
	if err := c.renewer.Renew(ctx, k.rec.ID); err != nil {
		if rec, again := c.redeemed(ctx, k.rec.ID); again == nil && !rec.Status.Usable() {
			err = unusable(rec)
		}
		return nil, err
	}
	fresh, err := c.Credential(ctx, r, k.rec.ID)
	if err != nil || bytes.Equal(fresh.rec.Access, k.rec.Access) {
		return nil, err
	}
	return fresh, nil
}

// Answered has a platform's reply to a call with this credential tell the
// platform's time; sent is when the call went out. Refused says that the
// platform refused the call's timestamp: the result is then whether the clock
// was corrected, so that the same call signed again may succeed.
func (k *Credential) Answered(ctx context.Context, sent time.Time, reply *http.Response, refused bool) (corrected bool) {
	return k.c.observe(ctx, k.app, sent, reply, refused)
}
