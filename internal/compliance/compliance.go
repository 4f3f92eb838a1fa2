// Package compliance owns X's batch compliance: which posts and users the gateway
// delivered, asking X which of them must go, and handing each answer to whoever
// makes duties of it.
//
// It promises that an identifier is in the index, durably, before the reply that
// delivered it is complete; that it stays there until its time is over, until it
// is evicted for room (which is reported), or until a finding about it was taken
// over; that no finding is lost to a crash, and that one handed over twice carries
// the same key; and that X's upload and download addresses are called without any
// credential of a platform.
//
// It must never put an identifier or such an address into a log line, an entry of
// the audit log or an error, and never believe an answer about what it did not ask.
package compliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/platform"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// Kind is what an identifier names.
type Kind string

// The kinds. Each has its own list, jobs and schedule.
const (
	Post Kind = "post"
	User Kind = "user"
)

// kinds in the order in which things are shown.
var kinds = []Kind{Post, User}

// jobType is X's word for a kind.
func (k Kind) jobType() string {
	if k == User {
		return "users"
	}
	return "tweets"
}

// kindOf is the kind of what a reply spoke of.
func kindOf(r platform.Reference) Kind {
	if r.Kind == platform.UserReference {
		return User
	}
	return Post
}

// App is an app registration at X whose delivered identifiers are kept.
type App struct {
	Name gatehouse.AppName
	// API is the base URL of X's API, without a slash at its end.
	API string
	// Keep is how long after its last delivery an identifier is asked about: as
	// long as the operator's app may hold what it got. Required.
	Keep time.Duration
	// MaxIDs bounds the identifiers of each kind. Zero means 5 million.
	MaxIDs int
	// Every is the time from the beginning of one run to the next. Zero means 24
	// hours.
	Every time.Duration
}

// Finding says that something the app was given must be deleted or changed.
type Finding struct {
	App  gatehouse.AppName
	Kind Kind
	// ID is X's identifier, in clear.
	ID string
	// Action and Reason are X's words: "delete" and "deleted", "suspended",
	// "scrub_geo" and so on. X may send new ones; they are lower-case words of at
	// most 64 letters, digits and underscores.
	Action, Reason string
	// At is when it happened at X, as far as X said; or zero.
	At time.Time
	// Key is the same however often the finding is handed over, and differs when
	// the content was delivered again since.
	Key string
}

// Config is what New needs. It is copied.
type Config struct {
	Store       Store
	Log         *audit.Log
	Vault       *vault.Vault
	Connections *connect.Connections // authorises calls as the app
	// API carries calls to X, Storage those to the addresses that X names for its
	// jobs (wire.EgressConfig.AnyPublicHost).
	API, Storage *wire.Egress
	// Apps are the registrations for which this is on. None means that nothing more
	// is kept and nothing is asked; what was kept expires.
	Apps []App
	// Found takes a finding over. After it returned nil the finding is settled; an
	// error keeps it, and it is handed over again. It may be called more than once
	// with the same Key. Required.
	Found func(context.Context, Finding) error
	// Logger gets what background work could not do; nil drops it.
	Logger *slog.Logger
}

// Compliance keeps the index and runs the jobs. It is safe for concurrent use.
type Compliance struct {
	config  Config
	log     *slog.Logger
	apps    map[gatehouse.AppName]App
	indexes map[gatehouse.AppName]*index
	keys    keys
	bounds  bounds
	// crowded is told that much was added since the lists were last counted.
	crowded chan struct{}
	// testOnlyStep is asked between any two things that outlive this process; an
	// error ends the work there, as a crash would. nil outside tests.
	testOnlyStep func(step string) error
}

// bounds are the times and sizes of the work; tests shorten them.
type bounds struct {
	tick      time.Duration // between two looks at what is due
	lease     time.Duration // how long a process owns a list that it works on
	work      time.Duration // how long one piece of such work may take
	poll      time.Duration // first pause before X is asked how a job is doing
	pollMost  time.Duration
	slow      time.Duration // after which a job is given up
	retry     time.Duration // first pause after a failure
	retryMost time.Duration
	settle    time.Duration // from an answer to handing it over, see index
	recheck   time.Duration // how long an index believes its memory
	sweep     time.Duration // between two counts of the lists
	perJob    int           // identifiers in one job
	page      int           // rows read, written or deleted at once
	remember  int           // identifiers remembered in one generation of an index
}

