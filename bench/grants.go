package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"
)

// progress shows on a terminal how far long work has come; in a pipe it is silent.
func progress(format string, args ...any) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
	}
}

// realGrants is how many grants of the sandbox are taken in beside the synthetic
// ones: enough for a wave of some seconds, and a hundredth of the whole.
func realGrants(most int) int { return min(max(most/100, 1000), 10_000) }

// grants measures what becomes slower, or does not, with the number of
// connections: finding what is due, a wave of renewals, calls during one, memory.
func grants(ctx context.Context, d time.Duration, rounds, most int, postgres string) error {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log.Print("building gatehouse …")
	program := filepath.Join(dir, "gatehouse")
	if err := build(ctx, "..", program, "./cmd/gatehouse"); err != nil {
		return err
	}
	s, err := newStage(ctx, dir, program)
	defer s.close()
	if err != nil {
		return err
	}
	x, err := newPlatformX(s)
	if err != nil {
		return err
	}
	disk, err := fdatasync(dir)
	if err != nil {
		return err
	}
	fmt.Printf("Machine: %s. One fdatasync of 4 KiB on the same disk: median %s. Up to %d connections.\n", describe(), disk.Round(time.Microsecond), most)
	if err := onEngine(ctx, "SQLite", "sqlite:"+filepath.Join(dir, "registry.db"), dir, x, most); err != nil {
		return err
	}
	var stop func()
	if postgres == "" {
		postgres, stop, err = startPostgres(ctx)
	}
	if errors.Is(err, errNoPostgres) {
		fmt.Printf("\nNot measured on PostgreSQL: %v.\n", err)
	} else {
		if err == nil {
			err = onEngine(ctx, "PostgreSQL", postgres, dir, x, most)
		}
		if stop != nil {
			stop()
		}
		if err != nil {
			return err
		}
	}
	return beside(ctx, os.Stdout, s, x, d, rounds, most)
}

// onEngine measures a registry of connections in this process.
func onEngine(ctx context.Context, engine, dsn, dir string, x *platformX, most int) error {
	r, err := newRegistry(ctx, engine, dsn, dir, x)
	if err != nil {
		return fmt.Errorf("%s: %w", engine, err)
	}
	defer r.close()
	fmt.Printf("\nFinding what is due, %s (median times; the sealed fields are noise of realistic size):\n\n", engine)
	if err := finding(ctx, os.Stdout, r, most); err != nil {
		return fmt.Errorf("%s: %w", engine, err)
	}
	ids, err := r.takeIn(ctx, x, realGrants(most))
	if err != nil {
		return fmt.Errorf("%s: taking in grants: %w", engine, err)
	}
	progress("")
	fmt.Printf("\nRefreshes at the sandbox's X, single use, among the %d:\n\n", most)
	if err := refreshing(ctx, os.Stdout, r, x, ids); err != nil {
		return fmt.Errorf("%s: %w", engine, err)
	}
	if engine != "SQLite" {
		return nil // when tokens come due does not depend on the engine
	}
	fmt.Printf("\nA wave: when the tokens renewed in one moment come due again:\n\n")
	return spreading(ctx, os.Stdout, r, ids, most)
}
