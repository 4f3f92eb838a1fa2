package records

import (
	"context"
	"time"

	"gatehouse"
)

// Key is what finds a record: whose, for what, and which.
type Key struct {
	Person  gatehouse.PersonID
	Purpose gatehouse.PurposeName
	Label   string
}

// Record is a record as it is stored. The data is sealed for its key.
type Record struct {
	Key
	JSON   bool
	Sealed []byte
	// Size is that of the data in bytes.
	Size int
	// Created is the first time that something was put here, Updated the last.
	Created, Updated time.Time
	// Expires is when the record may be deleted; zero means never.
	Expires time.Time
}

// Store keeps the persons of subjects and the records. Every method is one
// transaction that is durable when it returns nil, and may be called concurrently
// from several processes; repeating one is safe. A missing row is
// gatehouse.ErrNotFound.
type Store interface {
	// SubjectPerson returns the person known by the keyed hash of a subject. When
	// there is none and candidate is not "", candidate becomes that person; of two
	// that race, both calls return the same one.
	SubjectPerson(ctx context.Context, hash string, candidate gatehouse.PersonID) (gatehouse.PersonID, error)
	// ForgetPerson deletes a person's records and the subject's hash that leads to
	// them, and returns how many records there were.
	ForgetPerson(ctx context.Context, person gatehouse.PersonID) (int64, error)

	// PutRecord stores the record of that key or replaces it; what is replaced keeps
	// its Created, which is set in record. It reports whether the record is new.
	PutRecord(ctx context.Context, record *Record) (created bool, err error)
	// Record returns the record of that key.
	Record(ctx context.Context, key Key) (Record, error)
	// Records returns up to limit records of a person without their data, ordered by
	// purpose and label, beginning behind after's.
	Records(ctx context.Context, after Key, limit int) ([]Record, error)
	// DeleteRecords deletes those of the records that were not put again since, by
	// their Updated, and returns how many.
	DeleteRecords(ctx context.Context, records []Record) (int64, error)

	SweepStore
}

// SweepStore is what the sweep needs of the Store.
type SweepStore interface {
	// RecordPurposes returns the purposes that there are records for.
	RecordPurposes(ctx context.Context) ([]gatehouse.PurposeName, error)
	// ExpiredRecords returns up to limit records of a purpose, without their data,
	// that expire at or before now, or were updated at or before a time (zero: that
	// does not count).
	ExpiredRecords(ctx context.Context, purpose gatehouse.PurposeName, now, updatedBefore time.Time, limit int) ([]Record, error)
}
