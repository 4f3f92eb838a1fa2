package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"

	"golang.org/x/mod/sumdb/note"
)

// remembered is what a witness keeps.
type remembered struct {
	note []byte
	// broken has saving fail.
	broken bool
}

func (r *remembered) load() ([]byte, error) {
	if r.note == nil {
		return nil, gatehouse.ErrNotFound
	}
	return r.note, nil
}

func (r *remembered) save(n []byte) error {
	if r.broken {
		return errors.New("no space")
	}
	r.note = n
	return nil
}

// witnessOf returns a witness who looks at a source, with its public key.
func witnessOf(t *testing.T, source audit.Source, v note.Verifier, r *remembered) (*audit.Witness, note.Verifier) {
	t.Helper()
	private, public, err := audit.GenerateWitnessKey("witness.example.com")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := audit.NewWitnessSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := audit.NewWitnessVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return &audit.Witness{Source: source, Verifier: v, Signer: signer, Load: r.load, Save: r.save}, verifier
}

// entriesOf appends n entries that differ from those of another word.
func entriesOf(m *memory, word string, n int) {
	for range n {
		m.append(fmt.Appendf(nil, "%s %d", word, len(m.leaves)))
	}
}

func TestWitness(t *testing.T) {
	private, verifier := newKey(t)
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	logOf := func(parts ...any) audit.Source {
		m := &memory{}
		for i := 0; i < len(parts); i += 2 {
			entriesOf(m, parts[i].(string), parts[i+1].(int))
		}
		m.sign(t, signer)
		return audit.NewSource(m)
	}
	var r remembered
	w, public := witnessOf(t, nil, verifier, &r)
	look := func(source audit.Source) (audit.Sighting, error) {
		w.Source = source
		return w.Look(t.Context())
	}
	last := int64(-1)
	for _, n := range []int{1, 1, 200, 256, 257, 700, 700, 70000} {
		s, err := look(logOf("a", n))
		if err != nil || s.Size != int64(n) || s.Before.Size != last {
			t.Fatalf("%d entries after %d: %+v, %v", n, last, s, err)
		}
		last = s.Size
		if both, err := note.Open(s.Cosigned, note.VerifierList(verifier, public)); err != nil || len(both.Sigs) != 2 {
			t.Errorf("the co-signed checkpoint: %v", err)
		}
		if p, err := audit.OpenCheckpoint(s.Cosigned, verifier); err != nil || p != s.Point {
			t.Errorf("the co-signed checkpoint says %+v, %v", p, err)
		}
		if string(r.note) != string(s.Note) {
			t.Error("what was seen is not what was saved")
		}
	}
	saved := string(r.note)
	for what, source := range map[string]audit.Source{
		"another log of the same size":    logOf("b", 70000),
		"the last entry is another":       logOf("a", 69999, "b", 1),
		"a fork that has grown further":   logOf("a", 69990, "b", 100),
		"a longer log with another start": logOf("b", 1, "a", 70100),
		"an older copy":                   logOf("a", 69999),
		"a much older copy":               logOf("a", 1),
		"an empty log":                    logOf(),
	} {
		s, err := look(source)
		if !errors.Is(err, audit.ErrTampered) || s.Cosigned != nil || len(s.Note) == 0 {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
	_, strangers := newKey(t)
	w.Verifier = strangers
	if _, err := look(logOf("a", 70000)); err == nil {
		t.Error("a log of another key is accepted")
	}
	w.Verifier = verifier
	for what, source := range map[string]audit.Source{
		"nothing answers": func(context.Context, string) ([]byte, error) { return nil, gatehouse.ErrUnavailable },
		"no tile is to be had": func(ctx context.Context, path string) ([]byte, error) {
			if strings.HasPrefix(path, "tile/") {
				return nil, gatehouse.ErrUnavailable
			}
			return logOf("a", 70001)(ctx, path)
		},
	} {
		if s, err := look(source); !errors.Is(err, gatehouse.ErrUnavailable) || s.Cosigned != nil {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
	if string(r.note) != saved {
		t.Error("what was not accepted was saved")
	}
	// What cannot be saved is not signed: after a crash it could sign a fork.
	r.broken = true
	if s, err := look(logOf("a", 70001)); err == nil || s.Cosigned != nil {
		t.Errorf("without a disk: %+v, %v", s, err)
	}
	r.broken = false
	if s, err := look(logOf("a", 70001)); err != nil || s.Cosigned == nil {
		t.Errorf("with the disk again: %+v, %v", s, err)
	}
}

func TestWitnessKeys(t *testing.T) {
	private, public, err := audit.GenerateWitnessKey("w")
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"nothing":           "",
		"a public key":      public,
		"another hash":      strings.Replace(private, private[14:22], "00000000", 1),
		"a shorter key":     private[:len(private)-4],
		"a log's key":       "PRIVATE+KEY+test+a096d528+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
		"a name with space": strings.Replace(private, "+w+", "+w w+", 1),
	} {
		if _, err := audit.NewWitnessSigner(bad); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s is taken for a private key: %v", name, err)
		}
	}
	for name, bad := range map[string]string{"nothing": "", "a private key": private, "another name": "v" + public[1:], "another key": public[:len(public)-4] + "AAA="} {
		if _, err := audit.NewWitnessVerifier(bad); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s is taken for a public key: %v", name, err)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb", "\xff"} {
		if _, _, err := audit.GenerateWitnessKey(name); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("a key for %q: %v", name, err)
		}
	}
}

func FuzzWitnessKey(f *testing.F) {
	f.Add("w+00000000+BAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := audit.NewWitnessVerifier(text); err == nil && !strings.HasPrefix(text, v.Name()+"+") {
			t.Errorf("%q is read as the key of %q", text, v.Name())
		}
		_, _ = audit.NewWitnessSigner(text)
	})
}
