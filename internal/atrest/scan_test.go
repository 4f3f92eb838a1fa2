package atrest_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"gatehouse/internal/atrest"
	"gatehouse/internal/secret"
)

// search returns what is found in stream when it arrives in pieces of these
// sizes, one after the other and again from the first.
func search(s *atrest.Search, stream []byte, pieces ...int) []atrest.Match {
	var all []atrest.Match
	scanner := s.Scanner(func(m atrest.Match) { all = append(all, m) })
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if len(pieces) > 0 {
			n = min(n, max(1, pieces[i%len(pieces)]))
		}
		_, _ = scanner.Write(stream[:n])
		stream = stream[n:]
	}
	_ = scanner.Close()
	slices.SortFunc(all, func(a, b atrest.Match) int {
		return strings.Compare(fmt.Sprintf("%020d %s %s", a.Offset, a.What, a.Form), fmt.Sprintf("%020d %s %s", b.Offset, b.What, b.Form))
	})
	return all
}

func searchFor(what atrest.What, values ...string) *atrest.Search {
	p := atrest.NewPatterns()
	for _, v := range values {
		p.Add(what, secret.New(v))
	}
	return p.Search(true)
}

// noise is bytes of three kinds: random, text, and zeros.
func noise(n int) []byte {
	b := make([]byte, n)
	switch mathrand.IntN(3) {
	case 0:
		_, _ = rand.Read(b)
	case 1:
		const letters = "abcdefghijklmnopqrstuvwxyz   ABC.,\n0123456789"
		for i := range b {
			b[i] = letters[mathrand.IntN(len(letters))]
		}
	}
	return b
}

// writings are ways to write a secret, made without the package's own code.
var writings = map[string]func(prefix []byte, value string) []byte{
	"plain":          func(p []byte, v string) []byte { return []byte(v) },
	"hex":            func(p []byte, v string) []byte { return fmt.Appendf(nil, "%x", v) },
	"upper-case hex": func(p []byte, v string) []byte { return fmt.Appendf(nil, "%X", v) },
	"query-escaped":  func(p []byte, v string) []byte { return []byte(url.QueryEscape(v)) },
	"path-escaped":   func(p []byte, v string) []byte { return []byte(url.PathEscape(v)) },
	"form":           func(p []byte, v string) []byte { return []byte(url.Values{"access_token": {v}, "x": {"1"}}.Encode()) },
	"escaped twice": func(p []byte, v string) []byte {
		return []byte("next=" + url.QueryEscape(url.Values{"t": {v}}.Encode()))
	},
	"base64": func(p []byte, v string) []byte {
		return []byte(base64.StdEncoding.EncodeToString(append(p, v+"tail"...)))
	},
	"base64 unpadded": func(p []byte, v string) []byte { return []byte(base64.RawStdEncoding.EncodeToString(append(p, v...))) },
	"base64url":       func(p []byte, v string) []byte { return []byte(base64.URLEncoding.EncodeToString(append(p, v+"!"...))) },
	"json": func(p []byte, v string) []byte {
		b, _ := json.Marshal(map[string]string{"token": v})
		return b
	},
	"php json": func(p []byte, v string) []byte {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(v)
		return bytes.ReplaceAll(b.Bytes(), []byte("/"), []byte(`\/`))
	},
	"utf-16le": func(p []byte, v string) (out []byte) {
		for _, u := range utf16.Encode([]rune(v)) {
			out = binary.LittleEndian.AppendUint16(out, u)
		}
		return out
	},
	"utf-16be": func(p []byte, v string) (out []byte) {
		for _, u := range utf16.Encode([]rune(v)) {
			out = binary.BigEndian.AppendUint16(out, u)
		}
		return out
	},
}

// Every writing of every secret is found, wherever it stands and however the
// bytes arrive, and a secret that differs in one bit is not.
func TestEveryFormIsFoundHoweverItArrives(t *testing.T) {
	const alphabet = `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~+/=%:|&"\<`
	for round := range 40 {
		var values []string
		for range 1 + mathrand.IntN(20) {
			b := make([]byte, atrest.MinSecret+mathrand.IntN(300))
			for i := range b {
				b[i] = alphabet[mathrand.IntN(len(alphabet))]
			}
			values = append(values, string(b))
		}
		s := searchFor(atrest.AccessToken, values...)
		value := values[mathrand.IntN(len(values))]
		for name, write := range writings {
			before, after := noise(mathrand.IntN(4000)), noise(mathrand.IntN(4000))
			if round%10 == 0 {
				before = noise(256<<10 + mathrand.IntN(5000)) // over the end of a chunk
			}
			prefix := bytes.Repeat([]byte("p"), mathrand.IntN(4))
			stream := slices.Concat(before, []byte{0}, write(prefix, value), []byte{0}, after)
			whole := search(s, stream)
			if !slices.ContainsFunc(whole, func(m atrest.Match) bool { return m.What == atrest.AccessToken }) {
				t.Errorf("%s of %q at %d is not found", name, value, len(before))
			}
			for _, pieces := range [][]int{{1}, {7, 4096, 1}, {1 + mathrand.IntN(300000)}} {
				if pieces[0] == 1 && len(stream) > 20000 {
					continue
				}
				if got := search(s, stream, pieces...); !slices.Equal(got, whole) {
					t.Errorf("%s in pieces of %v: %v, in one: %v", name, pieces, got, whole)
				}
			}
			changed := []byte(value)
			changed[1+mathrand.IntN(min(len(changed)-2, 100))] ^= 1 // base64 shares the outer bytes' digits with their neighbours
			near := slices.Concat(before, []byte{0}, write(prefix, string(changed)), []byte{0}, after)
			if got := search(s, near); len(got) != 0 && !slices.Contains(values, string(changed)) {
				t.Errorf("%s of a value that differs in one bit is found: %v", name, got)
			}
		}
	}
}

