package console

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

const (
	// accountStreams and sessionStreams bound the live pages of one account, and of one
	// browser that it is signed in with: one tab is looked at at a time.
	accountStreams = 8
	sessionStreams = 4
	// displacedRetry is when a live page that gave way may come again.
	displacedRetry = time.Minute
	// giveWay is how long a live page has to end that gives way.
	giveWay = 3 * time.Second
)

// errDisplaced ends a live page that gave way to another.
var errDisplaced = errors.New("the live page gave way to a newer one")

// livePlaces are the places of live pages. Nobody new is refused: the oldest page of the
// same session or account gives way, or, when all places are taken, that of the account
// that has the most.
type livePlaces struct {
	most int

	mu   sync.Mutex
	open []*livePlace // the oldest first
}

// livePlace is the place of one live page.
type livePlace struct {
	account operator.AccountID
	session operator.SessionID
	// end tells the page to end, and hurry bounds what it is still writing.
	end   context.CancelCauseFunc
	hurry func(until time.Time)
	left  chan struct{} // closed when the place is free
}

func newLivePlaces(most int) *livePlaces { return &livePlaces{most: most} }

// take returns a context that lasts as long as the place does. Whoever has it calls leave.
func (l *livePlaces) take(ctx context.Context, account operator.AccountID, session operator.SessionID, hurry func(time.Time)) (_ context.Context, leave func(), err error) {
	deadline := time.NewTimer(giveWay)
	defer deadline.Stop()
	for {
		l.mu.Lock()
		oldest := l.tooMany(account, session)
		if oldest == nil {
			ctx, end := context.WithCancelCause(ctx)
			p := &livePlace{account, session, end, hurry, make(chan struct{})}
			l.open = append(l.open, p)
			l.mu.Unlock()
			return ctx, func() { l.leave(p) }, nil
		}
		l.mu.Unlock()
		oldest.end(errDisplaced)
		oldest.hurry(time.Now().Add(giveWay / 2))
		select {
		case <-oldest.left:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-deadline.C:
			return nil, nil, wire.Refuse(gatehouse.ErrLimited, "console/streams", "As many live pages are open as there may be. Reload to see what is new.")
		}
	}
}

// tooMany returns the page that has to give way before another of a session, or nil if
// there is a place. l.mu is held.
func (l *livePlaces) tooMany(account operator.AccountID, session operator.SessionID) *livePlace {
	accounts, sessions := map[operator.AccountID]int{account: 1}, 0
	for _, p := range l.open {
		accounts[p.account]++
		if p.session == session {
			sessions++
		}
	}
	fits := func(p *livePlace) bool { return false }
	switch {
	case sessions >= sessionStreams:
		fits = func(p *livePlace) bool { return p.session == session }
	case accounts[account] > accountStreams:
		fits = func(p *livePlace) bool { return p.account == account }
	case len(l.open) >= l.most:
		most := 0
		for _, p := range l.open {
			most = max(most, accounts[p.account])
		}
		fits = func(p *livePlace) bool { return accounts[p.account] == most }
	}
	if i := slices.IndexFunc(l.open, fits); i >= 0 {
		return l.open[i]
	}
	return nil
}

func (l *livePlaces) leave(p *livePlace) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = slices.DeleteFunc(l.open, func(o *livePlace) bool { return o == p })
	p.end(nil)
	close(p.left)
}
