package store

import (
	"context"
	"errors"
	"time"

	"gatehouse"
	"gatehouse/internal/notice"
)

const (
	noticeSelect statement = `SELECT received FROM notices WHERE id = $1`
	noticeInsert statement = `INSERT INTO notices (id, received) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	noticeSweep  statement = `DELETE FROM notices WHERE received < $1`
)

// noticeStore implements the Store of package notice.
type noticeStore struct{ db *DB }

// Notices returns the store of package notice.
func (d *DB) Notices() notice.Store { return noticeStore{d} }

func (s noticeStore) NoticeTaken(ctx context.Context, id string) (bool, error) {
	var received int64
	err := s.db.queryRow(ctx, noticeSelect, id).Scan(&received)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s noticeStore) TakeNotice(ctx context.Context, id string, at time.Time) error {
	_, err := s.db.logExec(ctx, noticeInsert, id, micros(at))
	return err
}

func (s noticeStore) SweepNotices(ctx context.Context, before time.Time) error {
	_, err := s.db.logExec(ctx, noticeSweep, micros(before))
	return err
}
