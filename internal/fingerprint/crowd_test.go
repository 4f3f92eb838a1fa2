package fingerprint_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

// person is somebody whose values are in the index.
type person struct {
	id, username, name, email, phone, link, post string
	language                                     int
}

// crowd are the people of a test, made from a seed: person i is always the same.
type crowd struct {
	seed   uint64
	people int
}

func newCrowd(seed uint64, people int) *crowd { return &crowd{seed, people} }

// language has names and a text of one language.
type language struct {
	code          string
	given, family []string
	// spaced is false where names are written in one.
	spaced bool
	text   string
}

const alphabet = "abcdefghijklmnopqrstuvwxyz"

// made makes a word that nobody else has, of syllables.
func made(r *rand.Rand, least, most int) string {
	const consonants, vowels = "bcdfghjklmnprstvwz", "aeiou"
	var b strings.Builder
	for n := least + r.IntN(most-least+1); b.Len() < n; {
		b.WriteByte(consonants[r.IntN(len(consonants))])
		b.WriteByte(vowels[r.IntN(len(vowels))])
	}
	return b.String()
}

func digits(r *rand.Rand, n int) string {
	b := []byte{byte('1' + r.IntN(9))}
	for len(b) < n {
		b = append(b, byte('0'+r.IntN(10)))
	}
	return string(b)
}

func alnum(r *rand.Rand, n int) string {
	const set = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = set[r.IntN(len(set))]
	}
	return string(b)
}

func (c *crowd) person(i int) person {
	r := rand.New(rand.NewPCG(c.seed, uint64(i)))
	var p person
	p.language = i % len(languages)
	l := languages[p.language]
	given, family := l.given[r.IntN(len(l.given))], l.family[r.IntN(len(l.family))]
	if r.IntN(2) == 0 && l.spaced {
		// Most family names are rare.
		family = strings.ToUpper(alphabet[r.IntN(26):][:1]) + made(r, 4, 9)
	}
	if r.IntN(4) > 0 && !l.spaced {
		signs := []rune(strings.Join(l.given, ""))
		given = string(signs[r.IntN(len(signs))]) + string(signs[r.IntN(len(signs))]) + string(signs[r.IntN(len(signs))])
	}
	p.name = given + family
	if l.spaced {
		p.name = given + " " + family
	} else if r.IntN(2) == 0 {
		p.name = family + given
	}
	switch {
	case r.IntN(100) < 5:
		p.id = digits(r, 8+r.IntN(3)) // an early account
	case r.IntN(2) == 0:
		p.id = digits(r, 19)
	default:
		p.id = digits(r, 15+r.IntN(3))
	}
	handle := made(r, 4, 8)
	switch r.IntN(5) {
	case 0:
		p.username = handle + "_" + made(r, 3, 6)
	case 1:
		p.username = handle + "." + made(r, 3, 6)
	case 2:
		p.username = handle + digits(r, 1+r.IntN(4))
	case 3:
		p.username = strings.ToUpper(handle[:1]) + handle[1:] + made(r, 2, 6)
	default:
		p.username = words[r.IntN(len(words))] + digits(r, 2)
		if r.IntN(20) == 0 {
			p.username = words[r.IntN(len(words))]
		}
	}
	p.email = made(r, 3, 8) + []string{".", "", "_", "-"}[r.IntN(4)] + made(r, 4, 8) + digits(r, 2) + "@" + []string{"gmail.com", "example.com", "web.de", "yahoo.co.jp", made(r, 4, 8) + ".org"}[r.IntN(5)]
	p.phone = fmt.Sprintf("+%d %s %s", 20+r.IntN(79), digits(r, 3), digits(r, 7))
	p.link = "https://www.facebook.com/" + strings.ToLower(made(r, 5, 8)) + "." + made(r, 4, 9)
	if r.IntN(2) == 0 {
		p.link = "https://x.com/" + made(r, 6, 14)
	}
	p.post = p.id + "_" + digits(r, 15)
	return p
}

// values are a person's, by kind.
func (p person) values() []fingerprint.Value {
	return []fingerprint.Value{
		{Class: gatehouse.PseudonymousID, Text: p.id}, {Class: gatehouse.Username, Text: p.username}, {Class: gatehouse.PersonName, Text: p.name},
		{Class: gatehouse.EmailAddress, Text: p.email}, {Class: gatehouse.PhoneNumber, Text: p.phone}, {Class: gatehouse.ProfileLink, Text: p.link},
		{Class: gatehouse.PostID, Text: p.post}, {Class: gatehouse.PostID, Text: "1" + p.id[1:] + "77"},
	}
}