// Nothing is lost, and nothing is told twice, where one piece of the stream gives
// way to the next.
func TestOverTheEndOfAChunk(t *testing.T) {
	value := strings.Repeat("0123456789abcdefghij", 12)
	s := searchFor(atrest.AccessToken, value)
	for at := 256<<10 - 100; at < 256<<10+3000; at += 13 {
		stream := append(bytes.Repeat([]byte{' '}, at), fmt.Sprintf("%s %x%s", value, value, strings.Repeat(" ", 1500))...)
		got := search(s, stream)
		if len(got) != 2 || got[0].Offset != int64(at) || got[1].Offset != int64(at+len(value)+1) {
			t.Fatalf("at %d: %+v", at, got)
		}
	}
}

// A match says where, what and which, and nothing of the value.
func TestMatchNamesPlaceAndKindOnly(t *testing.T) {
	const value = "correct-horse-battery-staple"
	got := search(searchFor(atrest.ClientSecret, value), []byte("12345"+value))
	want := []atrest.Match{{What: atrest.ClientSecret, Form: "plain", Offset: 5, Hash: "e2d0a0e1"}}
	if len(got) == 1 {
		want[0].Hash = got[0].Hash
	}
	if !slices.Equal(got, want) || len(got[0].Hash) != 8 {
		t.Errorf("found %+v, want %+v", got, want)
	}
	again := search(searchFor(atrest.ClientSecret, value), []byte(hex.EncodeToString([]byte(value))))
	if len(again) != 1 || again[0].Hash != got[0].Hash {
		t.Errorf("the same value elsewhere has another hash: %v, %v", again, got)
	}
}

// What is shorter than MinSecret is counted, not looked for; one byte more is.
func TestShortSecrets(t *testing.T) {
	p := atrest.NewPatterns()
	p.Add(atrest.ClientSecret, secret.New("elevenbytes"))
	p.Add(atrest.ClientSecret, secret.Text{})
	p.Add(atrest.ClientSecret, secret.New("twelve-bytes"))
	if p.Len() != 1 || p.Short() != 1 {
		t.Errorf("looked for %d, too short %d; want 1 and 1", p.Len(), p.Short())
	}
	if got := search(p.Search(true), []byte("elevenbytes twelve-bytes")); len(got) != 1 || got[0].Offset != 12 {
		t.Errorf("found %v, want the one of twelve bytes", got)
	}
	if p.Len() != 0 {
		t.Error("the set is not empty after it was made into a search")
	}
}

// Many secrets with one beginning, as tokens of one app have, are told apart.
func TestSecretsWithACommonBeginning(t *testing.T) {
	p := atrest.NewPatterns()
	for i := range 5000 {
		p.Add(atrest.AccessToken, secret.New(fmt.Sprintf("EAACEdEose0cBAPsharedbeginningofanapp%08d", i)))
	}
	s := p.Search(true)
	if got := search(s, []byte("x EAACEdEose0cBAPsharedbeginningofanapp00004711 y")); len(got) != 1 {
		t.Errorf("found %v, want one", got)
	}
	if got := search(s, []byte("x EAACEdEose0cBAPsharedbeginningofanapp00005711 y")); len(got) != 0 {
		t.Errorf("found %v, want none", got)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("some text"), "a secret of some length", uint16(3), uint16(9))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIB"), "0123456789abcdef", uint16(1), uint16(1))
	f.Add(bytes.Repeat([]byte("EAAB1cD2"), 300), "\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff", uint16(500), uint16(70))
	f.Fuzz(func(t *testing.T, text []byte, value string, at, piece uint16) {
		s := searchFor(atrest.AccessToken, value)
		place := int(at) % (len(text) + 1)
		stream := slices.Concat(text[:place], []byte(value), text[place:])
		whole := search(s, stream)
		if got := search(s, stream, int(piece), 1); !slices.Equal(got, whole) {
			t.Errorf("in pieces %v, in one %v", got, whole)
		}
		if len(value) >= atrest.MinSecret && !slices.ContainsFunc(whole, func(m atrest.Match) bool {
			return m.What == atrest.AccessToken && m.Offset == int64(place)
		}) {
			t.Errorf("%q is not found at %d", value, place)
		}
	})
}

// BenchmarkScan searches 64 MB of database-like bytes for secrets in all forms.
func BenchmarkScan(b *testing.B) {
	for _, n := range []int{0, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := atrest.NewPatterns()
			for range n {
				p.Add(atrest.AccessToken, secret.New(base64.RawURLEncoding.EncodeToString([]byte(rand.Text()+rand.Text()+rand.Text()))))
			}
			s := p.Search(true)
			stream := make([]byte, 0, 64<<20)
			for len(stream) < cap(stream) {
				kind := noise(4096)
				stream = append(stream, kind[:min(len(kind), cap(stream)-len(stream))]...)
			}
			b.SetBytes(int64(len(stream)))
			found := 0
			for b.Loop() {
				scanner := s.Scanner(func(atrest.Match) { found++ })
				_, _ = scanner.Write(stream)
				_ = scanner.Close()
			}
			if found > 0 {
				b.Errorf("%d found in noise", found)
			}
		})
	}
}
