package fingerprint_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

// encodings are the ways to write a text that the search undoes.
var encodings = []func(r *rand.Rand, s string) string{
	func(_ *rand.Rand, s string) string { return url.QueryEscape(s) },
	func(_ *rand.Rand, s string) string { return url.PathEscape(s) },
	func(r *rand.Rand, s string) string { // every byte, or some
		var b strings.Builder
		for i := range len(s) {
			if r.IntN(3) == 0 {
				b.WriteString("%" + hex.EncodeToString([]byte{s[i]}))
			} else {
				b.WriteString(url.QueryEscape(s[i : i+1]))
			}
		}
		return b.String()
	},
	func(_ *rand.Rand, s string) string {
		j, _ := json.Marshal(s)
		return string(j)
	},
	func(r *rand.Rand, s string) string { // as PHP and Python write it
		var b strings.Builder
		for _, c := range s {
			switch {
			case c == '/':
				b.WriteString(`\/`)
			case c >= 0x10000:
				c -= 0x10000
				b.WriteString(`\u` + hex4(0xd800+c>>10) + `\u` + hex4(0xdc00+c&0x3ff))
			case c >= 0x80 || c == '"' || c == '\\' || r.IntN(8) == 0:
				b.WriteString(`\u` + hex4(c))
			default:
				b.WriteRune(c)
			}
		}
		return `"` + b.String() + `"`
	},
	func(_ *rand.Rand, s string) string { return html.EscapeString(s) },
	func(r *rand.Rand, s string) string {
		var b strings.Builder
		for _, c := range s {
			switch {
			case c < 0x80 && r.IntN(3) > 0:
				b.WriteRune(c)
			case r.IntN(2) == 0:
				b.WriteString("&#x" + strings.TrimLeft(hex4(c>>16)+hex4(c&0xffff), "0") + ";")
			case c == 'é':
				b.WriteString("&eacute;")
			default:
				b.WriteString("&#" + decimal(int(c)) + ";")
			}
		}
		return b.String()
	},
	func(_ *rand.Rand, s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	func(_ *rand.Rand, s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	func(r *rand.Rand, s string) string { // behind something else
		return alnum(r, r.IntN(9)) + base64.RawStdEncoding.EncodeToString([]byte(s))
	},
	func(_ *rand.Rand, s string) string { return hex.EncodeToString([]byte(s)) },
	func(_ *rand.Rand, s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	func(r *rand.Rand, s string) string { // in lines, as mail and keys are written
		width, end := 76, "\r\n"
		if r.IntN(2) == 0 {
			width, end = 64, "\n"
		}
		rest := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("What is said. ", 3+r.IntN(4)) + s + " and more."))
		var b strings.Builder
		for len(rest) > width {
			b.WriteString(rest[:width] + end)
			rest = rest[width:]
		}
		return b.String() + rest
	},
}

func hex4(c rune) string { return hex.EncodeToString([]byte{byte(c >> 8), byte(c)}) }

func decimal(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return decimal(n/10) + string(rune('0'+n%10))
}

// soup is a text of values, near misses, encodings in encodings and noise.
func soup(r *rand.Rand, pieces int) string {
	var b strings.Builder
	for range pieces {
		var s string
		switch r.IntN(8) {
		case 0, 1, 2:
			s = people[r.IntN(len(people))].text
		case 3:
			s = people[r.IntN(len(people))].text + []string{" ", ",", "\n", "x", "0", ".", "_", `"`}[r.IntN(8)] + people[r.IntN(len(people))].text
		case 4:
			s = sentence(r, 1+r.IntN(6))
		case 5:
			s = languages[r.IntN(len(languages))].text
		case 6:
			noise := make([]byte, r.IntN(24))
			for i := range noise {
				noise[i] = `%\&;#xu0123456789abcdefABCDEF"' /+=-_.@`[r.IntN(39)]
			}
			s = string(noise)
		default:
			noise := make([]byte, r.IntN(12))
			for i := range noise {
				noise[i] = byte(r.Uint32())
			}
			s = string(noise)
		}
		for range r.IntN(4) {
			s = encodings[r.IntN(len(encodings))](r, s)
		}
		b.WriteString(s)
		b.WriteString([]string{" ", "&a=", `","`, "\n", "", ": ", "/", "%20", "+", strings.Repeat("-", 30), alnum(r, 40)}[r.IntN(11)])
	}
	return b.String()
}

// checkCuts compares what is found in a body in one piece with what is found in
// pieces, and holds Safe to its promise.
func checkCuts(t *testing.T, x *fingerprint.Index, body []byte, next func(rest int) int) {
	t.Helper()
	want := shown(search(x, body, whole))
	s := x.Search()
	defer s.Close()
	var hits []fingerprint.Hit
	safe, written := int64(0), int64(0)
	take := func(end bool) {
		for _, h := range s.Take() {
			if h.From < safe {
				t.Errorf("%d bytes were safe, and now %s at %d is a hit in %q", safe, h.Class, h.From, body)
			}
			hits = append(hits, h)
		}
		if now := s.Safe(); now < safe || now > written {
			t.Errorf("%d bytes were safe, and now %d of %d are in %q", safe, now, written, body)
		} else if safe = now; end && safe != written {
			t.Errorf("at the end %d bytes of %d are safe in %q", safe, written, body)
		}
	}
	for rest := body; len(rest) > 0; {
		n := min(next(len(rest)), len(rest))
		s.Write(rest[:n])
		rest, written = rest[n:], written+int64(n)
		take(false)
	}
	s.End()
	take(true)
	if got := shown(hits); !slices.Equal(got, want) {
		t.Errorf("in pieces: %q\nas a whole: %q\nof %q", got, want, body)
	}
}

func cuts(r *rand.Rand) map[string]func(int) int {
	return map[string]func(int) int{
		"bytes": func(int) int { return 1 },
		"small": func(int) int { return 1 + r.IntN(9) },
		"some":  func(int) int { return 1 + r.IntN(300) },
		"two":   func(rest int) int { return 1 + r.IntN(rest) },
	}
}

// How a stream is cut never changes what is found in it.
func TestCuts(t *testing.T) {
	x := indexOf(t, people...)
	found := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		body := []byte(soup(r, 1+r.IntN(60)))
		found += len(search(x, body, whole))
		ways := cuts(r)
		for _, name := range slices.Sorted(maps.Keys(ways)) {
			checkCuts(t, x, body, ways[name])
			if t.Failed() {
				t.Fatalf("seed %d, cut in %s", seed, name)
			}
		}
	}
	if found < 3000 {
		t.Errorf("only %d hits were compared", found)
	}
}