// index makes an index of everybody.
func (c *crowd) index(capacity int) *fingerprint.Index {
	x, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{7}, Capacity: capacity})
	if err != nil {
		panic(err)
	}
	for i := range c.people {
		for _, v := range c.person(i).values() {
			if p, ok := x.Print(v); ok {
				x.Add(fingerprint.Entry{Print: p, Owner: fingerprint.Owner(i + 1), Class: v.Class, Expires: time.Unix(1_900_000_000, 0)})
			}
		}
	}
	// As its owner does every hour.
	x.Expire(time.Unix(1_700_000_000, 0))
	return x
}

// event is what an app tells an analytics service.
func event(r *rand.Rand) map[string]any {
	return map[string]any{
		"type": "track", "event": []string{"Page Viewed", "Button Clicked", "Post Scheduled", "Video Played"}[r.IntN(4)],
		"anonymousId": fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64()>>16),
		"messageId":   "ajs-next-" + alnum(r, 22), "timestamp": time.Unix(1_750_000_000+r.Int64N(30_000_000), r.Int64N(1e9)).UTC().Format(time.RFC3339Nano),
		"sentAt": 1_750_000_000_000 + r.Int64N(30_000_000_000), "duration": r.Float64() * 1000, "revenue": r.IntN(100_000),
		"context": map[string]any{
			"ip": fmt.Sprintf("%d.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256)), "locale": "en-US",
			"page":      map[string]any{"path": "/" + words[r.IntN(len(words))] + "/" + words[r.IntN(len(words))], "title": sentence(r, 5), "url": "https://app.example.com/" + words[r.IntN(len(words))] + "?utm_source=" + words[r.IntN(len(words))]},
			"userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
			"library":   map[string]any{"name": "analytics.js", "version": fmt.Sprintf("npm:next-1.%d.0", r.IntN(90))},
		},
		"properties": map[string]any{"value": r.IntN(1_000_000), "order_id": alnum(r, 12), "hash": fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()), "text": sentence(r, 12)},
	}
}

func sentence(r *rand.Rand, n int) string {
	var b strings.Builder
	for i := range n {
		w := words[r.IntN(len(words))]
		// Most words are the common ones.
		if r.IntN(2) == 0 {
			w = words[r.IntN(60)]
		}
		if i == 0 {
			w = strings.ToUpper(w[:1]) + w[1:]
		} else {
			b.WriteByte(' ')
		}
		b.WriteString(w)
		if r.IntN(9) == 0 && i < n-1 {
			b.WriteByte(',')
		}
	}
	b.WriteByte('.')
	return b.String()
}

// traffic makes at least so many bytes of a kind of traffic in which nobody's values
// are planted.
func (c *crowd) traffic(r *rand.Rand, kind string, size int) []byte {
	var b bytes.Buffer
	for n := 0; b.Len() < size; n++ {
		k := kind
		if k == "mixed" {
			k = []string{"json", "json", "json", "form", "text"}[n%5]
		}
		switch k {
		case "json":
			var events []any
			for range 20 {
				events = append(events, event(r))
			}
			j, err := json.Marshal(map[string]any{"batch": events})
			if err != nil {
				panic(err)
			}
			b.Write(j)
		case "form":
			for range 50 {
				v := url.Values{"v": {"2"}, "tid": {"G-" + strings.ToUpper(alnum(r, 10))}, "dl": {"https://app.example.com/" + words[r.IntN(len(words))]},
					"dt": {sentence(r, 6)}, "cid": {digits(r, 9) + "." + digits(r, 10)}, "en": {"page_view"}, "ep.value": {digits(r, 4)}, "sr": {"1920x1080"}}
				b.WriteString(v.Encode())
				b.WriteByte('\n')
			}
		case "text":
			for range 40 {
				b.WriteString(sentence(r, 8+r.IntN(20)))
				b.WriteByte(" \n"[r.IntN(2)])
			}
		case "base64":
			raw := make([]byte, 3000)
			for i := range raw {
				raw[i] = byte(r.Uint32())
			}
			fmt.Fprintf(&b, `{"image":"data:image/png;base64,%s","note":"%s"}`, base64.StdEncoding.EncodeToString(raw), base64.StdEncoding.EncodeToString([]byte(sentence(r, 40))))
		case "chinese":
			l := languages[0]
			for _, x := range languages {
				if x.code == "zh" {
					l = x
				}
			}
			runes := []rune(l.text)
			for range 200 {
				b.WriteString(string(runes[r.IntN(len(runes))]))
			}
			b.WriteString("。")
		}
	}
	return b.Bytes()
}
