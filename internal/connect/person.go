package connect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// PeopleStore keeps who is known under which id at a platform. Every write is one
// transaction that is durable when it returns nil, and may be repeated.
type PeopleStore interface {
	// EndPerson takes a person out of the index that new grants are joined by:
	// whoever comes back under the same id is somebody new. EndedPeople still finds
	// the person until ErasePerson.
	EndPerson(ctx context.Context, person gatehouse.PersonID) error
	// EndedPeople returns the ended people who were known by the keyed hash.
	EndedPeople(ctx context.Context, userHash string) ([]gatehouse.PersonID, error)
	// ErasePerson makes every connection of the person Erased, without anything
	// sealed and without the hashes by which it was found, and deletes the person's
	// attempts, imports and places in the index.
	ErasePerson(ctx context.Context, person gatehouse.PersonID, at time.Time) error
}

// Who names people by what the caller knows of them; one of its forms is used.
type Who struct {
	// Subject is the app's own name: all the people it was joined with.
	Subject gatehouse.Subject
	// Connection names the person of one connection.
	Connection gatehouse.ConnectionID
	// App and User are a platform's id of a person, at one app registration.
	App  gatehouse.AppName
	User string
}

// People returns the people whom w names, also those who are being erased. None
// is no error.
func (c *Connections) People(ctx context.Context, w Who) ([]gatehouse.PersonID, error) {
	switch {
	case w.Connection != "":
		rec, err := c.redeemed(ctx, w.Connection)
		if err != nil || rec.Person == "" {
			return nil, err
		}
		return []gatehouse.PersonID{rec.Person}, nil
	case w.Subject != "":
		hash, err := c.subjectHash(ctx, w.Subject)
		if err != nil {
			return nil, err
		}
		var people []gatehouse.PersonID
		err = c.each(ctx, Filter{SubjectHash: hash, WithPending: true}, func(rec Record) error {
			if rec.Person != "" && !slices.Contains(people, rec.Person) {
				people = append(people, rec.Person)
			}
			return nil
		})
		return people, err
	}
	a, err := c.app(w.App)
	if err != nil {
		return nil, err
	}
	hash, err := c.userHash(ctx, a, w.User)
	if err != nil {
		return nil, err
	}
	people, err := c.store.EndedPeople(ctx, hash)
	if err != nil {
		return nil, err
	}
	known, err := c.store.PersonOf(ctx, hash, "")
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		return people, nil
	case err != nil:
		return nil, err
	}
	// The one of today comes first.
	return append([]gatehouse.PersonID{known}, slices.DeleteFunc(people, func(p gatehouse.PersonID) bool { return p == known })...), nil
}

// UserKey is the keyed hash of a platform's id of a person: it tells whose events
// belong together without saying whose they are.
func (c *Connections) UserKey(ctx context.Context, app gatehouse.AppName, user string) (string, error) {
	a, err := c.app(app)
	if err != nil {
		return "", err
	}
	return c.userHash(ctx, a, user)
}

// UserKeys returns the keyed hashes (UserKey) of all that platforms call a person.
// It needs no key of the person's, and finds none after ErasePerson.
func (c *Connections) UserKeys(ctx context.Context, person gatehouse.PersonID) ([]string, error) {
	var keys []string
	err := c.each(ctx, Filter{Person: person, WithPending: true}, func(rec Record) error {
		if rec.UserHash != "" && !slices.Contains(keys, rec.UserHash) {
			keys = append(keys, rec.UserHash)
		}
		return nil
	})
	return keys, err
}

// KnownAs returns how lineage knows a person whose grant is held: the platform, and
// what UserKey makes of what it calls them. ErrNotFound means that neither is known.
func (c *Connections) KnownAs(ctx context.Context, person gatehouse.PersonID) (platform gatehouse.Platform, key string, err error) {
	page, err := c.store.Connections(ctx, Filter{Person: person, WithPending: true, Limit: guardBatch})
	if err != nil {
		return "", "", err
	}
	for _, rec := range page {
		if rec.UserHash != "" && rec.Kind != KindApp {
			return c.apps[rec.App].Platform, rec.UserHash, nil
		}
	}
	return "", "", fmt.Errorf("a person's platform: %w", gatehouse.ErrNotFound)
}

