package backup_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/backup"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

func (h *house) ledgerFile(t testing.TB, dir string) []byte {
	t.Helper()
	content, err := os.ReadFile(h.path(dir + "/" + backup.LedgerName(production)))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// erased makes so many people and erases them.
func (h *house) erased(t testing.TB, n int) []gatehouse.PersonID {
	t.Helper()
	var people []gatehouse.PersonID
	for range n {
		person, _ := h.person(t)
		if err := h.erase(t.Context(), person); err != nil {
			t.Fatal(err)
		}
		people = append(people, person)
	}
	return people
}

// A ledger that was changed, cut in the middle, reordered or mixed is refused and
// the line is named; one that was cut at its end is shorter.
func TestLedgerIsVerified(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	people := h.erased(t, 4)
	whole := h.ledgerFile(t, "to")
	if !bytes.Equal(whole, h.ledgerFile(t, "copy")) {
		t.Error("the copies differ")
	}
	read := func(content []byte) (backup.Head, []gatehouse.PersonID, error) {
		var list []gatehouse.PersonID
		head, err := backup.ReadLedger(bytes.NewReader(content), h.verifier, func(l backup.Line, _ backup.Head) error {
			list = append(list, l.Person)
			return nil
		})
		return head, list, err
	}
	head, list, err := read(whole)
	if err != nil || head.Seq != 4 || !slices.Equal(list, people) {
		t.Fatalf("%v, %v, %v", head, list, err)
	}
	for i := range whole {
		changed := slices.Clone(whole)
		changed[i] ^= 1
		if head, _, err := read(changed); err == nil && head.Seq == 4 {
			t.Fatalf("byte %d was changed unnoticed: %q", i, changed)
		}
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	join := func(which ...int) []byte {
		var b []byte
		for _, i := range which {
			b = append(b, lines[i]...)
		}
		return b
	}
	for name, test := range map[string]struct {
		content []byte
		want    string
		seq     int64
	}{
		"reordered":         {join(0, 2, 1, 3, 4), "line 1: it does not follow", 0},
		"one removed":       {join(0, 1, 3, 4), "line 2: it does not follow", 0},
		"one twice":         {join(0, 1, 2, 2, 3, 4), "line 3: it does not follow", 0},
		"no first line":     {join(1, 2, 3, 4), "first line", 0},
		"empty":             {nil, "first line", 0},
		"cut at a line":     {join(0, 1, 2), "", 2},
		"cut within a line": {join(0, 1, 2)[:len(join(0, 1, 2))-5], "", 1},
		"a long line":       {append(join(0), bytes.Repeat([]byte("a"), 5000)...), "too long", 0},
		"nothing happened":  {join(0), "", 0},
	} {
		head, _, err := read(test.content)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) || err == nil && head.Seq != test.seq {
			t.Errorf("%s: %v, %v; want %q, %d", name, head, err, test.want, test.seq)
		}
	}
}

// Many at once, from several processes: numbers without a gap, each person once,
// and every copy the same. Repeating an erasure adds nothing.
func TestLedgerFromManySides(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		h := newHouse(t, dsn)
		other := backup.NewLedger(h.db.Backup(), h.signer, production, []string{h.path("to"), h.path("copy")})
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				l := h.ledger
				if i%2 == 1 {
					l = other
				}
				if err := errors.Join(l.Add(t.Context(), gatehouse.PersonID("P"+strings.Repeat("A", i/2))), l.Ship(t.Context())); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, dir := range []string{"to", "copy"} {
			head, err := backup.ReadLedger(bytes.NewReader(h.ledgerFile(t, dir)), h.verifier, nil)
			if err != nil || head.Seq != 10 {
				t.Errorf("%s: %v, %v; want 10 lines", dir, head, err)
			}
		}
		if err := h.ledger.Add(t.Context(), "with space"); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("a person that could break a line: %v", err)
		}
	})
}

