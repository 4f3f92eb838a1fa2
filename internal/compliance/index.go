package compliance

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// index notes what is delivered to one app. What was noted lately is remembered
// in memory, so that ordinary traffic, which sees the same people again and again,
// writes little.
//
// The memory must not hide a delivery of something that has just left the stored
// index. So the epoch in the store moves when X's answers come in, the memory is
// dropped when the epoch has moved, it is believed for no longer than
// bounds.recheck without looking, and an answer is handed over only bounds.settle
// after it came in: a delivery after that moment is noted again in every process.
type index struct {
	work    *Compliance
	app     App
	writing chan struct{} // held by the one that writes

	mu       sync.Mutex // guards what follows; never held across a call to the store
	now, old map[platform.Reference]struct{}
	turned   time.Time // when now became the newer generation
	life     int       // counts how often the memory was dropped
	epoch    int64
	looked   time.Time // when the epoch was last read
	next     *group    // what the next write takes along
	added    int       // since the lists were last counted
}

// group is what several deliveries write together.
type group struct {
	ids  map[platform.Reference]struct{}
	life int
	done chan struct{}
	err  error // valid when done is closed
}

// maxGroup bounds what one write takes.
const maxGroup = 10_000

// writeTimeout bounds one write: the replies that wait for it are not kept longer.
const writeTimeout = 10 * time.Second

// Recorder returns what notes deliveries to an app, or nil if nothing is kept for
// it. When the recorder has returned nil, everything it was told is durable;
// otherwise the reply must not be completed, because nobody could ever be told to
// delete what it holds.
func (k *Compliance) Recorder(app gatehouse.AppName) func(context.Context, []platform.Reference) error {
	if x, ok := k.indexes[app]; ok {
		return x.record
	}
	return nil
}