// The first pause keeps both kinds of an app below half of X's 150 requests in 15
// minutes, which the app shares.
var defaultBounds = bounds{
	tick: 2 * time.Second, lease: 15 * time.Minute, work: 10 * time.Minute,
	poll: 45 * time.Second, pollMost: 15 * time.Minute, slow: 24 * time.Hour,
	retry: time.Minute, retryMost: time.Hour,
	settle: 5 * time.Second, recheck: time.Second, sweep: 10 * time.Minute,
	perJob: 500_000, page: 1000, remember: 250_000,
}

const (
	defaultMaxIDs = 5_000_000
	defaultEvery  = 24 * time.Hour
)

// New checks the configuration and returns the index and its jobs; Run makes them
// work.
func New(c Config) (*Compliance, error) {
	if c.Store == nil || c.Log == nil || c.Vault == nil || c.Connections == nil || c.API == nil || c.Storage == nil || c.Found == nil {
		return nil, errors.New("compliance: Config lacks a store, log, vault, connections, egress or somebody who takes findings over")
	}
	k := &Compliance{
		config: c, log: c.Logger, bounds: defaultBounds, crowded: make(chan struct{}, 1),
		apps: map[gatehouse.AppName]App{}, indexes: map[gatehouse.AppName]*index{}, keys: keys{vault: c.Vault},
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	for _, a := range c.Apps {
		if a.MaxIDs == 0 {
			a.MaxIDs = defaultMaxIDs
		}
		if a.Every == 0 {
			a.Every = defaultEvery
		}
		if a.Name == "" || a.API == "" || a.Keep <= 0 || a.MaxIDs < 0 || a.Every < 0 {
			return nil, fmt.Errorf("compliance of app %q needs an address, a time to keep and no negative bound: %w", a.Name, gatehouse.ErrInvalid)
		}
		if _, twice := k.apps[a.Name]; twice {
			return nil, fmt.Errorf("compliance of app %q is declared twice: %w", a.Name, gatehouse.ErrInvalid)
		}
		k.apps[a.Name] = a
		k.indexes[a.Name] = &index{work: k, app: a, writing: make(chan struct{}, 1)}
	}
	return k, nil
}

// Run asks X when it is time, hands over what X answered, and keeps the lists
// within their bounds, until ctx ends. It returns when none of it is under way.
func (k *Compliance) Run(ctx context.Context) error {
	// Also without an app: what an earlier configuration left expires, and its
	// findings are handed over. A finding does not wait for a long upload.
	var handing sync.WaitGroup
	defer handing.Wait()
	handing.Go(func() { k.loop(ctx, k.HandOver) })

	var ensured bool
	var swept time.Time
	k.loop(ctx, func(ctx context.Context) error {
		var err error
		if !ensured {
			err = k.ensure(ctx)
			ensured = err == nil
		}
		select {
		case <-k.crowded:
			swept = time.Time{}
		default:
		}
		if time.Since(swept) >= k.bounds.sweep {
			swept = time.Now()
			err = errors.Join(err, k.Sweep(ctx))
		}
		return errors.Join(err, k.Tend(ctx))
	})
	return nil
}

// loop does one piece of work at each tick until ctx ends.
func (k *Compliance) loop(ctx context.Context, do func(context.Context) error) {
	for {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			k.log.WarnContext(ctx, "background work on compliance", slog.String("error", wire.LogText(err)))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(k.bounds.tick):
		}
	}
}

