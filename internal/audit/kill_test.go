package audit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
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
	// asideVariable names the directory beside the log.
	asideVariable = "GATEHOUSE_TEST_AUDIT_ASIDE"
	// killsVariable is how often TestKill kills; the default is a hundred, and takes seconds.
	killsVariable = "GATEHOUSE_TEST_KILLS"
)

// roles are what a child may do.
var roles = map[string]func() error{"append": appendUntilKilled, "full disk": fillDisk}

func child(role string) int {
	if err := roles[role](); err != nil {
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
	if c.Aside != "" && c.Reserve == 0 {
		c.Store = flaky{c.Store}
	}
	log, err := audit.Open(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	go func() { _ = log.Run(ctx) }()
	return db, log, nil
}

// flaky is a store whose appends fail now and then, before or after they were
// stored: the log is in and out of outages while it is killed.
type flaky struct{ audit.Store }

func (f flaky) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	switch rand.IntN(40) {
	case 0:
		return errDisk
	case 1:
		if err := f.Store.Append(ctx, expect, b); err != nil {
			return err
		}
		return errDisk
	}
	return f.Store.Append(ctx, expect, b)
}

// appendUntilKilled writes entries and prints the id of each once it is
// acknowledged: calls while they are admitted, and what takes access away always.
func appendUntilKilled() error {
	ctx := context.Background()
	_, log, err := childLog(ctx, audit.Config{Aside: os.Getenv(asideVariable)})
	if err != nil {
		return err
	}
	if err := log.Prepare(); err != nil {
		return err
	}
	failed := make(chan error)
	for worker := range 8 {
		go func() {
			for {
				record := log.Intent
				if worker == 0 {
					record = log.Reduce
				}
				r, err := record(ctx, call())
				if worker > 0 && errors.Is(err, gatehouse.ErrUnavailable) {
					runtime.Gosched()
					continue
				}
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
	c := command(role, dsn, private)
	out, said := begin(t, c)
	return c, out, said
}

// command is the test binary in a role.
func command(role, dsn, private string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleVariable+"="+role, dsnVariable+"="+dsn, keyVariable+"="+private)
	return c
}

func begin(t *testing.T, c *exec.Cmd) (io.ReadCloser, *strings.Builder) {
	t.Helper()
	var said strings.Builder
	c.Stderr = &said
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return out, &said
}

// TestKill kills a process that writes the log, at random moments, in and out of
// outages, again and again on the same log. After each, what it left behind is
// merged, the log verifies, and every acknowledged entry is in it, once.
func TestKill(t *testing.T) {
	kills := 102
	if n, err := strconv.Atoi(os.Getenv(killsVariable)); err == nil && n > 0 {
		kills = n
	}
	for s := range 2 {
		t.Run(fmt.Sprint("sqlite ", s), func(t *testing.T) { killSeries(t, storetest.SQLite(t), (kills+2)/3) })
	}
	t.Run("postgres", func(t *testing.T) { killSeries(t, storetest.Postgres(t), (kills+2)/3) })
}

func killSeries(t *testing.T, dsn string, kills int) {
	t.Parallel()
	private, verifier := newKey(t)
	aside := t.TempDir()
	acknowledged := map[string]bool{}
	spooled := 0
	for range kills {
		c := command("append", dsn, private)
		c.Env = append(c.Env, asideVariable+"="+aside)
		out, said := begin(t, c)
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
		spooled += inSpools(t, aside, private)
		conf := config(t, db.Audit(), private)
		conf.Aside = aside
		log, stop := run(t, conf)
		looked(t, log)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		emptySpool(t, aside)
		_, rows := sound(t, db.Audit(), verifier)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		stored := make(map[string]int, len(rows))
		for _, r := range rows {
			stored[r.ID]++
		}
		for id := range acknowledged {
			if stored[id] != 1 {
				t.Fatalf("entry %s was acknowledged and is %d times in the log", id, stored[id])
			}
		}
	}
	t.Logf("%d kills, %d acknowledged entries, %d entries found in spools", kills, len(acknowledged), spooled)
}

// inSpools returns how many entries dead processes left in spools.
func inSpools(t *testing.T, dir, private string) (n int) {
	t.Helper()
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range spools(t, dir) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := audit.ReadSpool(content, signer)
		if err != nil {
			t.Errorf("a kill made a spool look changed: %v", err)
		}
		n += lines
	}
	return n
}
