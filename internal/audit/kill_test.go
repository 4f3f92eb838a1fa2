package audit_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// The test binary runs itself as a child with a role.
const (
	roleVariable = "GATEHOUSE_TEST_AUDIT_ROLE"
	dsnVariable  = "GATEHOUSE_TEST_AUDIT_STORE"
	keyVariable  = "GATEHOUSE_TEST_AUDIT_KEY"
)

func child(role string) int {
	var err error
	switch role {
	case "append":
		err = appendUntilKilled()
	case "full disk":
		err = fillDisk()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// childLog opens the log that the environment names and runs it.
func childLog(ctx context.Context, c audit.Config) (*store.DB, *audit.Log, error) {
	db, err := store.Open(ctx, os.Getenv(dsnVariable))
	if err != nil {
		return nil, nil, err
	}
	if c.Signer, err = note.NewSigner(os.Getenv(keyVariable)); err != nil {
		return nil, nil, err
	}
	c.Store, c.Environment, c.Seal = db.Audit(), "production", seal
	log, err := audit.Open(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	go func() { _ = log.Run(ctx) }()
	return db, log, nil
}

// appendUntilKilled writes entries and prints the id of each once it is
// acknowledged.
func appendUntilKilled() error {
	ctx := context.Background()
	_, log, err := childLog(ctx, audit.Config{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for range 8 {
		go func() {
			for {
				r, err := log.Intent(ctx, call())
				if err != nil {
					failed <- err
					return
				}
				// One write for one line: lines of several goroutines do not mix.
				if _, err := os.Stdout.WriteString(r.ID() + "\n"); err != nil {
					failed <- err
					return
				}
				log.Outcome(r, audit.Entry{Verdict: "done", Status: 200})
			}
		}()
	}
	return <-failed
}

func start(t *testing.T, role, dsn, private string) (*exec.Cmd, io.ReadCloser, *strings.Builder) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleVariable+"="+role, dsnVariable+"="+dsn, keyVariable+"="+private)
	var said strings.Builder
	c.Stderr = &said
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, out, &said
}

// TestKill kills a process that writes the log, at random moments, again and
// again on the same log. After each, the log verifies and every acknowledged
// entry is in it.
func TestKill(t *testing.T) {
	const series, kills = 4, 14 // on SQLite; one more series on PostgreSQL
	for s := range series {
		t.Run(fmt.Sprint("sqlite ", s), func(t *testing.T) { killSeries(t, storetest.SQLite(t), kills) })
	}
	t.Run("postgres", func(t *testing.T) { killSeries(t, storetest.Postgres(t), kills) })
}

func killSeries(t *testing.T, dsn string, kills int) {
	t.Parallel()
	private, verifier := newKey(t)
	acknowledged := map[string]bool{}
	for range kills {
		c, out, said := start(t, "append", dsn, private)
		lines := bufio.NewScanner(out)
		// The first line says that the child is at work; the moment is counted
		// from there, so that the kill falls into writing.
		if !lines.Scan() {
			_ = c.Wait()
			t.Fatalf("the child wrote nothing: %s", said)
		}
		acknowledged[lines.Text()] = true
		var reading sync.WaitGroup
		reading.Go(func() {
			for lines.Scan() {
				if len(lines.Text()) == 26 {
					acknowledged[lines.Text()] = true
				}
			}
		})
		time.Sleep(time.Duration(rand.Int64N(int64(40 * time.Millisecond))))
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		reading.Wait()
		if err := c.Wait(); err == nil || said.Len() > 0 {
			t.Fatalf("the child ended by itself: %v %s", err, said)
		}
		db, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatalf("opening the store after a kill: %v", err)
		}
		_, rows := sound(t, db.Audit(), verifier)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		stored := make(map[string]bool, len(rows))
		for _, r := range rows {
			stored[r.ID] = true
		}
		for id := range acknowledged {
			if !stored[id] {
				t.Fatalf("entry %s was acknowledged and is not in the log", id)
			}
		}
	}
	t.Logf("%d kills, %d acknowledged entries", kills, len(acknowledged))
}
