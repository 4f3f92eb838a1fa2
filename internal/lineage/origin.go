package lineage

import (
	"context"
	"errors"
	"sync"
	"time"

	"gatehouse"
)

// origins remember where somebody's data came from, for a minute.
type origins struct {
	mu     sync.Mutex // guards what follows
	known  map[originKey]origin
	turned time.Time
	brands map[string]bool
}

type originKey struct {
	owner   Owner
	class   gatehouse.DataClass
	service gatehouse.ServiceName
}

type origin struct {
	way   Edge
	brand bool
}

const (
	originLife = time.Minute
	maxOrigins = 20_000
)

// origin returns where the newest data of that kind of somebody came from.
func (l *Lineage) origin(ctx context.Context, owner Owner, class gatehouse.DataClass, service gatehouse.ServiceName) (origin, error) {
	x, key := &l.origins, originKey{owner, class, service}
	x.mu.Lock()
	if time.Since(x.turned) > originLife || len(x.known) >= maxOrigins {
		x.known, x.turned, x.brands = map[originKey]origin{}, time.Now(), nil
	}
	o, known := x.known[key]
	brands := x.brands
	x.mu.Unlock()
	if known {
		return o, nil
	}
	if brands == nil {
		hashes, err := l.config.Brands(ctx)
		if err != nil {
			return o, err
		}
		brands = map[string]bool{}
		for _, h := range hashes {
			brands[h] = true
		}
	}
	var err error
	if o.way, err = l.store.Origin(ctx, owner, class, service); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return o, err
	}
	people, err := l.store.People(ctx, []Owner{owner})
	if err != nil {
		return o, err
	}
	o.brand = len(people) > 0 && people[0].Hash != "" && brands[people[0].Hash]
	x.mu.Lock()
	defer x.mu.Unlock()
	x.known[key], x.brands = o, brands
	return o, nil
}
