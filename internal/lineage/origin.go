package lineage

import (
	"context"
	"sync"
	"time"

	"gatehouse"
)

// origins remember where somebody's data came from, and whose data is the customer's
// own, for a minute.
type origins struct {
	mu     sync.Mutex // guards what follows; never held across a call to the store
	known  map[OriginKey]Edge
	turned time.Time
	brands map[Owner]bool
	// all is set when each of the customer's accounts has a number: until then they are
	// looked up again.
	all bool
}

const (
	originLife = time.Minute
	maxOrigins = 20_000
)

// came is where the data of some hits came from.
type came struct {
	ways   map[OriginKey]Edge
	brands map[Owner]bool
}

// origin returns where the newest data of that kind of the owners of all the hits came
// from. What is not remembered is asked for at once, however many they are.
func (l *Lineage) origin(ctx context.Context, hits []found, service gatehouse.ServiceName) (came, error) {
	x := &l.origins
	c := came{ways: map[OriginKey]Edge{}}
	var missing []OriginKey
	x.mu.Lock()
	if time.Since(x.turned) > originLife || len(x.known) >= maxOrigins {
		x.known, x.turned, x.brands, x.all = map[OriginKey]Edge{}, time.Now(), nil, false
	}
	for i := range hits {
		for _, owner := range hits[i].Owners {
			key := OriginKey{owner, hits[i].Class, service}
			if _, done := c.ways[key]; done {
				continue
			}
			way, known := x.known[key]
			if c.ways[key] = way; !known {
				missing = append(missing, key)
			}
		}
	}
	c.brands = x.brands
	look := !x.all
	x.mu.Unlock()
	if len(missing) == 0 {
		return c, nil
	}
	all := true
	if look {
		var err error
		if c.brands, all, err = l.brands(ctx); err != nil {
			return c, err
		}
	}
	// A value is recognised for so long after its last delivery.
	since := dayOf(time.Now().Add(-l.config.Keep-l.touch())) - 1
	ways, err := l.store.Origins(ctx, missing, since)
	if err != nil {
		return c, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, key := range missing {
		c.ways[key], x.known[key] = ways[i], ways[i]
	}
	x.brands, x.all = c.brands, all
	return c, nil
}

// brands returns the numbers of the customer's own accounts, and whether each has one.
func (l *Lineage) brands(ctx context.Context) (map[Owner]bool, bool, error) {
	hashes, err := l.config.Brands(ctx)
	if err != nil || len(hashes) == 0 {
		return nil, true, err
	}
	owners, err := l.store.Owners(ctx, hashes)
	numbers := make(map[Owner]bool, len(owners))
	for _, o := range owners {
		numbers[o] = true
	}
	return numbers, len(owners) == len(hashes), err
}
