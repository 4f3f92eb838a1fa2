package store

import (
	"context"
	"database/sql"
	"sync"
)

// prepared keeps compiled statements of one pool. Parsing costs SQLite more than
// running most of our statements. It cannot grow without bound: statements are
// constants of this package.
type prepared struct {
	pool *sql.DB
	mu   sync.RWMutex
	by   map[statement]*sql.Stmt
}

func newPrepared(pool *sql.DB) *prepared {
	return &prepared{pool: pool, by: make(map[statement]*sql.Stmt)}
}

// known returns the compiled form of s if there is one. A nil p knows none.
func (p *prepared) known(s statement) *sql.Stmt {
	if p == nil {
		return nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.by[s]
}

// get returns the compiled form of s. A statement that cannot be compiled now
// (the database is away) is tried again the next time.
func (p *prepared) get(ctx context.Context, s statement) (*sql.Stmt, error) {
	if st := p.known(s); st != nil {
		return st, nil
	}
	st, err := p.pool.PrepareContext(ctx, string(s))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.by[s]; first != nil {
		_ = st.Close() // another goroutine was faster; closing a statement cannot lose anything
		return first, nil
	}
	p.by[s] = st
	return st, nil
}
