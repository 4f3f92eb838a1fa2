package backup_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/backup"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"

	"golang.org/x/mod/sumdb/note"
)

const production gatehouse.Environment = "production"

// place is what a house is made of: its directory outlives processes.
type place struct{ dir, dsn string }

func (p place) path(name string) string { return filepath.Join(p.dir, name) }

// keyring is where the daily key is: beside a SQLite file, and in PostgreSQL.
func (p place) keyring() string {
	if file, ok := strings.CutPrefix(p.dsn, "sqlite:"); ok {
		return file + ".keyring"
	}
	return ""
}

// house is a database with keys, a log, backups and a ledger.
type house struct {
	place
	db       *store.DB
	root     vault.RootKey
	vault    *vault.Vault
	log      *audit.Log
	signer   note.Signer
	verifier note.Verifier
	ledger   *backup.Ledger
	backups  *backup.Backups

	stop context.CancelFunc
	done chan error
}

// newPlace prepares a directory and an empty vault on a database.
func newPlace(t testing.TB, dsn string) place {
	t.Helper()
	p := place{t.TempDir(), dsn}
	for _, dir := range []string{"to", "keys", "copy"} {
		if err := os.Mkdir(p.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	private, public, err := note.GenerateKey(rand.Reader, "gatehouse/production/test")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(p.path("log.key"), []byte(private), 0o600), os.WriteFile(p.path("log.pub"), []byte(public), 0o600),
		vault.CreateRootKeyFile(p.path("root.key")))
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	root, err := vault.NewFileRootKey(p.path("root.key"))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(db.SetEnvironment(t.Context(), production),
		vault.Init(t.Context(), vault.Config{Root: root, Store: db.Vault(), Environment: production, KeyringFile: p.keyring()}), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// open opens a house on a database that is open. It is also used by processes
// that are killed, so it knows no test.
func (p place) open(ctx context.Context, db *store.DB) (*house, error) {
	h := &house{place: p, db: db, done: make(chan error, 1)}
	var err error
	if h.root, err = vault.NewFileRootKey(p.path("root.key")); err != nil {
		return nil, err
	}
	if h.vault, err = vault.Open(ctx, vault.Config{Root: h.root, Store: db.Vault(), Environment: production, KeyringFile: p.keyring()}); err != nil {
		return nil, err
	}
	private, err := os.ReadFile(p.path("log.key"))
	if err != nil {
		return nil, err
	}
	if h.signer, err = note.NewSigner(string(private)); err != nil {
		return nil, err
	}
	public, err := os.ReadFile(p.path("log.pub"))
	if err != nil {
		return nil, err
	}
	if h.verifier, err = note.NewVerifier(string(public)); err != nil {
		return nil, err
	}
	if h.log, err = audit.Open(ctx, audit.Config{Store: db.Audit(), Signer: h.signer, Environment: production, Seal: h.vault.SealPersonal}); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	go func() { h.done <- h.log.Run(run) }()
	h.ledger = backup.NewLedger(db.Backup(), h.signer, production, []string{p.path("to"), p.path("copy")})
	h.backups, err = backup.New(h.config())
	return h, err
}

func (h *house) config() backup.Config {
	return backup.Config{
		Source: h.db.Backup(), Work: h.db.Backup(), Ledger: h.ledger, Log: h.log, Root: h.root, Daily: h.vault.WrappedDailyKey, Signer: h.signer,
		Environment: production, Program: "test", To: h.path("to"), EpochKeys: h.path("keys"), Keep: 72 * time.Hour,
	}
}

func (h *house) close() error {
	h.stop()
	err := <-h.done
	h.vault.Close()
	return errors.Join(err, h.db.Close())
}

// newHouse is a house for one test.
func newHouse(t testing.TB, dsn string) *house {
	t.Helper()
	return newPlace(t, dsn).start(t)
}

func (p place) start(t testing.TB) *house {
	t.Helper()
	db, err := store.Open(t.Context(), p.dsn)
	if err != nil {
		t.Fatal(err)
	}
	h, err := p.open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// person makes somebody with something sealed and a connection.
func (h *house) person(t testing.TB) (gatehouse.PersonID, []byte) {
	t.Helper()
	person, err := h.vault.NewPerson(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := h.vault.Seal(t.Context(), tokenOf(person), secret.New("token of "+string(person)))
	if err != nil {
		t.Fatal(err)
	}
	raw := storetest.OpenRaw(t, h.dsn)
	raw.Exec(`INSERT INTO connections (id, app, platform, kind, service, person, user_hash, subject_hash, parent, external_hash, status, reason,
		scopes, declined, purposes, access, access_expires, refresh_expires, renew_at, lease_until, redeemed, revoke_outstanding, created, updated, version)
		VALUES ($1, 'a', 'x', 'user', 's', $2, $3, '', '', '', 'healthy', '', '', '', '', $4, 0, 0, 0, 0, 1, 0, 1, 1, 1)`,
		"c-"+string(person), string(person), "u-"+string(person), sealed)
	return person, sealed
}

func tokenOf(person gatehouse.PersonID) vault.Ref {
	return vault.Ref{Table: "connections", Row: "c-" + string(person), Column: "access", Person: person}
}

// opens reports what opening a person's token gives.
func (h *house) opens(t testing.TB, person gatehouse.PersonID, sealed []byte) error {
	t.Helper()
	receipt, err := h.log.Intent(t.Context(), audit.Entry{Action: "call"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := h.vault.Open(t.Context(), receipt, tokenOf(person), sealed)
	if err == nil && text.Reveal() != "token of "+string(person) {
		t.Errorf("the token is %d bytes of something else", len(text.Reveal()))
	}
	return err
}

// erase is what cmd does, as far as these tests need it.
func (h *house) erase(ctx context.Context, person gatehouse.PersonID) error {
	return errors.Join(h.ledger.Add(ctx, person), h.destroy(ctx, person, false), h.ledger.Ship(ctx))
}

func (h *house) destroy(ctx context.Context, person gatehouse.PersonID, _ bool) error {
	if err := h.vault.DestroyPerson(ctx, person); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return err
	}
	return h.db.Connect().ErasePerson(ctx, person, time.Now())
}

func (h *house) backup(t testing.TB) backup.Made {
	t.Helper()
	made, err := h.backups.Create(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// restoreConfig is what 'restore' would find by itself.
func (p place) restoreConfig(path string) (backup.RestoreConfig, error) {
	public, err := os.ReadFile(p.path("log.pub"))
	if err != nil {
		return backup.RestoreConfig{}, err
	}
	verifier, err := note.NewVerifier(string(public))
	if err != nil {
		return backup.RestoreConfig{}, err
	}
	root, err := vault.NewFileRootKey(p.path("root.key"))
	if err != nil {
		return backup.RestoreConfig{}, err
	}
	c := backup.RestoreConfig{
		Verifier: verifier, Root: root, Environment: production, EpochKeys: p.path("keys"),
		Ledgers: []string{p.path("to/" + backup.LedgerName(production)), p.path("copy/" + backup.LedgerName(production))},
	}
	list, err := backup.List(p.path("to"), production, verifier)
	for _, l := range list {
		if l.Err == nil {
			c.Others = append(c.Others, l.Manifest)
		}
	}
	if err != nil {
		return c, err
	}
	c.File, err = backup.OpenFile(path, verifier)
	return c, err
}

// restore brings a backup into another database, and opens a house on it.
func (p place) restore(ctx context.Context, path, dsn string) (*house, error) {
	c, err := p.restoreConfig(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.File.Close() }()
	r, err := backup.NewRestore(ctx, c)
	if err != nil {
		return nil, err
	}
	db, err := store.Restoring(ctx, dsn, r.Manifest().Schema)
	if err != nil {
		return nil, err
	}
	if err := r.Load(ctx, db.Backup(), nil); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	other := place{p.dir, dsn}
	h, err := other.open(ctx, db)
	if err != nil {
		return nil, err
	}
	if _, err := r.Erase(ctx, db.Backup(), h.destroy); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, db.Backup().Finish(ctx)
}

// empty returns the address of an empty database of one engine.
func empty(t testing.TB, engine string) string {
	t.Helper()
	if engine == "postgres" {
		return storetest.EmptyPostgres(t)
	}
	return "sqlite:" + filepath.Join(t.TempDir(), "restored.db")
}

// tableNames asks the database itself, past the store.
func tableNames(raw *storetest.Raw, dsn string) []string {
	query := `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'`
	if strings.HasPrefix(dsn, "postgres") {
		query = `SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()`
	}
	_, rows := raw.Query(query)
	var names []string
	for _, row := range rows {
		if name := fmt.Sprint(row[0]); name != "goose_db_version" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// contents returns every row of every table, in one spelling for both engines.
func contents(t testing.TB, dsn string) map[string][]string {
	t.Helper()
	raw := storetest.OpenRaw(t, dsn)
	all := map[string][]string{}
	for _, name := range tableNames(raw, dsn) {
		columns, rows := raw.Query("SELECT * FROM " + name)
		for _, row := range rows {
			var line bytes.Buffer
			fields := make([]string, len(row))
			for i, v := range row {
				switch v := v.(type) {
				case []byte:
					fields[i] = fmt.Sprintf("%s=%x", columns[i], v)
				case string:
					fields[i] = fmt.Sprintf("%s=%q", columns[i], v)
				default:
					fields[i] = fmt.Sprintf("%s=%v", columns[i], v)
				}
			}
			slices.Sort(fields)
			fmt.Fprint(&line, fields)
			all[name] = append(all[name], line.String())
		}
		slices.Sort(all[name])
	}
	return all
}

// Children: the test binary runs itself to be killed, or to run out of disk.
const (
	childOperation = "GATEHOUSE_BACKUP_CHILD"
	childDir       = "GATEHOUSE_BACKUP_DIR"
	childDSN       = "GATEHOUSE_BACKUP_DSN"
	childArgument  = "GATEHOUSE_BACKUP_ARGUMENT"
	childStep      = "GATEHOUSE_BACKUP_STEP"
	childLimit     = "GATEHOUSE_BACKUP_LIMIT"
)

func TestMain(m *testing.M) {
	if os.Getenv(childOperation) == "" {
		os.Exit(m.Run())
	}
	if err := child(context.Background()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func child(ctx context.Context) error {
	if kill := os.Getenv(childStep); kill != "" {
		backup.SetStep(func(name string) {
			if name == kill {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		})
	}
	p := place{os.Getenv(childDir), os.Getenv(childDSN)}
	if os.Getenv(childOperation) == "restore" {
		h, err := p.restore(ctx, os.Getenv(childArgument), p.dsn)
		if err != nil {
			return err
		}
		return h.close()
	}
	db, err := store.Open(ctx, p.dsn)
	if err != nil {
		return err
	}
	h, err := p.open(ctx, db)
	if err != nil {
		return err
	}
	var limit uint64
	if _, err := fmt.Sscan(os.Getenv(childLimit), &limit); err == nil {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			return err
		}
	}
	switch os.Getenv(childOperation) {
	case "backup":
		_, err = h.backups.Create(ctx, "", nil)
	case "prune":
		_, err = h.backups.Prune(ctx, time.Now().Add(80*time.Hour))
	case "erase":
		err = h.erase(ctx, gatehouse.PersonID(os.Getenv(childArgument)))
	}
	return errors.Join(err, h.close())
}

// run runs an operation in a process of its own, killed at a step if one is named,
// and returns what it said and whether it was killed.
func (p place) run(t testing.TB, operation, argument, dsn, step string, more ...string) (string, bool) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childOperation+"="+operation, childDir+"="+p.dir, childDSN+"="+dsn, childArgument+"="+argument, childStep+"="+step)
	c.Env = append(c.Env, more...)
	out, err := c.CombinedOutput()
	status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
	killed := ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	if err != nil && !killed && step != "" {
		t.Fatalf("%s, to be killed at %q: %v\n%s", operation, step, err, out)
	}
	return string(out), killed
}