// ensure makes the rows of the configured lists, the first run after a whole
// period, and brings a planned run forward if the period has become shorter.
func (k *Compliance) ensure(ctx context.Context) error {
	for _, a := range k.apps {
		for _, kind := range kinds {
			if err := k.config.Store.EnsureTask(ctx, a.Name, kind, time.Now().Add(a.Every)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Tend works on every list that is due. Lists are worked on side by side; what
// goes wrong with one stands in its row and in the log.
func (k *Compliance) Tend(ctx context.Context) error {
	tasks, err := k.config.Store.Tasks(ctx)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	for _, t := range tasks {
		now := time.Now()
		if _, configured := k.apps[t.App]; !configured || t.Due.After(now) || t.LeaseUntil.After(now) {
			continue
		}
		group.Go(func() { k.tend(ctx, t) })
	}
	group.Wait()
	return nil
}

// tend takes a list and works on it until there is something to wait for.
func (k *Compliance) tend(ctx context.Context, t Task) {
	for ctx.Err() == nil {
		t.LeaseUntil = time.Now().Add(k.bounds.lease)
		if err := k.save(ctx, &t); err != nil {
			if !errors.Is(err, gatehouse.ErrConflict) { // another process has it
				k.log.WarnContext(ctx, "compliance", slog.String("error", wire.LogText(err)))
			}
			return
		}
		working, cancel := context.WithTimeout(ctx, k.bounds.work)
		err := k.step(working, &t)
		cancel()
		if errors.Is(err, errAbandoned) {
			return
		}
		if err != nil && ctx.Err() == nil { // being told to stop is no failure
			k.failed(ctx, &t, err)
		}
		if err := k.at("before-save"); err != nil {
			return
		}
		// What was done at X is to be known, also when we are told to stop.
		t.LeaseUntil = time.Time{}
		if err := k.save(context.WithoutCancel(ctx), &t); err != nil {
			k.log.WarnContext(ctx, "compliance", slog.String("error", wire.LogText(err)))
			return
		}
		if t.Due.After(time.Now()) {
			return
		}
	}
}

// errAbandoned ends work where a crash would.
var errAbandoned = errors.New("abandoned")

func (k *Compliance) at(step string) error {
	if k.testOnlyStep != nil && k.testOnlyStep(step) != nil {
		return errAbandoned
	}
	return nil
}

// save stores a task if nobody else has changed it since it was read.
func (k *Compliance) save(ctx context.Context, t *Task) error {
	version, err := k.config.Store.SaveTask(ctx, *t)
	if err == nil {
		t.Version = version
	}
	return err
}

// failed plans another attempt. The job's own state is not lost: what can be
// resumed is.
func (k *Compliance) failed(ctx context.Context, t *Task, err error) {
	t.Tries++
	t.Reason = wire.RuleOf(err)
	if t.Reason == "" {
		t.Reason = "internal"
	}
	pause := backoff(k.bounds.retry, k.bounds.retryMost, t.Tries)
	var wait *throttled
	if errors.As(err, &wait) {
		pause = max(pause, min(time.Until(wait.until), k.bounds.retryMost))
	}
	t.Due = time.Now().Add(pause)
	var over *jobOver
	if errors.As(err, &over) {
		t.forgetJob()
	}
	k.log.WarnContext(ctx, "a compliance job did not go on", slog.String("app", string(t.App)), slog.String("kind", string(t.Kind)),
		slog.String("state", string(t.State)), slog.String("reason", t.Reason), slog.Int("tries", t.Tries), slog.Time("next", t.Due))
}

// backoff doubles a pause for each try, with jitter so that lists that failed
// together do not ask together.
func backoff(first, most time.Duration, tries int) time.Duration {
	pause := min(first<<min(max(tries-1, 0), 20), most)
	if pause <= 0 {
		return 0
	}
	return pause - time.Duration(rand.Int64N(int64(pause)/8+1))
}

// Sweep forgets identifiers whose time is over, and the oldest of a list that has
// more than its bound; the latter is said in the log and in the list's row,
// because X will not be asked about them any more.
func (k *Compliance) Sweep(ctx context.Context) error {
	tasks, err := k.config.Store.Tasks(ctx)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		for n := int64(k.bounds.page); n == int64(k.bounds.page); {
			if n, err = k.config.Store.Expire(ctx, t.App, t.Kind, time.Now(), k.bounds.page); err != nil {
				return err
			}
		}
		a, configured := k.apps[t.App]
		if !configured {
			continue
		}
		held, err := k.config.Store.Held(ctx, t.App, t.Kind)
		if err != nil {
			return err
		}
		evicted := int64(0)
		for left := held.IDs - int64(a.MaxIDs); left > 0; {
			n, err := k.config.Store.Evict(ctx, t.App, t.Kind, time.Now(), int(min(left, int64(k.bounds.page))))
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			left, evicted = left-n, evicted+n
		}
		if evicted > 0 {
			k.log.WarnContext(ctx, "the list of delivered identifiers is full: the oldest are no longer asked about; raise compliance.max_ids or shorten compliance.keep",
				slog.String("app", string(t.App)), slog.String("kind", string(t.Kind)), slog.Int64("evicted", evicted))
		}
	}
	return nil
}
