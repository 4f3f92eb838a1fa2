package fingerprint_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

var (
	qualityPeople = flag.Int("quality.people", 40_000, "people in the index of TestQuality, with eight values each")
	qualityTokens = flag.Int("quality.tokens", 1_500_000, "tokens of clean traffic that TestQuality scans")
	qualityPlants = flag.Int("quality.plants", 12_000, "values that TestQuality plants")
)

// layers are encodings by name, and nestings of them.
var layers = map[string][]int{
	"plain": {}, "form": {0}, "percent": {2}, "json": {3}, "json, escaped": {4}, "html": {5}, "html, numbers": {6}, "base64": {7}, "base64url": {8},
	"base64, unaligned": {9}, "hex": {10}, "hex, upper case": {11}, "percent twice": {0, 1}, "json in json": {4, 3}, "json in form": {3, 0}, "html in json": {6, 4},
	"json in base64": {4, 7}, "percent in base64": {0, 7}, "base64 in form": {7, 0}, "base64 in json in form": {8, 3, 0}, "base64 twice": {7, 7}, "json in base64, unaligned": {3, 9},
	"html in base64url in json": {6, 8, 3}, "form in base64 in form": {0, 7, 0}, "base64 in hex": {7, 10}, "base64 thrice": {7, 8, 7},
	"base64 in lines": {12}, "json in base64 in lines": {3, 12}, "base64 in lines in json": {12, 3}, "base64 in lines in form": {12, 0}, "base64 in lines in base64url": {12, 8},
}

// nearMisses are what looks like a person's values and is not, or is too little.
func nearMisses(r *rand.Rand, p person) []string {
	off := func(s string) string { // another digit somewhere
		b := []byte(s)
		for {
			i := r.IntN(len(b))
			if b[i] >= '1' && b[i] <= '8' {
				b[i]++
				return string(b)
			}
		}
	}
	return []string{
		off(p.id), digits(r, 1) + p.id, p.id + digits(r, 1), "x" + p.id, p.id + "a", off(p.phone), off(p.id) + "_" + digits(r, 15), "1" + p.post,
		"x" + p.email, "x." + p.email, p.email + ".au", strings.Replace(p.email, "@", "@mail.", 1), p.link + "2", strings.Replace(p.link, "://", "://evil.", 1),
		p.username, strings.Fields(p.name)[0], p.name,
	}
}

// TestQuality builds a labelled set and measures what is found in it. More of it:
//
//	go test ./internal/fingerprint -run TestQuality -v -quality.people 1450000 -quality.tokens 12000000
func TestQuality(t *testing.T) {
	c := newCrowd(11, *qualityPeople)
	x := c.index(8 * *qualityPeople)
	secrets := make([]string, 500)
	r := rand.New(rand.NewPCG(11, 12))
	for i := range secrets {
		secrets[i] = []string{"EAA" + alnum(r, 120), digits(r, 15) + "|" + alnum(r, 27), digits(r, 9) + "-" + alnum(r, 40), alnum(r, 20) + "-" + alnum(r, 12) + "_" + alnum(r, 9) + "~" + alnum(r, 3)}[i%4]
		if p, ok := x.Print(fingerprint.Value{Class: gatehouse.Credential, Text: secrets[i]}); ok {
			x.Add(fingerprint.Entry{Print: p, Class: gatehouse.Credential, Expires: later})
		}
	}
	recall(t, c, x, secrets)
	falsePositives(t, c, x)
}

