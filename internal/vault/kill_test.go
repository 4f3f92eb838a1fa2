package vault_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"

	"golang.org/x/mod/sumdb/note"
)

// asVictim has the test binary be a process that works on keys and kills itself.
const asVictim = "GATEHOUSE_TEST_KEYS"

func TestMain(m *testing.M) {
	if job := os.Getenv(asVictim); job != "" {
		if err := new(victim).run(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// victim is what a process that is to be killed is told.
type victim struct {
	DSN, Root, Previous, Keyring, LogKey string
	// Do is what it does, and Kill how many steps it lives; -1 is to the end.
	Do   string
	Kill int
}

// run does the work and prints each step that it comes to.
func (c *victim) run(job string) (err error) {
	if err := json.Unmarshal([]byte(job), c); err != nil {
		return err
	}
	ctx := context.Background()
	db, err := store.Open(ctx, c.DSN)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	root, err := vault.NewFileRootKey(c.Root)
	if err != nil {
		return err
	}
	config := vault.Config{Root: root, Store: db.Vault(), Environment: production, KeyringFile: c.Keyring}
	if c.Previous != "" {
		previous, err := vault.NewFileRootKey(c.Previous)
		if err != nil {
			return err
		}
		config.Previous = []vault.RootKey{previous}
	}
	v, err := vault.Open(ctx, config)
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(c.LogKey)
	if err != nil {
		return err
	}
	log, err := audit.Open(ctx, audit.Config{Store: db.Audit(), Signer: signer, Environment: production, Seal: v.SealPersonal, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- log.Run(running) }()
	defer func() { stop(); <-done }()
	k, err := vault.NewKeys(vault.KeysConfig{Vault: v, Log: log, TurnAfter: 1})
	if err != nil {
		return err
	}
	steps := 0
	k.HookTestOnlyStep(func(name string) {
		if steps == c.Kill {
			fmt.Println(name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		steps++
	})
	switch c.Do {
	case "rotate":
		for _, domain := range []vault.Domain{vault.Tokens, vault.System, vault.Personal} {
			if _, err := k.Rotate(ctx, domain); err != nil {
				return err
			}
		}
		_, err = k.Rewrap(ctx, vault.RewrapOptions{})
	case "turn":
		_, err = k.Rewrap(ctx, vault.RewrapOptions{Keyring: true})
	case "root":
		_, err = k.Rewrap(ctx, vault.RewrapOptions{Root: true})
	}
	return err
}

// killed runs a victim and returns the step at which it died, or "" if it came to
// its end.
func killed(t *testing.T, c victim) string {
	t.Helper()
	job, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := exec.Command(os.Args[0])
	p.Env = append(os.Environ(), asVictim+"="+string(job))
	var errOut strings.Builder
	p.Stderr = &errOut
	out, err := p.Output()
	if err == nil {
		return ""
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%s, step %d: %v\n%s", c.Do, c.Kill, err, errOut.String())
	}
	return strings.TrimSpace(string(out))
}

// A process that works on keys is killed (SIGKILL, a real process) at every step.
// After each kill everything opens, in a process that was running all the time and
// in a new one; and the next run comes to the end of the work.
func TestKilledAtEveryStepOfWorkOnKeys(t *testing.T) {
	t.Parallel()
	for _, do := range []string{"rotate", "turn", "root"} {
		t.Run(do, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, dsn string) {
				t.Parallel()
				killAtEveryStep(t, dsn, do)
			})
		})
	}
}

func killAtEveryStep(t *testing.T, dsn, do string) {
	dir := t.TempDir()
	roots := []string{filepath.Join(dir, "root-0"), filepath.Join(dir, "root-1")}
	for _, path := range roots {
		must(t, vault.CreateRootKeyFile(path))
	}
	logKey, _, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	must(t, err)
	w := &world{t: t, dsn: dsn, db: storetest.Open(t, dsn), keyringFile: filepath.Join(dir, "keyring")}
	w.root, err = vault.NewFileRootKey(roots[0])
	must(t, err, vault.Init(t.Context(), w.config()))
	w.vault = w.open()
	must(t, w.vault.PutSystem(t.Context(), "log-key", secret.New("signs")))
	var people []gatehouse.PersonID
	var sealed [][]byte
	for range 12 {
		people = append(people, w.person())
		sealed = append(sealed, w.seal(refOf(people[len(people)-1]), token))
	}
	people, sealed = append(people, ""), append(sealed, w.seal(refOf(""), token))
	raw := storetest.OpenRaw(t, dsn)
	w.log = openLog(t, storetest.Open(t, storetest.SQLite(t)), w.vault) // receipts only

	seen := map[string]bool{}
	current := 0 // which root key is the new one
	for n := 0; ; n++ {
		job := victim{DSN: dsn, Root: roots[current], Keyring: w.keyringFile, LogKey: logKey, Do: do, Kill: n}
		if do == "root" {
			job.Root, job.Previous = roots[1-current], roots[current]
		}
		raw.Exec("DELETE FROM vault_leases") // half a minute has passed
		at := killed(t, job)
		seen[at] = true
		both := w.config()
		both.Root, err = vault.NewFileRootKey(roots[current])
		must(t, err)
		previous, err := vault.NewFileRootKey(roots[1-current])
		must(t, err)
		both.Previous = []vault.RootKey{previous}
		fresh, err := vault.Open(t.Context(), both)
		if err != nil {
			t.Fatalf("after a kill at %q a new process does not open the vault: %v", at, err)
		}
		for i, p := range people {
			w.opens(fmt.Sprintf("after a kill at %q", at), p, sealed[i], fresh)
		}
		if got, err := fresh.System(t.Context(), "log-key"); err != nil || got.Reveal() != "signs" {
			t.Errorf("after a kill at %q: system secret: %v", at, err)
		}
		if t.Failed() {
			return
		}
		// The next run ends it.
		raw.Exec("DELETE FROM vault_leases")
		job.Kill = -1
		if end := killed(t, job); end != "" {
			t.Fatalf("after a kill at %q the next run dies at %q", at, end)
		}
		if s, err := mustKeys(t, fresh, w.log).Status(t.Context()); err != nil || do != "root" && s.Unfinished() {
			t.Errorf("after a kill at %q and another run: %+v, %v", at, s, err)
		}
		if do == "root" {
			current = 1 - current
			if root, err := vault.NewFileRootKey(roots[current]); err == nil {
				alone := w.config()
				alone.Root = root
				if _, err := vault.Open(t.Context(), alone); err != nil {
					t.Errorf("after a kill at %q and another run the new root key does not suffice: %v", at, err)
				}
			}
		}
		if at == "" {
			break
		}
	}
	want := map[string][]string{
		"rotate": {"rotate: wrapped", "rotate: stored", "system: stored", "turn: daily key made"},
		"root":   {"root: wrapped", "root: stored"},
		"turn": {"turn: daily key made", "turn: keyring key made", "turn: people batch", "turn: people rewrapped", "turn: keyring key ended",
			"turn: nothing left under the old daily key", "turn: old daily key destroyed"},
	}[do]
	for _, step := range want {
		if !seen[step] {
			t.Errorf("no process was killed at %q; steps seen: %v", step, seen)
		}
	}
}

func mustKeys(t *testing.T, v *vault.Vault, log *audit.Log) *vault.Keys {
	t.Helper()
	k, err := vault.NewKeys(vault.KeysConfig{Vault: v, Log: log})
	must(t, err)
	return k
}