// What an interrupted append left is completed; what somebody changed at the end is
// refused and stays; what cannot be reached is brought up to date later.
func TestShipping(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	h.erased(t, 2)
	path := h.path("to/" + backup.LedgerName(production))
	whole := h.ledgerFile(t, "to")
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{0, 10, bytes.IndexByte(whole, '\n') + 1, bytes.IndexByte(whole, '\n') + 20, len(whole) - 1, len(whole)} {
		write(whole[:n])
		if err := h.ledger.Ship(t.Context()); err != nil {
			t.Errorf("after %d bytes: %v", n, err)
		}
		if got := h.ledgerFile(t, "to"); !bytes.Equal(got, whole) {
			t.Errorf("after %d bytes it became %q", n, got)
		}
	}
	changed := slices.Clone(whole)
	changed[len(changed)-3] ^= 1
	for name, content := range map[string][]byte{
		"changed": changed, "foreign": []byte("hello\n"), "foreign without an end": []byte("hello"), "more than ours": append(slices.Clone(whole), "3 x\n"...),
		"a foreign beginning of a line": append(slices.Clone(whole), "3 "...), "no lines": bytes.Repeat([]byte("a"), 9000),
	} {
		write(content)
		if err := h.ledger.Ship(t.Context()); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
		if got := h.ledgerFile(t, "to"); !bytes.Equal(got, content) {
			t.Errorf("%s: it was written to", name)
		}
	}
	write(whole)
	if err := os.Rename(h.path("copy"), h.path("away")); err != nil {
		t.Fatal(err)
	}
	person, sealed := h.person(t)
	if err := h.erase(t.Context(), person); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("with a directory away: %v", err)
	}
	if h.opens(t, person, sealed) == nil {
		t.Error("the erasure of the live data waited for a directory")
	}
	if err := h.ledger.Check(t.Context()); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("Check, with a directory away: %v", err)
	}
	if bytes.Equal(h.ledgerFile(t, "to"), whole) {
		t.Error("the directory that is there did not get the line")
	}
	if err := os.Rename(h.path("away"), h.path("copy")); err != nil {
		t.Fatal(err)
	}
	if err := h.ledger.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "1 erasures are missing") {
		t.Errorf("Check, with a line missing: %v", err)
	}
	if err := errors.Join(h.ledger.Ship(t.Context()), h.ledger.Check(t.Context())); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(h.ledgerFile(t, "copy"), h.ledgerFile(t, "to")) {
		t.Error("the directory that came back is not up to date")
	}
}