// recall plants values in traffic, in every encoding.
func recall(t *testing.T, c *crowd, x *fingerprint.Index, secrets []string) {
	t.Helper()
	r := rand.New(rand.NewPCG(21, 22))
	type count struct{ planted, found int }
	strong, byLayer, byClass, weak := count{}, map[string]*count{}, map[gatehouse.DataClass]*count{}, map[string]*count{}
	names := sortedKeys(layers)
	bearers := map[fingerprint.Print]int{}
	for i := range c.people {
		p := c.person(i)
		for _, v := range p.values()[1:3] {
			if print, ok := x.Print(v); ok {
				bearers[print]++
			}
		}
	}
	for n := range *qualityPlants {
		i := r.IntN(c.people)
		p := c.person(i)
		vs := p.values()
		v, owner := vs[[]int{0, 3, 4, 5, 6}[n%5]], fingerprint.Owner(i+1)
		if n%8 == 0 {
			v, owner = fingerprint.Value{Class: gatehouse.Credential, Text: secrets[r.IntN(len(secrets))]}, 0
		}
		alone := n%3 > 0
		if v.Class == gatehouse.ProfileLink {
			alone = false // it does not count alone
		}
		second := vs[1+r.IntN(2)] // a name or a username
		e := event(r)
		e["properties"].(map[string]any)["value"] = v.Text
		if !alone {
			e["traits"] = map[string]any{"who": second.Text}
			if v.Class == gatehouse.ProfileLink {
				e["traits"] = map[string]any{"who": second.Text, "id": p.id}
			}
		}
		text := "note: " + v.Text
		if !alone || n%2 == 0 {
			j, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			text = string(j)
		}
		layer := names[n%len(names)]
		for _, l := range layers[layer] {
			text = encodings[l](r, text)
		}
		strongFound, weakFound := false, false
		for _, h := range search(x, []byte(`{"data": `+text+` }`), func(int) int { return 1 + r.IntN(2000) }) {
			for _, o := range append(h.Owners, 0) {
				strongFound = strongFound || h.Class == v.Class && o == owner
				weakFound = weakFound || h.Class == second.Class && o == owner && o != 0
			}
		}
		add := func(c *count, found bool) {
			c.planted++
			if found {
				c.found++
			}
		}
		if byLayer[layer] == nil {
			byLayer[layer] = new(count)
		}
		if byClass[v.Class] == nil {
			byClass[v.Class] = new(count)
		}
		add(&strong, strongFound)
		add(byLayer[layer], strongFound)
		add(byClass[v.Class], strongFound)
		// A name that more people have than the index lists says nothing.
		if print, has := x.Print(second); !alone && owner != 0 && has && bearers[print] <= 4 {
			code := languages[p.language].code
			if second.Class == gatehouse.Username {
				code = "usernames"
			}
			if weak[code] == nil {
				weak[code] = new(count)
			}
			add(weak[code], weakFound)
		}
	}
	t.Logf("recall: %d of %d values that count alone, in %d encodings", strong.found, strong.planted, len(layers))
	for _, layer := range names {
		if c := byLayer[layer]; c.found < c.planted {
			t.Logf("  %s: %d of %d", layer, c.found, c.planted)
		}
	}
	for class, c := range byClass {
		if c.found*100 < c.planted*99 {
			t.Errorf("%s: %d of %d are found", class, c.found, c.planted)
		}
	}
	all := count{}
	for _, code := range sortedKeys(weak) {
		c := weak[code]
		all.planted, all.found = all.planted+c.planted, all.found+c.found
		if c.found < c.planted {
			t.Logf("  names and usernames, %s: %d of %d", code, c.found, c.planted)
		}
	}
	t.Logf("recall: %d of %d names and usernames beside another value, in %d languages", all.found, all.planted, len(languages))
	if strong.found*100 < strong.planted*99 {
		t.Errorf("%d of %d values are found", strong.found, strong.planted)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	for i := range keys {
		for j := i; j > 0 && keys[j] < keys[j-1]; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
	return keys
}

// falsePositives looks through traffic in which nobody's values are, with near
// misses.
func falsePositives(t *testing.T, c *crowd, x *fingerprint.Index) {
	t.Helper()
	r := rand.New(rand.NewPCG(31, 32))
	tokens, misses, wrong := 0, 0, map[string]int{}
	for n := 0; tokens < *qualityTokens; n++ {
		kind := []string{"json", "form", "text", "base64", "chinese", "languages"}[n%6]
		var body []byte
		if kind == "languages" {
			var b strings.Builder
			for _, l := range languages {
				b.WriteString(l.text + " ")
			}
			body = []byte(b.String())
		} else {
			body = c.traffic(r, kind, 8<<10)
		}
		// One near miss of one person in each piece, so that two cannot support one
		// another.
		near := nearMisses(r, c.person(r.IntN(c.people)))
		miss := near[r.IntN(len(near))]
		text := string(body) + "\n" + miss + "\n"
		if n%3 == 0 {
			e := layers[sortedKeys(layers)[n%len(layers)]]
			for _, l := range e {
				miss = encodings[l](r, miss)
			}
			text += miss + "\n"
		}
		misses++
		tokens += countTokens(text)
		for _, h := range search(x, []byte(text), whole) {
			wrong[fmt.Sprintf("%s as %s: %q", kind, h.Class, text[max(0, h.From-20):min(int64(len(text)), h.To+20)])]++
		}
	}
	t.Logf("false positives: %d in %d tokens, of them %d near misses", len(wrong), tokens, misses)
	for what := range wrong {
		t.Logf("  %s", what)
	}
	if len(wrong) > tokens/10_000_000 {
		t.Errorf("%d false positives in %d tokens", len(wrong), tokens)
	}
}

// countTokens counts rows of letters and digits.
func countTokens(s string) int {
	n, in := 0, false
	for i := range len(s) {
		c := s[i]
		word := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80 || c == '_'
		if word && !in {
			n++
		}
		in = word
	}
	return n
}
