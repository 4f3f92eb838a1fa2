package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/platform"
)

// The bounds of what a meter holds between two flushes.
const (
	mostKept   = 1 << 16
	flushEvery = 5 * time.Second
	flushBatch = 500
	repeatTime = 2 * time.Second
)

// Heard is one reply of a platform, as far as counting goes.
type Heard struct {
	Platform  gatehouse.Platform
	App       gatehouse.AppName
	Person    gatehouse.PersonID // whose token made the call
	Operation gatehouse.Operation
	// Connection is the one whose token it was.
	Connection gatehouse.ConnectionID
	// Began is a time before the call's intent was written.
	Began  time.Time
	Header http.Header // not kept
}

// A Reading is what one reply said is left of a window.
type Reading struct {
	Left int64
	// Began is Heard's, At when the reply came.
	Began, At time.Time
}

// A Window is what the platform said, in the replies to us, of one window in which it
// counts calls.
type Window struct {
	App   gatehouse.AppName
	Owner []byte // keyed hash of the person whose token it is; see audit.PersonHash
	// Operation, Limit and Reset tell windows of one owner apart. Reset is by the
	// platform's clock.
	Operation gatehouse.Operation
	Limit     int64
	Reset     time.Time

	Connection gatehouse.ConnectionID
	// First is the reading that was heard first and Last the one with the least left.
	First, Last Reading
	// Replies counts the replies that were heard, the first one among them.
	Replies int64
	// Told is how many calls too many were reported.
	Told int64
}

// A Repeat is a call that was sent once more: after a renewal, with a new signature, or
// because a kept-alive connection ended before the answer.
type Repeat struct {
	App       gatehouse.AppName
	Owner     []byte
	Operation gatehouse.Operation
	At        time.Time
}

// MeterConfig says what a Meter works with.
type MeterConfig struct {
	Store MeterStore      // required
	Index audit.IndexHash // as in Config
	// Posts are the apps whose posts are counted.
	Posts  map[gatehouse.AppName]bool
	Logger *slog.Logger // gets what could not be stored; nil drops it
}

// Meter takes in what replies say of X's windows and of Meta's hour, in memory, and stores it every few
// seconds. It is safe for concurrent use and waits for nothing but its own lock.
type Meter struct {
	config MeterConfig

	mu      sync.Mutex // guards what follows; not held while storing
	windows map[windowKey]*Window
	reached map[gatehouse.AppName]reach // how much of Meta's hour was used, of apps that are calm
	posts   map[postsKey]*Posts         // of the apps of config.Posts
	lost    int64                       // replies that found no room
}

type windowKey struct {
	app       gatehouse.AppName
	person    gatehouse.PersonID
	operation gatehouse.Operation
	limit     int
	reset     int64
}

// NewMeter returns a Meter. It stores nothing before Run or Flush.
func NewMeter(c MeterConfig) *Meter {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Meter{config: c, windows: map[windowKey]*Window{}, reached: map[gatehouse.AppName]reach{}, posts: map[postsKey]*Posts{}}
}

// counts reports whether the platform counts such a call in a window that somebody
// else's calls with the same token would show in. Only X documents one; its pool of
// the app's own token is not looked at, because most of its calls are no service's.
// Streams and uploads are under way too long for their beginnings to be told apart.
func (h *Heard) counts() bool {
	return h.Platform == gatehouse.X && h.Person != "" && h.Operation != "" && !slow[h.Operation]
}

// slow are the operations that may be under way for longer than lookback.
var slow = map[gatehouse.Operation]bool{
	"POST /2/media/upload": true, "POST /2/media/upload/{id}/append": true, "POST /2/media/upload/initialize": true,
	"POST /2/media/upload/{id}/finalize": true,
}

