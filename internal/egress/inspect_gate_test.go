package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// word is what these inspections look for.
const word = "needle"

var errFound = errors.New("found")

// seeking looks for word and holds back what may be its beginning.
type seeking struct {
	all    []byte
	closed bool
}

func (s *seeking) Text(Where, string, string) {}
func (s *seeking) Write(p []byte) (int, error) {
	s.all = append(s.all, p...)
	return len(p), nil
}

func (s *seeking) Judge(context.Context) (int64, error) {
	if bytes.Contains(s.all, []byte(word)) {
		return 0, errFound
	}
	for n := len(word) - 1; n > 0; n-- {
		if bytes.HasSuffix(s.all, []byte(word[:n])) {
			return int64(len(s.all) - n), nil
		}
	}
	return int64(len(s.all)), nil
}

func (s *seeking) End(ctx context.Context) error {
	_, err := s.Judge(ctx)
	return err
}
func (s *seeking) Close() { s.closed = true }

func (*seeking) TakeBack(context.Context, bool) error { return nil }

// runGate passes pieces through a gate; odd ones are framing. It returns what came
// out, and whether the word was found.
func runGate(pieces [][]byte, mask byte) (out []byte, err error) {
	var ready []byte
	g := &gate{inspection: &seeking{}, limit: 1 << 20, ready: &ready}
	for i, p := range pieces {
		raw := bytes.Clone(p)
		for j := range raw {
			raw[j] ^= mask
		}
		if i%2 == 1 {
			g.frame(raw)
			continue
		}
		if err := g.data(raw, p); err != nil {
			return ready, err
		}
		if err := g.judge(context.Background()); err != nil {
			return ready, err
		}
	}
	return ready, g.end(context.Background())
}

// Whatever the pieces: what comes out is what went in, in its order, and never the
// whole word.
func checkGate(t *testing.T, pieces [][]byte, mask byte) {
	t.Helper()
	var all, plain []byte
	for i, p := range pieces {
		for _, c := range p {
			all = append(all, c^mask)
		}
		if i%2 == 0 {
			plain = append(plain, p...)
		}
	}
	out, err := runGate(pieces, mask)
	if !bytes.HasPrefix(all, out) {
		t.Fatalf("pieces %q: %q comes out, which is no beginning of %q", pieces, out, all)
	}
	if found := bytes.Contains(plain, []byte(word)); found != (err != nil) {
		t.Fatalf("pieces %q: %v, but found is %v", pieces, err, found)
	} else if !found && len(out) != len(all) {
		t.Fatalf("pieces %q: only %d of %d bytes come out", pieces, len(out), len(all))
	} else if found {
		passed := 0
		rest := len(out)
		for i, p := range pieces {
			n := min(rest, len(p))
			rest -= n
			if i%2 == 0 {
				passed += n
			}
		}
		if bytes.Contains(plain[:passed], []byte(word)) {
			t.Fatalf("pieces %q: the word came out", pieces)
		}
	}
}

func TestGatePassesNothingThatIsNotJudged(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		text := []byte{}
		for range random.IntN(12) {
			switch random.IntN(4) {
			case 0:
				text = append(text, word...)
			case 1:
				text = append(text, word[:random.IntN(len(word))]...)
			default:
				text = append(text, "nedl"[random.IntN(4)])
			}
		}
		var pieces [][]byte
		for len(text) > 0 {
			n := 1 + random.IntN(len(text))
			pieces = append(pieces, text[:n], bytes.Repeat([]byte{'#'}, random.IntN(3)))
			text = text[n:]
		}
		checkGate(t, pieces, byte(random.IntN(256)))
	}
}

func TestGateLetsGo(t *testing.T) {
	var ready []byte
	g := &gate{inspection: &seeking{}, limit: 3, ready: &ready}
	for _, c := range []struct {
		add  string
		full bool
		out  string
	}{{"xnee", false, "x"}, {"d", true, "x"}} {
		if err := g.data([]byte(c.add), []byte(c.add)); err != nil {
			t.Fatal(err)
		}
		if err := g.judge(t.Context()); err != nil || g.full() != c.full || string(ready) != c.out {
			t.Errorf("after %q: %v, full %v, %q", c.add, err, g.full(), ready)
		}
	}
	g.frame([]byte("#"))
	g.letGo()
	if err := errors.Join(g.data([]byte("ne"), []byte("ne")), g.judge(t.Context()), g.end(t.Context())); err != nil || string(ready) != "xneed#ne" {
		t.Errorf("let go: %q, %v", ready, err)
	}
	// Nothing waits any more, and what is refused in every mode is.
	if err := g.data([]byte("needle"), []byte("needle")); err != nil {
		t.Fatal(err)
	}
	if g.judge(t.Context()) == nil || g.end(t.Context()) == nil {
		t.Error("nothing is judged after it was let go")
	}
}

func FuzzGate(f *testing.F) {
	f.Add([]byte("a needle here"), []byte{3, 1, 4})
	f.Add([]byte("neenedneedle"), []byte{1})
	f.Fuzz(func(t *testing.T, text, cuts []byte) {
		if len(text) > 1<<12 || len(cuts) == 0 {
			return
		}
		var pieces [][]byte
		for i := 0; len(text) > 0; i++ {
			n := min(1+int(cuts[i%len(cuts)])%8, len(text))
			pieces = append(pieces, text[:n])
			text = text[n:]
		}
		checkGate(t, pieces, 0x55)
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("gzip", []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add("deflate", []byte{0x78, 0x9c, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 1})
	f.Add("br", []byte{0x3b})
	f.Add("zstd, br", []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, names string, raw []byte) {
		if len(raw) > 1<<12 {
			return
		}
		const most = 1 << 20
		s := &counting{}
		err := decode(t.Context(), encodings([]string{names}), raw, most, s)
		if s.n > most {
			t.Fatalf("%d bytes came out", s.n)
		}
		var unreadable *unreadableError
		if err != nil && !errors.As(err, &unreadable) && !errors.Is(err, errAnyKey) {
			if fmt.Sprint(err) == "" {
				t.Fatal("an error without a text")
			}
		}
	})
}

var errAnyKey = errKeyInside("the body")

// counting counts and finds nothing.
type counting struct {
	seeking
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
func (c *counting) Judge(context.Context) (int64, error) { return c.n, nil }