// An address begins long before its at sign is known, and what begins none is turned
// down before that.
func TestCutsOfLongAddresses(t *testing.T) {
	for _, length := range []int{1, 50, 250, 260, 3000} {
		address := "grace." + strings.Repeat("x", length) + "@navy.example"
		x := indexOf(t, owned{1, gatehouse.EmailAddress, address})
		body := []byte("from: no.address, " + address + ", and no.more")
		if hits := search(x, body, whole); len(hits) != 1 {
			t.Errorf("%d bytes before the at sign: %d hits, want one", length, len(hits))
		}
		checkCuts(t, x, body, func(int) int { return 1 })
		checkCuts(t, x, body, func(int) int { return 1000 })
	}
}

func TestCutsOfLongRows(t *testing.T) {
	x := indexOf(t, people...)
	r := rand.New(rand.NewPCG(5, 5))
	long := base64.StdEncoding.EncodeToString([]byte(soup(r, 400)))
	bodies := map[string]string{
		"base64":       "x=" + long + " " + people[0].text,
		"base64 twice": base64.StdEncoding.EncodeToString([]byte(long)),
		"one word":     strings.Repeat("a", 20_000) + " " + people[0].text + strings.Repeat("7", 9000) + "," + people[0].text,
		"one digit":    strings.Repeat("V", 20_000) + " " + people[0].text,
		"percents":     strings.Repeat("%", 20_000) + "31" + people[0].text,
		"nested":       "%4" + strings.Repeat("%3", 500) + "1 " + people[0].text,
		"pluses":       strings.Repeat("Ada ", 3000) + strings.Repeat("+", 20_000) + people[0].text,
		"bytes":        strings.Repeat("\x80", 9000) + people[0].text + strings.Repeat("\xf0\x9f", 5000),
		"entities":     strings.Repeat("&am", 5000) + strings.Repeat("p;", 5000) + "#49;" + people[0].text[1:],
		"signs":        strings.Repeat("山", 9000) + "田太郎yamada.taro",
		"weak":         strings.Repeat("engine ada ", 2000),
	}
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		for range 3 {
			checkCuts(t, x, []byte(bodies[name]), func(int) int { return 1 + r.IntN(700) })
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// What is held back is short, and the same whatever it is.
func TestSafeMoves(t *testing.T) {
	x := indexOf(t, people...)
	before := strings.Repeat("some text. ", 1000)
	for _, text := range []string{
		"hello, this is some text",
		"14532871" + strings.Repeat("-", 5000), // with this word a token begins
		strings.Repeat("z", 5000),
		strings.Repeat("z", 5000) + " and more",
		strings.Repeat("z", 3000),
		strings.Repeat("%", 5000),
		"engine, " + strings.Repeat("- ", 300), // somebody's username
		"engine, " + strings.Repeat("- ", 3000),
		"data:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("hello, this is some text. ", 300))),
	} {
		s := x.Search()
		s.Write([]byte(before + text))
		all := int64(len(before + text))
		if held := all - s.Safe(); held != 8<<10 {
			t.Errorf("%d bytes of %.40q are held back, want 8 KiB, whatever they are", held, text)
		}
		if s.End(); s.Safe() != all {
			t.Errorf("at the end, %d bytes of %.40q are held back", all-s.Safe(), text)
		}
		s.Close()
	}
}

func FuzzCuts(f *testing.F) {
	for seed := range uint64(12) {
		f.Add([]byte(soup(rand.New(rand.NewPCG(seed, 2)), 4)), seed)
	}
	f.Add([]byte(`\ud83d\u0031`+people[0].text), uint64(1))
	x := indexOf(f, people...)
	f.Fuzz(func(t *testing.T, body []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 3))
		checkCuts(t, x, body, func(int) int { return 1 + r.IntN(12) })
	})
}