// Known is what is known of a person, opened for showing or for asking the app to
// delete its own copy.
type Known struct {
	Person      gatehouse.PersonID
	Connections []Connection
}

// Subjects returns the app's own names of the person.
func (k Known) Subjects() []gatehouse.Subject {
	var list []gatehouse.Subject
	for _, v := range k.Connections {
		if v.Subject != "" && !slices.Contains(list, v.Subject) {
			list = append(list, v.Subject)
		}
	}
	return list
}

// Known returns a person's connections, those that ended among them. One whose row was
// changed is Unreadable: of its person only the id is known, and an erasure goes on.
func (c *Connections) Known(ctx context.Context, person gatehouse.PersonID) (Known, error) {
	k := Known{Person: person}
	err := c.each(ctx, Filter{Person: person}, func(rec Record) error {
		v, err := c.listed(ctx, rec)
		k.Connections = append(k.Connections, v)
		return err
	})
	return k, err
}

// ConnectionsOf returns the ids of all connections that a person has or had, pending
// and erased ones among them. It opens nothing.
func (c *Connections) ConnectionsOf(ctx context.Context, person gatehouse.PersonID) ([]gatehouse.ConnectionID, error) {
	if person == "" {
		return nil, wire.Refuse(gatehouse.ErrInvalid, "person/none", "No person is named.")
	}
	var ids []gatehouse.ConnectionID
	err := c.each(ctx, Filter{Person: person, WithPending: true}, func(rec Record) error {
		ids = append(ids, rec.ID)
		return nil
	})
	return ids, err
}

// each calls f for every record that matches, page by page.
func (c *Connections) each(ctx context.Context, f Filter, visit func(Record) error) error {
	f.Limit = 500
	for {
		page, err := c.store.Connections(ctx, f)
		if err != nil {
			return err
		}
		for _, rec := range page {
			if err := visit(rec); err != nil {
				return err
			}
		}
		if len(page) < f.Limit {
			return nil
		}
		f.After = page[len(page)-1].ID
	}
}

// EndPerson cuts a person off: nothing of theirs authorises a call when it
// returns, whoever connects under the same id from then on is somebody new, and
// the platforms are asked to end the grants. It reports whether all of them have
// confirmed; the background work asks the others again. It may be repeated.
func (c *Connections) EndPerson(ctx context.Context, person gatehouse.PersonID, reason string) (confirmed bool, err error) {
	// The index first: a callback that is under way finds nobody to join.
	if err := c.store.EndPerson(ctx, person); err != nil {
		return false, err
	}
	var failed error
	err = c.each(ctx, Filter{Person: person, WithPending: true}, func(rec Record) error {
		switch {
		case rec.Status == Erased:
		case rec.Redeemed.IsZero():
			failed = errors.Join(failed, c.cutPending(ctx, rec, reason))
		case rec.Parent == "" && rec.Status != Revoked:
			// One that fails does not keep the others.
			failed = errors.Join(failed, c.Revoke(ctx, rec.ID, reason))
		}
		return nil
	})
	if failed = errors.Join(failed, err); failed != nil {
		return false, failed
	}
	confirmed = true
	err = c.each(ctx, Filter{Person: person, WithPending: true}, func(rec Record) error {
		if rec.Status != Erased && (rec.Status != Revoked || rec.RevokeOutstanding) {
			confirmed = false
		}
		return nil
	})
	return confirmed, err
}

// ErasePerson destroys everything that is held of a person: their key, and with it
// tokens, names and personal fields of the log; then what led to them. It needs no
// key and no platform, and may be repeated.
func (c *Connections) ErasePerson(ctx context.Context, person gatehouse.PersonID) error {
	if person == "" {
		return wire.Refuse(gatehouse.ErrInvalid, "person/none", "No person is named.")
	}
	// The handles first: what no longer authorises must not outlive its row.
	err := c.each(ctx, Filter{Person: person, WithPending: true}, func(rec Record) error {
		if rec.Redeemed.IsZero() {
			return nil
		}
		return c.revokeHandles(ctx, rec.ID)
	})
	if err != nil {
		return err
	}
	if _, err := c.log.Record(ctx, audit.Entry{Action: "person.erase", Verdict: "allow"}); err != nil {
		return err
	}
	if err := c.vault.DestroyPerson(ctx, person); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return err
	}
	return c.store.ErasePerson(ctx, person, time.Now())
}
