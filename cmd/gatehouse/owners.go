package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
)

const (
	// kindOwnerMark is the kind under which the index' hash makes people's marks. No value
	// of an entry has it.
	kindOwnerMark = "owner-mark"
	markSize      = 16
	// markBatch is how many people are marked in one transaction, and markInline how many
	// at most while somebody waits.
	markBatch  = 500
	markInline = 4 * markBatch
	// markPause lets others write between two batches, markEvery is how often new people
	// are looked for.
	markPause = 200 * time.Millisecond
	markEvery = time.Minute
)

// ownerMark is by what a person is found whose hash stands beside an entry.
func (p *parts) ownerMark(hash []byte) []byte {
	return p.logIndex(kindOwnerMark, string(hash))[:markSize]
}

// markPeople marks people who are not yet, at most some, and reports whether all are.
func (p *parts) markPeople(ctx context.Context, most int) (all bool, err error) {
	for ; most > 0; most -= markBatch {
		people, err := p.db.Vault().UnmarkedPeople(ctx, markBatch)
		if err != nil || len(people) == 0 {
			return err == nil, err
		}
		marks := make([]store.PersonMark, len(people))
		for i, person := range people {
			marks[i] = store.PersonMark{Person: person, Mark: p.ownerMark(audit.PersonHash(p.logIndex, person))}
		}
		if err := p.db.Vault().MarkPeople(ctx, marks); err != nil {
			return false, err
		}
		if len(people) < markBatch {
			return true, nil
		}
	}
	return false, nil
}

// tendMarks marks people who came, until ctx ends, so that nobody waits for it who asks
// whose an entry is.
func (p *parts) tendMarks(ctx context.Context) error {
	for {
		all, err := p.markPeople(ctx, markBatch)
		if err != nil && ctx.Err() == nil {
			p.logger.WarnContext(ctx, "people could not be marked; whose an entry is takes longer to find", slog.Any("error", err))
		}
		pause := markPause
		if all || err != nil {
			pause = markEvery
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// ownersOf finds out whose the hashes are. Everybody is compared only while there are
// more without a mark than can be marked at once, which is after an upgrade.
func (p *parts) ownersOf(ctx context.Context, wanted map[string]bool) (map[string]gatehouse.PersonID, error) {
	owners := map[string]gatehouse.PersonID{}
	if len(wanted) == 0 {
		return owners, nil
	}
	// Where nothing can be written, everybody is compared.
	all, err := p.markPeople(ctx, markInline)
	if err != nil {
		all = false
	}
	for hash := range wanted {
		person, err := p.db.Vault().MarkedPerson(ctx, p.ownerMark([]byte(hash)))
		if errors.Is(err, gatehouse.ErrNotFound) {
			continue // erased, or not marked yet
		}
		if err != nil {
			return nil, err
		}
		owners[hash] = person
	}
	if all || len(owners) == len(wanted) {
		return owners, nil
	}
	err = p.eachPerson(ctx, func(person gatehouse.PersonID) bool {
		if hash := string(audit.PersonHash(p.logIndex, person)); wanted[hash] {
			owners[hash] = person
		}
		return len(owners) < len(wanted)
	})
	return owners, err
}
