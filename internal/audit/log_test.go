package audit_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// TestNothingPersonalStandsInALeaf is invariant 5's ground: what belongs to a
// person is outside the tree, and the leaf is the same for any two persons but
// for a hash of something random.
func TestNothingPersonalStandsInALeaf(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	log, stop := run(t, config(t, db.Audit(), private))
	for range 2 {
		if _, err := log.Intent(t.Context(), call()); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, rows := sound(t, db.Audit(), verifier)
	seen := map[string]bool{}
	for _, r := range rows {
		leaf, err := audit.DecodeLeaf(r.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		for _, personal := range []string{"person-1", "connection-1", "handle-1"} {
			if bytes.Contains(r.Leaf, []byte(personal)) {
				t.Errorf("%q stands in a leaf: %s", personal, r.Leaf)
			}
		}
		if !bytes.Contains(r.Leaf, []byte(`"operation":"GET /2/users/me"`)) {
			t.Errorf("the operation does not stand in clear: %s", r.Leaf)
		}
		for _, hash := range []string{leaf.Personal["connection"], leaf.Personal["handle"], leaf.SealedHash} {
			if len(hash) != 64 || seen[hash] {
				t.Errorf("the hash %q in %s is none, or stands twice, which joins two entries", hash, r.Leaf)
			}
			seen[hash] = true
		}
		text, ok := bytes.CutPrefix(r.Personal[16:], []byte("person-1|audit/"+r.ID+"|"))
		if !ok || len(text)%64 != 0 {
			t.Errorf("sealed %q of %d bytes, want it under the person's key and filled up", r.Personal, len(text))
		}
		fields, err := audit.OpenFields(leaf, text)
		if err != nil || len(fields) != 2 || fields["connection"].Value != "connection-1" || fields["handle"].Value != "handle-1" {
			t.Errorf("opened %v, %v", fields, err)
		}
	}
}

func TestEntriesThatAreRefused(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	c := config(t, db.Audit(), private)
	c.Seal = func(ctx context.Context, person gatehouse.PersonID, where string, plain []byte) ([]byte, error) {
		if person == "destroyed" {
			return nil, fmt.Errorf("no such key: %w", gatehouse.ErrNotFound)
		}
		return seal(ctx, person, where, plain)
	}
	log, stop := run(t, c)
	for name, e := range map[string]struct {
		entry audit.Entry
		kind  error
	}{
		"an unregistered action":         {audit.Entry{Action: "frobnicate"}, gatehouse.ErrInvalid},
		"no action":                      {audit.Entry{}, gatehouse.ErrInvalid},
		"an outcome's verdict":           {audit.Entry{Action: "call", Verdict: "done"}, gatehouse.ErrInvalid},
		"an unknown verdict":             {audit.Entry{Action: "call", Verdict: "maybe"}, gatehouse.ErrInvalid},
		"an enormous fact":               {audit.Entry{Action: "call", Facts: map[string]string{"x": strings.Repeat("x", 65536)}}, gatehouse.ErrInvalid},
		"a field with a name of its own": {audit.Entry{Action: "call", Personal: map[string]string{"Con Nection": "b"}}, gatehouse.ErrInvalid},
		"an enormous search key":         {audit.Entry{Action: "call", Search: strings.Repeat("x", 257)}, gatehouse.ErrInvalid},
		"enormous personal fields":       {audit.Entry{Action: "call", Personal: map[string]string{"x": strings.Repeat("x", 65536)}}, gatehouse.ErrInvalid},
		"a person without a key":         {audit.Entry{Action: "call", Person: "destroyed", Personal: map[string]string{"a": "b"}}, gatehouse.ErrNotFound},
	} {
		r, err := log.Intent(t.Context(), e.entry)
		if !errors.Is(err, e.kind) || r.Valid() || r.ID() != "" {
			t.Errorf("%s: %v and receipt %q, want %v and none", name, err, r.ID(), e.kind)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if report, _ := sound(t, db.Audit(), verifier); report.Size != 0 {
		t.Errorf("%d entries were written", report.Size)
	}
}

// TestRefusalsAndOutcomesAreWrittenWhateverIsWrong: a mistake in a record must
// not lose it, and must be seen.
func TestRefusalsAndOutcomesAreWrittenWhateverIsWrong(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	var faults atomic.Int64
	c := config(t, db.Audit(), private)
	c.OnFault = func(error) { faults.Add(1) }
	c.Seal = func(_ context.Context, person gatehouse.PersonID, _ string, _ []byte) ([]byte, error) {
		if person == "destroyed" {
			return nil, errors.New("no key")
		}
		return []byte("sealed"), nil
	}
	log, stop := run(t, c)
	r, err := log.Intent(t.Context(), audit.Entry{Action: "call"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		log.Refusal(audit.Entry{Action: "frobnicate"}):                                                                       `"action":"audit.unregistered"`,
		log.Refusal(audit.Entry{Action: "call", Verdict: "maybe"}):                                                           `"verdict":"failed"`,
		log.Refusal(audit.Entry{Action: "call", Person: "destroyed", Personal: map[string]string{"a": "b"}, Service: "job"}): `"service":"job"`,
		log.Refusal(audit.Entry{Action: "call", Facts: map[string]string{"x": strings.Repeat("x", 65536)}, Service: "job2"}): `"facts":{"details":"lost"}`,
		log.Refusal(audit.Entry{Action: "call", Search: strings.Repeat("x", 257)}):                                           `"verdict":"refuse"`,
	}
	log.Outcome(r, audit.Entry{Person: "destroyed", Personal: map[string]string{"a": "b", "A": "b"}, Verdict: "maybe"})
	if got := faults.Load(); got != 7 {
		t.Errorf("%d faults were reported, want 7", got)
	}
	log.Outcome(r, audit.Entry{})               // a second one
	log.Outcome(audit.Receipt{}, audit.Entry{}) // without an intent
	if got := faults.Load(); got != 9 {
		t.Errorf("%d faults were reported, want 9", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	report, rows := sound(t, db.Audit(), verifier)
	if report.Size != 7 || report.OpenCount != 0 {
		t.Errorf("%d entries and %d open, want 7 and none", report.Size, report.OpenCount)
	}
	for _, row := range rows {
		if text, ok := want[row.ID]; ok && !bytes.Contains(row.Leaf, []byte(text)) {
			t.Errorf("entry %s, want %s in it", row.Leaf, text)
		}
	}
}

func TestOpenIntentsAreNoTampering(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	log, stop := run(t, config(t, db.Audit(), private))
	r, err := log.Intent(t.Context(), call())
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	report, _ := sound(t, db.Audit(), verifier)
	if report.OpenCount != 1 || report.Open[0].ID != r.ID() || report.Open[0].Action != "call" {
		t.Errorf("open intents: %+v, want the one", report.Open)
	}
	var text bytes.Buffer
	report.Print(&text)
	for _, want := range []string{"verifies: 1 entries", "1 intents have no outcome", r.ID()} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, text.String())
		}
	}
}

// TestOutcomesDoNotWait: with nobody waiting, entries are on disk a moment later.
func TestOutcomesDoNotWait(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, _ := newKey(t)
	log, _ := run(t, config(t, db.Audit(), private))
	id := log.Refusal(audit.Entry{Action: "call"})
	began := time.Now()
	eventually(t, "the write", func() bool {
		_, err := db.Audit().Find(t.Context(), id)
		return err == nil
	})
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	// Flush does not even wait for that.
	id = log.Refusal(audit.Entry{Action: "call"})
	if err := log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Audit().Find(t.Context(), id); err != nil {
		t.Errorf("after Flush: %v", err)
	}
}

func TestACallerMayGiveUp(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, _ := newKey(t)
	log, err := audit.Open(t.Context(), config(t, db.Audit(), private))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = log.Intent(ctx, call()) // Nobody runs the log.
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("an intent that nobody writes: %v", err)
	}
}

func TestOpenNeedsItsParts(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, _ := newKey(t)
	whole := config(t, db.Audit(), private)
	for name, less := range map[string]func(*audit.Config){
		"store":       func(c *audit.Config) { c.Store = nil },
		"signer":      func(c *audit.Config) { c.Signer = nil },
		"environment": func(c *audit.Config) { c.Environment = "" },
	} {
		c := whole
		less(&c)
		if _, err := audit.Open(t.Context(), c); err == nil {
			t.Errorf("opened without a %s", name)
		}
	}
	log, _ := run(t, whole)
	if err := log.Flush(t.Context()); err != nil { // Run is at work now.
		t.Fatal(err)
	}
	if err := log.Run(t.Context()); err == nil {
		t.Error("Run ran twice")
	}
	whole.Seal = nil
	blind, _ := run(t, whole)
	if _, err := blind.Intent(t.Context(), call()); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("personal fields without a way to seal: %v", err)
	}
}

func TestRegistry(t *testing.T) {
	last := ""
	seen := map[string]string{}
	for _, a := range audit.Actions() {
		if a.Name <= last || a.Meaning == "" || !strings.HasSuffix(a.Meaning, ".") {
			t.Errorf("action %+v: want names in order, and a sentence", a)
		}
		last = a.Name
		seen[a.Name] = a.Meaning
	}
	for _, name := range []string{"call", "connect.begin", "handle.create", "run.start"} {
		if _, ok := seen[name]; !ok {
			t.Errorf("%s is not registered; there are %v", name, maps.Keys(seen))
		}
	}
}

// TestCheckpointHasOneSpelling: the last character of the signature's base64
// has bits that decoders ignore, among other things.
func TestCheckpointHasOneSpelling(t *testing.T) {
	private, verifier := newKey(t)
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	root := bytes.Repeat([]byte{7}, 32)
	sign := func(text string, signers ...note.Signer) []byte {
		signed, err := note.Sign(&note.Note{Text: text}, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	text := origin + "\n17\n" + base64.StdEncoding.EncodeToString(root) + "\n"
	good := sign(text, signer)
	if size, got, err := audit.ParseCheckpoint(good, verifier); err != nil || size != 17 || !bytes.Equal(got[:], root) {
		t.Fatalf("a good checkpoint: %d %x %v", size, got, err)
	}
	for i := range good {
		for bit := range 8 {
			evil := bytes.Clone(good)
			evil[i] ^= 1 << bit
			if _, _, err := audit.ParseCheckpoint(evil, verifier); err == nil {
				t.Fatalf("bit %d of byte %d changed, and it is accepted:\n%s", bit, i, evil)
			}
		}
	}
	_, other := newKey(t)
	strange, err := note.NewSigner(func() string { s, _ := newKey(t); return s }())
	if err != nil {
		t.Fatal(err)
	}
	for name, evil := range map[string][]byte{
		"nothing":              nil,
		"no signature":         []byte(text + "\n"),
		"another key":          sign(text, strange),
		"a second signature":   sign(text, signer, strange),
		"another log":          sign("gatehouse/staging/test\n17\n"+base64.StdEncoding.EncodeToString(root)+"\n", signer),
		"a negative size":      sign(origin+"\n-1\n"+base64.StdEncoding.EncodeToString(root)+"\n", signer),
		"a size with a zero":   sign(origin+"\n017\n"+base64.StdEncoding.EncodeToString(root)+"\n", signer),
		"a short root":         sign(origin+"\n17\n"+base64.StdEncoding.EncodeToString(root[1:])+"\n", signer),
		"a fourth line":        sign(text+"more\n", signer),
		"only two lines":       sign(origin+"\n17\n", signer),
		"a root with odd bits": sign(origin+"\n17\n"+strings.Replace(base64.StdEncoding.EncodeToString(root), "c=", "d=", 1)+"\n", signer),
	} {
		if _, _, err := audit.ParseCheckpoint(evil, verifier); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, _, err := audit.ParseCheckpoint(good, other); err == nil {
		t.Error("a checkpoint is accepted with another key")
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	private, public, err := note.GenerateKey(bytes.NewReader(make([]byte, 64)), origin)
	if err != nil {
		f.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		f.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		f.Fatal(err)
	}
	text := origin + "\n17\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	good, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(text))
	f.Fuzz(func(t *testing.T, data []byte) {
		size, root, err := audit.ParseCheckpoint(data, verifier)
		if err == nil && (!bytes.Equal(data, good) || size != 17 || root != [32]byte{}) {
			t.Errorf("accepted what was never signed: %q", data)
		}
	})
}

// A thing may end after the person it was about was erased: it is on record, without
// what was theirs, and that is no fault. What is about to begin is refused.
func TestOutcomeAfterErasure(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	c := config(t, db.Audit(), private)
	erased := fmt.Errorf("the key was destroyed: %w", gatehouse.ErrNotFound)
	c.Seal = func(_ context.Context, person gatehouse.PersonID, _ string, _ []byte) ([]byte, error) {
		if person == "erased" {
			return nil, erased
		}
		return []byte("sealed"), nil
	}
	log, stop := run(t, c)
	r, err := log.Intent(t.Context(), audit.Entry{Action: "call"})
	if err != nil {
		t.Fatal(err)
	}
	late := audit.Entry{Person: "erased", Personal: map[string]string{"connection": "con1"}, Search: "con1", Status: 200, Facts: map[string]string{"attempt": "2"}}
	log.Outcome(r, late)
	late.Action = "call"
	if _, err := log.Intent(t.Context(), late); !errors.Is(err, erased) {
		t.Errorf("an intent about an erased person gives %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, rows := sound(t, db.Audit(), verifier)
	last := rows[len(rows)-1]
	if leaf := string(last.Leaf); !strings.Contains(leaf, `"facts":{"attempt":"2","details":"erased"}`) || !strings.Contains(leaf, `"status":200`) || last.Personal != nil || last.SearchV1 != "" {
		t.Errorf("the outcome is %s, %q, %q", leaf, last.Personal, last.SearchV1)
	}
}
