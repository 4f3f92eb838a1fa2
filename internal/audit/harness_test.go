package audit_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"

	"golang.org/x/mod/sumdb/note"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(child(role))
	}
	os.Exit(m.Run())
}

// origin is the log's name in these tests.
var origin = audit.Origin("production", "test")

func newKey(t testing.TB) (private string, v note.Verifier) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	v, err = note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return private, v
}

// seal stands for the vault: it hides nothing, but is different each time.
func seal(_ context.Context, person gatehouse.PersonID, context string, plain []byte) ([]byte, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	return fmt.Appendf(salt, "%s|%s|%s", person, context, plain), nil
}

// index is the keyed hash of these tests.
var index = audit.NewIndexHash([]byte("the key of the index"))

// connection chooses the entries of a connection of a person.
func connection(person gatehouse.PersonID, id string) audit.Found {
	return audit.Found{Hash: index, Person: person, Connection: gatehouse.ConnectionID(id), Kind: "connection", Value: id}
}

// config is a log's configuration whose faults fail the test.
func config(t testing.TB, s audit.Store, private string) audit.Config {
	t.Helper()
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return audit.Config{
		Store: s, Signer: signer, Environment: "production", Seal: seal, Index: index,
		OnFault: func(err error) { t.Errorf("fault: %v", err) },
	}
}

// run opens a log and runs it until stop is called, or the test ends.
func run(t testing.TB, c audit.Config) (log *audit.Log, stop func() error) {
	t.Helper()
	log, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("opening the log: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return log, stop
}

// sound verifies the log and returns the report and all entries in order.
func sound(t testing.TB, s interface {
	audit.VerifyStore
	audit.ListStore
}, v note.Verifier) (audit.Report, []audit.Row) {
	t.Helper()
	report, err := audit.Verify(t.Context(), s, v, audit.VerifyOptions{})
	if err != nil {
		t.Fatalf("verifying: %v", err)
	}
	if !report.OK() {
		var text bytes.Buffer
		report.Print(&text)
		t.Fatalf("the log does not verify:\n%s", text.String())
	}
	var rows []audit.Row
	err = s.Snapshot(t.Context(), func(r audit.Reader) error {
		var err error
		rows, err = r.Entries(t.Context(), 0, 1<<20)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return report, rows
}

// count returns how often the entry with the id is in rows.
func count(rows []audit.Row, id string) (n int) {
	for _, r := range rows {
		if r.ID == id {
			n++
		}
	}
	return n
}

// call is an entry as the gateway makes them.
func call() audit.Entry {
	return audit.Entry{
		Action: "call", Service: "scheduler", Purpose: "publish", Platform: gatehouse.X, App: "main-x",
		Operation: "GET /2/users/me", Verdict: "allow", Rule: "publish/1",
		Person: "person-1", Personal: map[string]string{"connection": "connection-1", "handle": "handle-1"},
		Search: "connection-1",
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustVerifier(t testing.TB, key string) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// verifyLog verifies the log, whatever comes of it.
func verifyLog(t testing.TB, s audit.VerifyStore, v note.Verifier) audit.Report {
	t.Helper()
	report, err := audit.Verify(t.Context(), s, v, audit.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}
