package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

// TestFullDisk runs a child whose files cannot grow for a while.
func TestFullDisk(t *testing.T) {
	dsn := storetest.SQLite(t)
	private, verifier := newKey(t)
	c, _, said := start(t, "full disk", dsn, private)
	if err := c.Wait(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	db, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	report, _ := sound(t, db.Audit(), verifier)
	if report.Size < 400 || report.OpenCount != 0 {
		t.Errorf("%d entries, %d open intents; want all outcomes written after the recovery", report.Size, report.OpenCount)
	}
}

// fillDisk limits the size of files (which fails writes as a full disk does),
// sees intents refused, lifts the limit, and sees the log work again without
// anybody's help.
func fillDisk() error {
	signal.Ignore(syscall.SIGXFSZ)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	db, log, err := childLog(ctx, audit.Config{OnFault: func(err error) {
		if !errors.Is(err, gatehouse.ErrUnavailable) {
			fmt.Fprintln(os.Stderr, "the fault has the wrong kind:", err)
		}
	}})
	if err != nil {
		return err
	}
	var receipts []audit.Receipt
	for range 200 {
		r, err := log.Intent(ctx, call())
		if err != nil {
			return fmt.Errorf("with room on the disk: %w", err)
		}
		receipts = append(receipts, r)
	}
	info, err := os.Stat(strings.TrimPrefix(os.Getenv(dsnVariable), "sqlite:") + "-wal")
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	full := limit
	full.Cur = uint64(info.Size())
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	for _, r := range receipts {
		log.Outcome(r, audit.Entry{Verdict: "done"})
	}
	for log.Fault() == nil {
		if ctx.Err() != nil {
			return errors.New("the full disk was not noticed")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := log.Intent(ctx, call()); !errors.Is(err, gatehouse.ErrUnavailable) {
		return fmt.Errorf("an intent on a full disk, want unavailable: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	for log.Fault() != nil {
		if ctx.Err() != nil {
			return errors.New("the log did not recover when there was room again")
		}
		time.Sleep(time.Millisecond)
	}
	r, err := log.Intent(ctx, call())
	if err != nil {
		return fmt.Errorf("after the recovery: %w", err)
	}
	log.Outcome(r, audit.Entry{Verdict: "done"})
	if err := log.Flush(ctx); err != nil {
		return err
	}
	return db.Close()
}