// Hear takes a reply in.
func (m *Meter) Hear(h Heard) {
	if h.Platform == gatehouse.Facebook {
		m.hearUsage(&h, time.Now())
		return
	}
	if !h.counts() {
		return
	}
	for _, b := range platform.Usage(platform.X, h.Header) {
		// No window is longer than a day; a time far away is no time.
		if now := time.Now(); b.Pool == "call" && b.Reset.Sub(now).Abs() < 48*time.Hour {
			m.hear(&h, b.Limit, b.Remaining, b.Reset, now)
		}
	}
}

func (m *Meter) hear(h *Heard, limit, left int, reset, now time.Time) {
	reading := Reading{Left: int64(left), Began: h.Began, At: now}
	k := windowKey{h.App, h.Person, h.Operation, limit, reset.Unix()}
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.windows[k]
	if w == nil {
		if len(m.windows) >= mostKept {
			m.lost++
			return
		}
		w = &Window{App: h.App, Operation: h.Operation, Limit: int64(limit), Reset: reset.UTC(), Connection: h.Connection, First: reading, Last: reading}
		m.windows[k] = w
	}
	w.Replies++
	if reading.Left < w.Last.Left {
		w.Last = reading
	}
}

// Repeat stores that a call is sent once more, before it is: as the intent did for the
// first time. Repeats are rare, so they are not gathered.
func (m *Meter) Repeat(ctx context.Context, h Heard) {
	if !h.counts() {
		return
	}
	m.reread(h.App, time.Now())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), repeatTime)
	defer cancel()
	err := m.config.Store.AddRepeat(ctx, Repeat{App: h.App, Owner: audit.PersonHash(m.config.Index, h.Person), Operation: h.Operation, At: time.Now()})
	if err != nil {
		// The call goes on: at worst one call too many is reported.
		m.config.Logger.WarnContext(ctx, "that a call was sent twice could not be noted; the next reconciliation may count it as somebody else's",
			slog.String("app", string(h.App)), slog.String("operation", string(h.Operation)), slog.Any("error", err))
	}
}

// Run stores what was heard, every few seconds, until ctx ends.
func (m *Meter) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := m.Flush(ctx)
		// Once for each time that it begins to fail.
		if failing := err != nil && ctx.Err() == nil; failing != failed {
			if failed = failing; failed {
				m.config.Logger.WarnContext(ctx, "what the platforms count could not be stored; it is kept in memory", slog.Any("error", err))
			}
		}
	}
}

// Flush stores what was heard so far. After an error it is still there.
func (m *Meter) Flush(ctx context.Context) error {
	return errors.Join(m.flushPosts(ctx), m.flushWindows(ctx))
}

func (m *Meter) flushWindows(ctx context.Context) error {
	m.mu.Lock()
	windows, lost := m.windows, m.lost
	m.windows, m.lost = make(map[windowKey]*Window, len(windows)), 0
	m.mu.Unlock()
	if lost > 0 {
		m.config.Logger.WarnContext(ctx, "replies were not counted: too many windows at once", slog.Int64("replies", lost))
	}
	keys := make([]windowKey, 0, len(windows))
	for k := range windows {
		keys = append(keys, k)
	}
	for part := range slices.Chunk(keys, flushBatch) {
		batch := make([]Window, 0, len(part))
		for _, k := range part {
			w := *windows[k]
			w.Owner = audit.PersonHash(m.config.Index, k.person)
			batch = append(batch, w)
		}
		if err := m.config.Store.AddWindows(ctx, batch); err != nil {
			m.giveBack(windows)
			return err
		}
		for _, k := range part {
			delete(windows, k)
		}
	}
	return nil
}

// giveBack joins what could not be stored with what was heard since.
func (m *Meter) giveBack(windows map[windowKey]*Window) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, w := range windows {
		since := m.windows[k]
		if since == nil {
			if len(m.windows) >= mostKept {
				m.lost += w.Replies
				continue
			}
			m.windows[k] = w
			continue
		}
		since.First = w.First // it was heard before
		since.Replies += w.Replies
		if w.Last.Left <= since.Last.Left {
			since.Last = w.Last
		}
	}
}
