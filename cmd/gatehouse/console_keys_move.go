package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/console"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// keyMover moves what stands under older keys under the newest, beside calls, when the
// console asks for it: one time after the other, as 'gatehouse keys rewrap' does. What
// it leaves because the process ended, the next one goes on with by itself.
type keyMover struct {
	*parts
	// asked holds an order while it waits; it has room for one.
	asked chan moveOrder

	mu   sync.Mutex
	last console.KeyMove // guarded by mu
}

// moveOrder is who ordered a move, and whether the keyring is made anew.
type moveOrder struct {
	actor   string
	keyring bool
}

func newKeyMover(p *parts) *keyMover { return &keyMover{parts: p, asked: make(chan moveOrder, 1)} }

func (m *keyMover) moving() console.KeyMove {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// move begins; false says that one is under way.
func (m *keyMover) move(order moveOrder) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.last.Began.IsZero() && m.last.Ended.IsZero() {
		return false
	}
	// While none is under way nothing waits in asked: whoever takes from it ends last.
	m.last = console.KeyMove{Began: time.Now().UTC(), Keyring: order.keyring}
	m.asked <- order
	return true
}

// run moves keys each time that it is asked for, until ctx ends.
func (m *keyMover) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case order := <-m.asked:
			m.once(ctx, order)
		}
	}
}

// once moves keys and keeps what came of it.
func (m *keyMover) once(ctx context.Context, order moveOrder) {
	done, err := m.keys.Rewrap(audit.By(ctx, order.actor), vault.RewrapOptions{Keyring: order.keyring, Progress: func(what string, done, total int64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.last.What, m.last.Done, m.last.Total = what, done, total
	}})
	if err != nil && ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	m.last.Ended, m.last.People, m.last.KeyringKeys, m.last.Unreadable = time.Now().UTC(), done.People, done.KeyringKeys, done.Unreadable
	if err != nil {
		m.last.Failed = "It stopped, and the program's log says why. What was moved stays moved; begin again and it goes on."
		if wire.RuleOf(err) != "" {
			m.last.Failed = wire.ProblemOf(err).Detail
		}
	}
	m.mu.Unlock()
	if err != nil {
		m.logger.ErrorContext(ctx, "keys could not be moved", slog.Any("error", err))
	}
}