func (x *index) record(ctx context.Context, references []platform.Reference) error {
	g, leads, err := x.join(ctx, references)
	if err != nil {
		return notNoted(err)
	}
	if g == nil {
		return nil
	}
	if leads {
		x.write(context.WithoutCancel(ctx), g)
	} else {
		select {
		case <-g.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if g.err != nil {
		return notNoted(g.err)
	}
	return nil
}

// notNoted is what a caller is told.
func notNoted(cause error) error {
	return wire.Refuse(fmt.Errorf("%w: %w", cause, gatehouse.ErrUnavailable), "compliance/index",
		"Gatehouse could not note what this reply delivers. X demands that it can be deleted later, so the reply is not passed on; try again")
}

// join finds what is not noted yet and puts it into the next group. The first of
// a group leads it. No group means that there is nothing to note.
func (x *index) join(ctx context.Context, references []platform.Reference) (g *group, leads bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if time.Since(x.looked) >= x.work.bounds.recheck {
		// Not under the lock: others need not wait, they look for themselves.
		x.mu.Unlock()
		began := time.Now()
		epoch, err := x.work.config.Store.Epoch(ctx, x.app.Name)
		x.mu.Lock()
		if err != nil {
			return nil, false, err
		}
		if epoch != x.epoch {
			x.epoch, x.now, x.old = epoch, nil, nil
			x.life++
		}
		x.looked = began
	}
	if x.now == nil || len(x.now) >= x.work.bounds.remember || time.Since(x.turned) >= x.touch()/2 {
		x.old, x.now, x.turned = x.now, map[platform.Reference]struct{}{}, time.Now()
	}
	for _, r := range references {
		if _, known := x.now[r]; known {
			continue
		}
		if _, known := x.old[r]; known {
			continue
		}
		if x.next == nil || len(x.next.ids) >= maxGroup && g != x.next {
			x.next = &group{ids: map[platform.Reference]struct{}{}, life: x.life, done: make(chan struct{})}
			leads = true
		}
		g = x.next
		g.life = min(g.life, x.life)
		g.ids[r] = struct{}{}
	}
	return g, leads, nil
}

// touch is how much later than in truth the last delivery may have been noted. An
// identifier is kept that much longer.
func (x *index) touch() time.Duration { return min(max(x.app.Keep/24, time.Minute), 24*time.Hour) }

// write writes a group, after the one before it.
func (x *index) write(ctx context.Context, g *group) {
	x.writing <- struct{}{}
	defer func() { <-x.writing }()
	x.mu.Lock()
	if x.next == g {
		x.next = nil // who comes now joins the next one
	}
	x.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	g.err = x.store(ctx, g)
	if g.err != nil {
		x.work.log.ErrorContext(ctx, "delivered identifiers could not be noted; the replies were not completed",
			slog.String("app", string(x.app.Name)), slog.String("error", wire.LogText(g.err)))
	}
	x.mu.Lock()
	if g.err == nil && g.life == x.life && x.now != nil {
		for r := range g.ids {
			x.now[r] = struct{}{}
		}
	}
	if x.added += len(g.ids); x.added > x.app.MaxIDs/16 {
		x.added = 0
		select {
		case x.work.crowded <- struct{}{}:
		default:
		}
	}
	x.mu.Unlock()
	close(g.done)
}

func (x *index) store(ctx context.Context, g *group) error {
	ids := make([]ID, 0, len(g.ids))
	for r := range g.ids {
		id, err := x.work.seal(ctx, x.app.Name, kindOf(r), r.ID)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	// In one order, so that processes that write the same do not wait for each other
	// in a circle.
	slices.SortFunc(ids, func(a, b ID) int { return bytes.Compare(a.Hash, b.Hash) })
	now := time.Now()
	return x.work.config.Store.RecordIDs(ctx, x.app.Name, now, now.Add(x.app.Keep+x.touch()), ids)
}

// keys are the keys of the hashes, derived once for each list.
type keys struct {
	vault *vault.Vault
	mu    sync.Mutex
	held  map[string][]byte
}

// hashSize is how much of HMAC-SHA256 is kept: at 5 million identifiers two of
// them meet with a chance of 2^-84.
const hashSize = 16

// hash is the name of an identifier in the index.
func (s *keys) hash(ctx context.Context, app gatehouse.AppName, kind Kind, id uint64) ([]byte, error) {
	key, err := s.key(ctx, app, kind)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], id)
	mac.Write(b[:])
	return mac.Sum(nil)[:hashSize], nil
}

func (s *keys) key(ctx context.Context, app gatehouse.AppName, kind Kind) ([]byte, error) {
	name := string(kind) + "/" + string(app)
	s.mu.Lock()
	key := s.held[name]
	s.mu.Unlock()
	if key != nil {
		return key, nil
	}
	derived, err := s.vault.Derive(ctx, "compliance/ids", string(app), string(kind))
	if err != nil {
		return nil, err
	}
	key = []byte(derived.Reveal())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[string][]byte{}
	}
	s.held[name] = key
	return key, nil
}

// place is where a sealed identifier stands; a finding carries the index's own.
func place(app gatehouse.AppName, kind Kind, hash []byte) vault.Ref {
	return vault.Ref{Table: "compliance_ids", Row: string(app) + "/" + string(kind) + "/" + hex.EncodeToString(hash), Column: "sealed"}
}

func (k *Compliance) seal(ctx context.Context, app gatehouse.AppName, kind Kind, id uint64) (ID, error) {
	hash, err := k.keys.hash(ctx, app, kind, id)
	if err != nil {
		return ID{}, err
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], id)
	sealed, err := k.config.Vault.Seal(ctx, place(app, kind, hash), secret.New(string(b[:])))
	return ID{Kind: kind, Hash: hash, Sealed: sealed}, err
}

// open returns an identifier as X writes it.
func (k *Compliance) open(ctx context.Context, r audit.Receipt, app gatehouse.AppName, kind Kind, hash, sealed []byte) (string, error) {
	text, err := k.config.Vault.Open(ctx, r, place(app, kind, hash), sealed)
	if err != nil {
		return "", err
	}
	b := []byte(text.Reveal())
	if len(b) != 8 {
		return "", vault.ErrUnreadable
	}
	return strconv.FormatUint(binary.BigEndian.Uint64(b), 10), nil
}
