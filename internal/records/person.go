package records

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/vault"
)

// Owner says whose data it is: the app's own name for a human, or the person of a
// connection, whom the caller has looked up. Exactly one of Subject and Person is
// set. The two are different persons with different keys, even where the subject
// has that connection: what belongs to a platform's grant ends with it.
type Owner struct {
	Subject gatehouse.Subject
	Person  gatehouse.PersonID
	// Connection is how the app named Person; it is for the log only.
	Connection gatehouse.ConnectionID
}

const maxSubject = 200

func (o Owner) check() error {
	if (o.Subject == "") == (o.Person == "") {
		return invalid("records/owner", "Say whose data it is: give subject or connection, and not both.")
	}
	if len(o.Subject) > maxSubject || !utf8.ValidString(string(o.Subject)) || strings.ContainsFunc(string(o.Subject), unicode.IsControl) {
		return errSubject
	}
	return nil
}

var errSubject = invalid("records/subject", "subject must be 1 to 200 bytes of printable text: your own name for the person.")

// personal are the fields of a log entry that say whose data it was.
func (o Owner) personal() map[string]string {
	if o.Connection != "" {
		return map[string]string{"connection": string(o.Connection)}
	}
	return map[string]string{"subject": string(o.Subject)}
}

// hash is the keyed hash by which a subject's person is found: without the vault
// it does not lead back to the subject.
func (r *Records) hash(ctx context.Context, s gatehouse.Subject) (string, error) {
	derived, err := r.Vault.Derive(ctx, "records/subject", string(s))
	if err != nil {
		return "", err
	}
	return derived.Reveal(), nil
}

// person returns the person whose key seals for the owner. A subject's is made at
// the first sealing if fresh allows it, and is errErased otherwise.
func (r *Records) person(ctx context.Context, o Owner, fresh bool) (gatehouse.PersonID, error) {
	if o.Person != "" {
		return o.Person, nil
	}
	hash, err := r.hash(ctx, o.Subject)
	if err != nil {
		return "", err
	}
	known, err := r.Store.SubjectPerson(ctx, hash, "")
	switch {
	case !errors.Is(err, gatehouse.ErrNotFound):
		return known, err
	case !fresh:
		return "", errErased
	}
	candidate, err := r.Vault.NewPerson(ctx)
	if err != nil {
		return "", err
	}
	settled, err := r.Store.SubjectPerson(ctx, hash, candidate)
	if err == nil && settled != candidate {
		// Another request of the same subject was faster; nothing is sealed with this
		// key.
		err = r.Vault.DestroyPerson(ctx, candidate)
	}
	return settled, err
}

// PersonsOfSubject returns the persons whose keys seal for a subject, none or
// one. The persons of the subject's connections are not among them. It is for an
// erasure, which destroys their keys and then calls Forget for each.
func (r *Records) PersonsOfSubject(ctx context.Context, s gatehouse.Subject) ([]gatehouse.PersonID, error) {
	person, err := r.person(ctx, Owner{Subject: s}, false)
	switch {
	case errors.Is(err, errErased):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("looking for a subject's person: %w", err)
	}
	return []gatehouse.PersonID{person}, nil
}

// Forget deletes the records of a person, and what leads from a subject to them,
// after which the subject is as one that was never seen. The person's key must
// have been destroyed before, or it is ErrConflict: a key that nothing leads to
// could not be found by a later erasure. Repeating it is no error.
func (r *Records) Forget(ctx context.Context, person gatehouse.PersonID) error {
	if person == "" {
		return fmt.Errorf("forgetting a person: no person is named: %w", gatehouse.ErrInvalid)
	}
	switch err := r.Vault.Batch().Ready(ctx, person); {
	case err == nil, errors.Is(err, gatehouse.ErrDenied):
		return fmt.Errorf("forgetting a person whose key was not destroyed: %w", gatehouse.ErrConflict)
	case !errors.Is(err, vault.ErrErased) && !errors.Is(err, gatehouse.ErrNotFound):
		return fmt.Errorf("forgetting a person: %w", err)
	}
	held, err := r.Store.Records(ctx, Key{Person: person}, 1)
	if err != nil {
		return fmt.Errorf("forgetting a person: %w", err)
	}
	var receipt audit.Receipt
	if len(held) > 0 {
		// What cannot be recorded now is done all the same, and said afterwards.
		receipt, _ = r.Log.Reduce(ctx, audit.Entry{Action: "record.delete", Facts: map[string]string{"cause": "erasure"}})
	}
	n, err := r.Store.ForgetPerson(ctx, person)
	end := audit.Entry{Action: "record.delete", Facts: map[string]string{"records": fmt.Sprint(n), "cause": "erasure"}}
	switch {
	case receipt.ID() != "":
		if err != nil {
			end.Verdict = "failed"
		}
		r.Log.Outcome(receipt, end)
	case n > 0:
		r.Log.Reduction(end)
	}
	if err != nil {
		return fmt.Errorf("forgetting a person: %w", err)
	}
	return nil
}
