package fingerprint_test

import (
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// BenchmarkHostile searches what is made to be slow: the work for each byte must
// stay of one order, however it is nested and repeated.
func BenchmarkHostile(b *testing.B) {
	x := indexOf(b, append(echoes(32), people...)...)
	const size = 1 << 20
	fill := func(s string) string { return strings.Repeat(s, size/len(s)+1)[:size] }
	b64 := fill("{\"a\":\"Ada King 55555 engine\"}")
	for range 3 {
		b64 = base64.StdEncoding.EncodeToString([]byte(b64[:size/2]))
	}
	r := rand.New(rand.NewPCG(1, 1))
	for name, text := range map[string]string{
		"one digit": fill("V"), "percents": fill("%"), "percent chain": fill("%25"), "entities": fill("&am"), "entity ends": fill("&amp;amp;"), "unknown entities": fill("&zzzzzz;"), "backslashes": fill(`\`),
		"units": fill(`\ud83d`), "base64 thrice": b64, "hex": hex.EncodeToString([]byte(b64[:size/2])), "groups of digits": fill("01 "), "one byte words": fill("a "), "names": fill("Ada King "),
		"weak": fill("ada engine "), "echoes": fill("ada "), "ids": fill("55555,"), "signs": fill("山田"), "Thai": fill("สมชาย"), "links": fill("facebook.com/"), "at signs": fill("ada@"), "low lines": fill("_"), "noise": func() string {
			n := make([]byte, size)
			for i := range n {
				n[i] = byte(r.Uint32())
			}
			return string(n)
		}(),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			defer reportCPU(b, int64(len(text)))()
			for b.Loop() {
				s := x.Search()
				for at := 0; at < len(text); at += piece {
					s.Write([]byte(text[at:min(at+piece, len(text))]))
					s.Take()
				}
				s.End()
				s.Close()
			}
		})
	}
}
