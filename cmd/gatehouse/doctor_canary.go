package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/atrest"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/records"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
)

// The roads by which secrets and personal data enter the store. Each gets a
// marker of its own. "personal field" and "log's field" go the ways of names and
// of the log's personal details.
const (
	roadToken    = "sealed token"
	roadPersonal = "personal field"
	roadSystem   = "system secret"
	roadRecord   = "kept record"
	roadLog      = "log's personal field"
)

// canarySystem is the name of the system secret that is a canary. It cannot be
// deleted, and holds a word between searches.
const canarySystem = "doctor-canary"

// canaries are planted before a search and taken away behind it. A process that
// dies in between leaves an attempt and a record that end within the hour by
// themselves, and a person without anything.
type canaries struct {
	parts   *parts
	person  gatehouse.PersonID
	attempt connect.Attempt
	record  records.Record
	markers map[string]secret.Text // by road
	sealed  map[string][]byte      // by road; what the store holds of it
	wrapped []byte                 // the key of a person that was destroyed since
}

// canaryTime bounds how long what a dead process planted stays.
const canaryTime = time.Hour

// plant puts a marker on every road. The receipt's entry, which carries one, is
// the intent of the search.
func plant(ctx context.Context, p *parts, facts map[string]string) (*canaries, audit.Receipt, error) {
	c := &canaries{parts: p, markers: map[string]secret.Text{}, sealed: map[string][]byte{}}
	for _, road := range []string{roadToken, roadPersonal, roadSystem, roadRecord, roadLog} {
		c.markers[road] = secret.New("canary" + rand.Text() + rand.Text())
	}
	var err error
	if c.person, err = p.vault.NewPerson(ctx); err != nil {
		return c, audit.Receipt{}, err
	}
	receipt, err := p.log.Intent(ctx, audit.Entry{
		Action: atRestAction, Facts: facts, Person: c.person, Personal: map[string]string{"canary": c.markers[roadLog].Reveal()},
	})
	if err != nil {
		return c, receipt, err
	}
	for _, step := range []func(context.Context) error{c.plantAttempt, c.plantSystem, c.plantRecord, c.plantResidue} {
		if err := step(ctx); err != nil {
			return c, receipt, fmt.Errorf("planting canaries: %w", err)
		}
	}
	return c, receipt, nil
}

// plantAttempt seals a marker as tokens are sealed, and one as names are, in the
// row of a connection attempt that leads nowhere.
func (c *canaries) plantAttempt(ctx context.Context) error {
	now := time.Now()
	a := connect.Attempt{ID: "att_canary" + rand.Text(), Stage: connect.Closed, Created: now, Expires: now.Add(canaryTime)}
	var err error
	if a.Verifier, err = c.parts.vault.Seal(ctx, vault.Ref{Table: "connect_attempts", Row: a.ID, Column: "verifier", Person: c.person}, c.markers[roadToken]); err != nil {
		return err
	}
	if a.SubjSealed, err = c.parts.vault.SealPersonal(ctx, c.person, "connect_attempts/"+a.ID+"/subject", []byte(c.markers[roadPersonal].Reveal())); err != nil {
		return err
	}
	if a.Version, err = c.parts.db.Connect().SaveAttempt(ctx, a); err != nil {
		return err
	}
	c.attempt, c.sealed[roadToken], c.sealed[roadPersonal] = a, a.Verifier, a.SubjSealed
	return nil
}

func (c *canaries) plantSystem(ctx context.Context) error {
	if err := c.parts.vault.PutSystem(ctx, canarySystem, c.markers[roadSystem]); err != nil {
		return err
	}
	kept, err := c.parts.db.Vault().SystemRecord(ctx, canarySystem)
	c.sealed[roadSystem] = kept.Sealed
	return err
}

func (c *canaries) plantRecord(ctx context.Context) error {
	key := records.Key{Person: c.person, Purpose: "gatehouse-doctor", Label: "canary"}
	text := c.markers[roadRecord].Reveal()
	sealed, err := c.parts.vault.Batch().Seal(ctx, nil, vault.Place{Person: c.person, Parts: []string{"doctor", "canary"}}, []byte(text))
	if err != nil {
		return err
	}
	now := time.Now()
	rec := records.Record{Key: key, Sealed: sealed, Size: len(text), Created: now, Updated: now, Expires: now.Add(canaryTime)}
	if _, err := c.parts.db.Records().PutRecord(ctx, &rec); err != nil {
		return err
	}
	c.record, c.sealed[roadRecord] = rec, sealed
	return nil
}

// plantResidue makes a person and destroys their key, as an erasure does.
func (c *canaries) plantResidue(ctx context.Context) error {
	person, err := c.parts.vault.NewPerson(ctx)
	if err != nil {
		return err
	}
	key, err := c.parts.db.Vault().PersonKey(ctx, person, 0)
	if err != nil {
		return err
	}
	c.wrapped = key.Wrapped
	return c.parts.vault.DestroyPerson(ctx, person)
}

// add gives the markers and their sealed forms to a search, and returns the roads
// whose sealed form has to be seen. That of the log's field stays in the log.
func (c *canaries) add(into *atrest.Patterns) (roads []string) {
	for _, road := range []string{roadToken, roadPersonal, roadSystem, roadRecord, roadLog} {
		into.Add(atrest.Canary.Of(road), c.markers[road])
		if sealed := c.sealed[road]; sealed != nil {
			into.AddBytes(atrest.SealedCanary.Of(road), sealed)
			roads = append(roads, road)
		}
	}
	into.AddBytes(atrest.WrappedKey, c.wrapped)
	return roads
}

// remove takes away what was planted: the rows go, and what the log keeps of it
// is unreadable once the person's key is gone.
func (c *canaries) remove(ctx context.Context) error {
	var errs []error
	if c.attempt.Version > 0 {
		// Nothing real ended so long ago, so nothing else is swept.
		c.attempt.Expires = time.Unix(1, 0)
		_, err := c.parts.db.Connect().SaveAttempt(ctx, c.attempt)
		errs = append(errs, err, c.parts.db.Connect().SweepAttempts(ctx, time.Unix(2, 0)))
	}
	if c.sealed[roadSystem] != nil {
		errs = append(errs, c.parts.vault.PutSystem(ctx, canarySystem, secret.New("removed")))
	}
	if c.record.Person != "" {
		_, err := c.parts.db.Records().DeleteRecords(ctx, []records.Record{c.record})
		errs = append(errs, err)
	}
	if c.person != "" {
		errs = append(errs, c.parts.vault.DestroyPerson(ctx, c.person), c.parts.log.ForgetPerson(ctx, c.person))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("taking the canaries away: %w", err)
	}
	return nil
}
