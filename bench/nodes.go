package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"
)

// nodes measures two nodes on one PostgreSQL that append at once: to the one log that
// they share, and each to a log of its own.
func nodes(ctx context.Context, d time.Duration, rounds int) error {
	dsn, stop, err := startPostgres(ctx)
	if err != nil {
		return err
	}
	defer stop()
	dir, err := os.MkdirTemp("", "gatehouse-bench-nodes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := printMachine(dir); err != nil {
		return err
	}
	shared, err := twoNodes(ctx, dsn, "shared", false)
	if err != nil {
		return err
	}
	own, err := twoNodes(ctx, dsn, "own", true)
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| writers of each node\t| two nodes\t| appends/s together, ratio to one log\t| appends/s\t| p50\t| p99\t|\n| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, writers := range logWriters {
		seen := map[*logPeer][]result{}
		for range rounds {
			for _, p := range []*logPeer{shared, own} {
				r, err := appendFor(ctx, p, 2*writers, d)
				if err != nil {
					return fmt.Errorf("measuring %s with %d writers: %w", p.name, writers, err)
				}
				seen[p] = append(seen[p], r)
			}
		}
		for _, p := range []*logPeer{shared, own} {
			var ratio, rate []float64
			var p50, p99 []time.Duration
			for round, r := range seen[p] {
				ratio, rate = append(ratio, r.perSecond/seen[shared][round].perSecond), append(rate, r.perSecond)
				p50, p99 = append(p50, r.p50), append(p99, r.p99)
			}
			us := func(d []time.Duration) string { return median(d).Round(10 * time.Microsecond).String() }
			fmt.Fprintf(out, "| %d\t| %s\t| %.1f\t| %.0f\t| %s\t| %s\t|\n", writers, p.name, median(ratio), median(rate), us(p50), us(p99))
		}
	}
	return errors.Join(out.Flush(), shared.close(), own.close())
}

// twoNodes opens two nodes on a database of its own; appends go to them in turns.
func twoNodes(ctx context.Context, dsn, name string, own bool) (*logPeer, error) {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	_, err = c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		return nil, err
	}
	config := c.Config()
	dsn = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", config.Port, name)
	if err := store.Create(ctx, dsn); err != nil {
		return nil, err
	}
	private, _, err := note.GenerateKey(rand.Reader, "gatehouse/bench/log")
	if err != nil {
		return nil, err
	}
	var logs []*audit.Log
	var closes []func() error
	for number := range int64(2) {
		if !own {
			number = 0
		}
		signer, err := note.NewSigner(private)
		if err != nil {
			return nil, err
		}
		db, err := store.Open(ctx, dsn)
		if err != nil {
			return nil, err
		}
		l, err := audit.Open(ctx, audit.Config{
			Store: db.AuditLog(number), Signer: signer, Environment: "production",
			Seal: func(_ context.Context, _ gatehouse.PersonID, _ string, plain []byte) ([]byte, error) {
				sealed := make([]byte, len(plain)+33)
				_, _ = rand.Read(sealed)
				return sealed, nil
			},
		})
		if err != nil {
			return nil, err
		}
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- l.Run(running) }()
		logs = append(logs, l)
		closes = append(closes, func() error {
			stop()
			return errors.Join(<-ended, db.Close())
		})
	}
	p := &logPeer{name: map[bool]string{false: "one log", true: "a log for each"}[own]}
	p.append = func(ctx context.Context) error {
		_, err := logs[p.turn.Add(1)%2].Record(ctx, benchEntry)
		return err
	}
	p.close = func() error {
		var errs []error
		for _, f := range closes {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	return p, nil
}