// Who was erased after the backup comes back erased, on both engines.
func TestErasedAfterTheBackup(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		h := newHouse(t, dsn)
		h.erased(t, 1)
		ada, adas := h.person(t)
		bob, bobs := h.person(t)
		// Written down, and the process died before the key was gone.
		eve, eves := h.person(t)
		if err := h.ledger.Add(t.Context(), eve); err != nil {
			t.Fatal(err)
		}
		made := h.backup(t)
		if err := h.erase(t.Context(), ada); err != nil {
			t.Fatal(err)
		}
		for _, engine := range []string{"sqlite", "postgres"} {
			again, err := h.restore(t.Context(), made.Path, empty(t, engine))
			if err != nil {
				t.Fatal(err)
			}
			if err := again.opens(t, bob, bobs); err != nil {
				t.Errorf("the token of who was not erased: %v", err)
			}
			for person, sealed := range map[gatehouse.PersonID][]byte{ada: adas, eve: eves} {
				if again.opens(t, person, sealed) == nil {
					t.Error("the token of who was erased opens")
				}
			}
			_, rows := storetest.OpenRaw(t, again.dsn).Query("SELECT count(*) FROM connections WHERE status = 'erased' AND access IS NULL AND user_hash = ''")
			if rows[0][0] != int64(3) {
				t.Errorf("%v connections are erased, want 3", rows[0][0])
			}
			// The chain goes on where it was.
			if err := again.erase(t.Context(), bob); err != nil {
				t.Errorf("the next erasure: %v", err)
			}
			if err := again.close(); err != nil {
				t.Error(err)
			}
			for _, dir := range []string{"to", "copy"} {
				content := h.ledgerFile(t, dir)
				cut := bytes.LastIndexByte(content[:len(content)-1], '\n') + 1
				if err := os.WriteFile(h.path(dir+"/"+backup.LedgerName(production)), content[:cut], 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// Without a ledger that reaches far enough, nothing is restored, unless somebody
// types that they accept it.
func TestMissingErasures(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	first := h.backup(t)
	ada, adas := h.person(t)
	second := h.backup(t)
	if err := h.erase(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	old := h.ledgerFile(t, "to")
	h.erased(t, 1)
	third := h.backup(t)
	whole := h.ledgerFile(t, "to")

	header := old[:bytes.IndexByte(old, '\n')+1]
	witness := h.path("witness")
	for name, test := range map[string]struct {
		to, copy, witness []byte
		others            []backup.Manifest
		want              string // the end of what is to be typed; "" for none
	}{
		"all there":                         {to: whole, copy: whole},
		"one is behind":                     {to: old, copy: whole},
		"only a witness knows":              {witness: whole},
		"none":                              {want: "/all"},
		"too old for a newer backup":        {to: old, copy: old, others: []backup.Manifest{third.Manifest}, want: "/1"},
		"empty, for a newer backup":         {to: header, others: []backup.Manifest{third.Manifest}, want: "/2"},
		"nobody else knows":                 {to: old},
		"cut within a line":                 {to: whole[:len(whole)-4], others: []backup.Manifest{third.Manifest}, want: "/1"},
		"a manifest of another environment": {to: old, others: []backup.Manifest{{Environment: "staging", Ledger: third.Manifest.Ledger}}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := h.restoreConfig(second.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.File.Close() }()
			c.Ledgers, c.Others = nil, test.others
			for path, content := range map[string][]byte{h.path("a"): test.to, h.path("b"): test.copy, witness: test.witness} {
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				if content != nil {
					if err := os.WriteFile(path, content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				c.Ledgers = append(c.Ledgers, path)
			}
			r, err := backup.NewRestore(t.Context(), c)
			if test.want == "" {
				if err != nil || r.Missing != 0 {
					t.Errorf("%v", err)
				}
				return
			}
			word := second.Manifest.ID + test.want
			if wire.RuleOf(err) != "backup/ledger" || !strings.Contains(err.Error(), "--accept-missing-erasures "+word) {
				t.Fatalf("%v, want to be asked for %s", err, word)
			}
			c.AcceptMissing = first.Manifest.ID + test.want
			if _, err := backup.NewRestore(t.Context(), c); err == nil {
				t.Error("another backup's word was accepted")
			}
			c.AcceptMissing = word
			if r, err = backup.NewRestore(t.Context(), c); err != nil || r.Missing == 0 {
				t.Errorf("accepted: %v", err)
			}
		})
	}
	// Another ledger of the same key is no ledger of this database.
	forged := newHouse(t, storetest.SQLite(t))
	forged.signer = h.signer
	forged.ledger = backup.NewLedger(forged.db.Backup(), h.signer, production, []string{forged.path("to")})
	forged.erased(t, 5)
	// Nor is one that begins as ours and goes on as the other, both signed.
	ours, theirs := bytes.SplitAfter(whole, []byte("\n")), bytes.SplitAfter(forged.ledgerFile(t, "to"), []byte("\n"))
	spliced := bytes.Join([][]byte{ours[0], ours[1], theirs[2], theirs[3]}, nil)
	if _, err := backup.ReadLedger(bytes.NewReader(spliced), h.verifier, nil); !errors.Is(err, gatehouse.ErrInvalid) || !strings.Contains(err.Error(), "line 2: it does not follow") {
		t.Errorf("a spliced chain: %v", err)
	}
	c, err := h.restoreConfig(third.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.File.Close() }()
	c.Ledgers = []string{forged.path("to/" + backup.LedgerName(production))}
	if _, err := backup.NewRestore(t.Context(), c); !errors.Is(err, gatehouse.ErrInvalid) || !strings.Contains(err.Error(), "contradict") {
		t.Errorf("another chain: %v", err)
	}
	if err := h.opens(t, ada, adas); err == nil {
		t.Error("ada's token opens in the live database")
	}
}
