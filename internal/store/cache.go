package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// cache remembers rows that every call reads (handle, connection, wrapped key),
// as they are stored: hashes and ciphertexts, never anything plain. It is for
// SQLite, where one process serves and others only run a command now and then;
// on PostgreSQL there is none, because other nodes change rows all the time.
//
// What it returns is never older than a change made through this DB (a change
// empties it before the change is reported as done, or drops what it concerns if
// that is known), and never more than
// cacheTrust older than a change made by another process: every change to
// cached tables increments the counter in table changes, in its own
// transaction, and the counter is looked at before anything older than
// cacheTrust is believed. Nothing is remembered for longer than cacheLife, so
// that a row changed by hand, past this program, is seen too.
type cache struct {
	// generation changes when the rows must be forgotten.
	generation atomic.Uint64
	// checked is when the counter was last seen unchanged, in nanoseconds since
	// start.
	checked atomic.Int64
	start   time.Time

	mu      sync.RWMutex
	rows    map[cacheKey]any
	filled  uint64 // generation that rows belong to
	counter int64  // of the database, at the last look
	born    int64  // when the generation began, in nanoseconds since start
}

type cacheKey struct {
	query statement
	id    string
	part  int64
}

const (
	cacheTrust = 2 * time.Millisecond
	cacheLife  = time.Second
	cacheRows  = 8192
)

const (
	selectChanges statement = `SELECT n FROM changes WHERE id = 1`
	countChange   statement = `UPDATE changes SET n = n + 1 WHERE id = 1 RETURNING n`
)

func newCache() *cache {
	return &cache{start: time.Now(), rows: make(map[cacheKey]any), counter: -1}
}

// forget makes every remembered row invalid.
func (c *cache) forget() {
	if c != nil {
		c.generation.Add(1)
	}
}

// drop forgets what a change made through this DB concerns, and keeps the rest if
// nobody else has changed anything since the last look: n is the counter that the
// change left behind. A wave of renewals would otherwise have every call read
// everything. What is being read now is not remembered, as after forget.
func (c *cache) drop(n int64, concerned []cacheKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.generation.Add(1) - 1
	if c.filled != was || c.counter != n-1 {
		return // the rows are of another generation, or another process was here
	}
	c.filled, c.counter = was+1, n
	for _, key := range concerned {
		delete(c.rows, key)
	}
}

// look compares the database's counter with the last one seen, if that was
// longer ago than cacheTrust.
func (c *cache) look(ctx context.Context, d *DB) error {
	now := int64(time.Since(c.start))
	if last := c.checked.Load(); last != 0 && now-last < int64(cacheTrust) {
		return nil
	}
	var n int64
	if err := d.queryRow(ctx, selectChanges).Scan(&n); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n != c.counter || now-c.born > int64(cacheLife) {
		c.counter, c.born = n, now
		c.generation.Add(1)
	}
	// The time before the look: what changed while it was under way may or may
	// not have been seen.
	c.checked.Store(now)
	return nil
}

// cached returns what load returns, or what it returned before if nothing has
// changed since. Values are shared: callers treat what they refer to as
// read-only. Errors are not remembered.
func cached[T any](ctx context.Context, d *DB, key cacheKey, load func() (T, error)) (T, error) {
	c := d.cache
	if c == nil {
		return load()
	}
	if err := c.look(ctx, d); err != nil {
		var zero T
		return zero, err
	}
	generation := c.generation.Load()
	c.mu.RLock()
	known, ok := c.rows[key]
	ok = ok && c.filled == generation
	c.mu.RUnlock()
	if ok {
		return known.(T), nil
	}
	value, err := load()
	if err != nil {
		return value, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// What was read before a change may not be remembered after it.
	if c.generation.Load() != generation {
		return value, nil
	}
	if c.filled != generation || len(c.rows) >= cacheRows {
		clear(c.rows)
		c.filled = generation
	}
	c.rows[key] = value
	return value, nil
}
