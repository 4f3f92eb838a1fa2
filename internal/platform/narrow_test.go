package platform_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

func narrowed(t testing.TB, p platform.Name, fields []string, reply platform.Reply, in string) (string, error) {
	t.Helper()
	out, err := io.ReadAll(platform.NewNarrowing(p, fields).Reader(strings.NewReader(in), reply))
	return string(out), err
}

// Each reply loses what is not declared and keeps, byte for byte, what is.
func TestNarrowing(t *testing.T) {
	for _, test := range []struct {
		name     string
		p        platform.Name
		fields   string
		reply    platform.Reply
		in, want string
	}{
		{"one object", platform.X, "id username", platform.Reply{},
			`{"data":{"id":"1","name":"Ada","username":"ada"}}`, `{"data":{"id":"1","username":"ada"}}`},
		{"objects", platform.X, "id", platform.Reply{},
			`{"data":[{"id":"1","text":"a"},{"text":"b","id":"2"}],"meta":{"result_count":2}}`, `{"data":[{"id":"1"},{"id":"2"}],"meta":{"result_count":2}}`},
		{"part of an object", platform.X, "public_metrics.like_count", platform.Reply{},
			`{"data":{"public_metrics":{"like_count":3,"reply_count":4},"id":"1"}}`, `{"data":{"public_metrics":{"like_count":3}}}`},
		{"a whole object", platform.X, "public_metrics", platform.Reply{},
			`{"data":{"public_metrics": {"like_count" : 3},"id":"1"}}`, `{"data":{"public_metrics":{"like_count" : 3}}}`},
		{"part of what is declared whole", platform.X, "public_metrics public_metrics.like_count", platform.Reply{},
			`{"data":{"public_metrics":{"a":1}}}`, `{"data":{"public_metrics":{"a":1}}}`},
		{"no includes", platform.X, "id", platform.Reply{},
			`{"data":{"id":"1"},"includes":{"users":[{"id":"2","name":"Bo"}]}}`, `{"data":{"id":"1"},"includes":{}}`},
		{"includes", platform.X, "id includes.users.username", platform.Reply{},
			`{"includes":{"users":[{"id":"2","username":"bo"}],"tweets":[{"text":"t"}]},"data":{"id":"1"}}`, `{"includes":{"users":[{"username":"bo"}]},"data":{"id":"1"}}`},
		{"posts are tweets", platform.X, "includes.tweets.text", platform.Reply{},
			`{"data":{},"includes":{"posts":[{"text":"t","id":"1"}]}}`, `{"data":{},"includes":{"posts":[{"text":"t"}]}}`},
		{"errors and rules stay", platform.X, "id", platform.Reply{},
			`{"errors":[{"detail":"d"}],"matching_rules":[{"id":"1"}],"secret":1}`, `{"errors":[{"detail":"d"}],"matching_rules":[{"id":"1"}]}`},
		{"nothing", platform.X, "", platform.Reply{}, `{"data":[{"id":"1"}]}`, `{"data":[{}]}`},
		{"an error", platform.X, "id", platform.Reply{Failed: true},
			`{"title":"Forbidden","status":403,"data":{"id":"1","name":"x"}}`, `{"title":"Forbidden","status":403,"data":{"id":"1"}}`},
		{"a text where an object is", platform.X, "public_metrics.like_count", platform.Reply{},
			`{"data":{"public_metrics":"all of it"}}`, `{"data":{}}`},
		{"a text among objects", platform.X, "id", platform.Reply{}, `{"data":["all","of",{"id":"1"},7,null]}`, `{"data":[null,null,{"id":"1"},null,null]}`},
		{"arrays within arrays", platform.X, "id", platform.Reply{}, `{"data":[[{"id":"1","name":"x"}]]}`, `{"data":[[{"id":"1"}]]}`},
		{"an escaped name", platform.X, "id", platform.Reply{}, `{"data":{"\u0069d":"1","n\u0061me":"x"}}`, `{"data":{"\u0069d":"1"}}`},
		{"another case", platform.X, "id", platform.Reply{}, `{"data":{"ID":"1","Id":"2","id":"3"}}`, `{"data":{"id":"3"}}`},
		{"twice", platform.X, "id", platform.Reply{}, `{"data":{"id":"1","name":"x","id":"2"}}`, `{"data":{"id":"1","id":"2"}}`},
		{"a very long name", platform.X, "id", platform.Reply{}, `{"data":{"` + strings.Repeat("n", 3000) + `":"1","id":"2"}}`, `{"data":{"id":"2"}}`},
		{"a huge number", platform.X, "id", platform.Reply{},
			`{"data":{"n":` + strings.Repeat("9", 70000) + `,"id":1e308}}`, `{"data":{"id":1e308}}`},
		{"a stream", platform.X, "id", platform.Reply{}, "{\"data\":{\"id\":\"1\",\"text\":\"a\"}}\r\n\r\n{\"data\":{\"text\":\"b\"}}\n", "{\"data\":{\"id\":\"1\"}}\r\n\r\n{\"data\":{}}\n"},

		{"a node", platform.Facebook, "id name", platform.Reply{}, `{"id":"1","name":"Ada","email":"a@example.com"}`, `{"id":"1","name":"Ada"}`},
		{"a page of nodes", platform.Facebook, "id", platform.Reply{},
			`{"data":[{"id":"1","name":"x"}],"paging":{"cursors":{"after":"b","x":1},"next":"https://graph.facebook.com/n","secret":2},"summary":{"total_count":3}}`,
			`{"data":[{"id":"1"}],"paging":{"cursors":{"after":"b"},"next":"https://graph.facebook.com/n"}}`},
		{"a summary", platform.Facebook, "id summary.total_count", platform.Reply{},
			`{"data":[],"summary":{"total_count":3,"order":"x"}}`, `{"data":[],"summary":{"total_count":3}}`},
		{"an edge", platform.Facebook, "accounts.name", platform.Reply{},
			`{"accounts":{"data":[{"name":"P","access_token":"EAAB"}],"paging":{"cursors":{"before":"a"}}},"id":"1"}`,
			`{"accounts":{"data":[{"name":"P"}],"paging":{"cursors":{"before":"a"}}}}`},
		{"an edge in an edge", platform.Facebook, "feed.comments.id", platform.Reply{},
			`{"feed":{"data":[{"message":"m","comments":{"data":[{"id":"2","from":{"name":"x"}}]}}]}}`, `{"feed":{"data":[{"comments":{"data":[{"id":"2"}]}}]}}`},
		{"data that is an object", platform.Facebook, "picture.url", platform.Reply{},
			`{"picture":{"data":{"url":"https://p.example","height":50}}}`, `{"picture":{"data":{"url":"https://p.example"}}}`},
		{"data that is a text", platform.Facebook, "id", platform.Reply{}, `{"data":"all of it","id":"1"}`, `{"id":"1"}`},
		{"nodes by id", platform.Facebook, "id", platform.Reply{Keyed: true},
			`{"10":{"id":"10","name":"x"},"20":{"id":"20","name":"y"}}`, `{"10":{"id":"10"},"20":{"id":"20"}}`},
		{"pages by id", platform.Facebook, "message", platform.Reply{Keyed: true},
			`{"10":{"data":[{"message":"m","from":{"id":"9"}}],"paging":{"next":"n"}}}`, `{"10":{"data":[{"message":"m"}],"paging":{"next":"n"}}}`},
		{"nodes by id where none were asked for", platform.Facebook, "id", platform.Reply{}, `{"10":{"id":"10"}}`, `{}`},
		{"a Graph error", platform.Facebook, "id", platform.Reply{Failed: true}, `{"error":{"message":"m"},"name":"x"}`, `{"error":{"message":"m"}}`},
		{"an answer that is one word", platform.Facebook, "id", platform.Reply{}, ` true `, ` true `},
		{"an answer that is a text", platform.Facebook, "id", platform.Reply{}, `"EAAB"`, `null`},
		{"an answer that is a number", platform.Facebook, "id", platform.Reply{}, `12 `, `null `},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := narrowed(t, test.p, strings.Fields(test.fields), test.reply, test.in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// What is not JSON, or ends too soon, is an error before anything of it that could
// be taken for something else is passed on.
func TestNarrowingRefuses(t *testing.T) {
	deep := strings.Repeat("[", 257)
	for in, want := range map[string]error{
		`{"data":{"id":"1"`: io.ErrUnexpectedEOF, `{"data":{"id":"1`: io.ErrUnexpectedEOF, `{"data":{"name":"x`: io.ErrUnexpectedEOF, `[1,`: io.ErrUnexpectedEOF,
		`-`: io.ErrUnexpectedEOF, `"\u00`: io.ErrUnexpectedEOF,
		`{"data":{id:"1"}}`: platform.ErrSyntax, `{"data":{"id":"1"]}`: platform.ErrSyntax, `{"data":{"id":tru}}`: platform.ErrSyntax, "{\"data\":{\"id\":\"a\nb\"}}": platform.ErrSyntax,
		`{"data":{"id":01}}`: platform.ErrSyntax, `{"data":{"n":1.}}`: platform.ErrSyntax, `{"data":{"n":"\x"}}`: platform.ErrSyntax, `{"data":{"n":"\u00g0"}}`: platform.ErrSyntax,
		`{"data":{"id":"1",}}`: platform.ErrSyntax, `[1,]`: platform.ErrSyntax, `}`: platform.ErrSyntax, "\xef\xbb\xbf{}": platform.ErrSyntax, `access_token=EAAB`: platform.ErrSyntax,
		deep: platform.ErrTooLarge,
	} {
		got, err := narrowed(t, platform.X, []string{"id"}, platform.Reply{}, in)
		if !errors.Is(err, want) {
			t.Errorf("%.40s: %q, %v; want %v", in, got, err, want)
		}
	}
	// The near misses: as deep as allowed, and nothing at all.
	for _, in := range []string{strings.Repeat("[", 256) + strings.Repeat("]", 256), "", "\n"} {
		if _, err := narrowed(t, platform.X, []string{"id"}, platform.Reply{}, in); err != nil {
			t.Errorf("%.40q: %v", in, err)
		}
	}
}

// slowly narrows a whole reply in memory, value by value, with the standard
// library: another idea of the same contract.
func slowly(p platform.Name, fields []string, reply platform.Reply, in []byte) (any, bool) {
	d := json.NewDecoder(bytes.NewReader(in))
	var list []any
	for {
		var raw json.RawMessage
		if err := d.Decode(&raw); err == io.EOF {
			return list, true
		} else if err != nil {
			return nil, false
		}
		list = append(list, slowValue(p, fields, reply, raw, nil, true))
	}
}

type pair struct {
	Name  string
	Value any
}

// slowValue narrows the value at a place, given as the names that lead to it.
func slowValue(p platform.Name, fields []string, reply platform.Reply, raw json.RawMessage, at []string, root bool) any {
	whole, _ := slowPlace(p, fields, reply, at)
	first := bytes.TrimLeft(raw, " \n\r\t")[0]
	switch {
	case whole || root && strings.IndexByte("tfn", first) >= 0:
		return slowWhole(raw)
	case first != '{' && first != '[':
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	_, _ = d.Token()
	if first == '[' {
		list := []any{}
		for d.More() {
			var entry json.RawMessage
			_ = d.Decode(&entry)
			list = append(list, slowValue(p, fields, reply, entry, at, false))
		}
		return list
	}
	object := []pair{}
	for d.More() {
		t, _ := d.Token()
		var value json.RawMessage
		_ = d.Decode(&value)
		name := t.(string)
		next := append(at[:len(at):len(at)], name)
		whole, some := slowPlace(p, fields, reply, next)
		scalar := strings.IndexByte("{[", bytes.TrimLeft(value, " \n\r\t")[0]) < 0
		if !whole && (!some || scalar) {
			continue
		}
		object = append(object, pair{name, slowValue(p, fields, reply, value, next, false)})
	}
	return object
}

func slowWhole(raw json.RawMessage) any {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var list []any // tokens tell doubled names apart, which a map would not
	for {
		t, err := d.Token()
		if err != nil {
			return list
		}
		list = append(list, fmt.Sprintf("%T %v", t, t))
	}
}

// slowPlace says whether a place is kept whole, and whether anything below it is.
func slowPlace(p platform.Name, fields []string, reply platform.Reply, at []string) (whole, some bool) {
	if len(at) == 0 {
		return false, true
	}
	if p == platform.X {
		switch at[0] {
		case "meta", "errors", "matching_rules":
			return true, true
		case "data":
			at = at[1:]
			if len(at) > 0 && at[0] == "includes" {
				return false, false
			}
		case "includes":
			at = append([]string{}, at...)
			if len(at) > 1 && at[1] == "posts" {
				at[1] = "tweets"
			}
		default:
			return reply.Failed, reply.Failed
		}
		if len(at) < 2 && (len(at) == 0 || at[0] == "includes") {
			return false, true
		}
		return slowDeclared(fields, at)
	}
	if at[0] == "error" {
		return true, true
	}
	if reply.Failed {
		return false, false
	}
	if reply.Keyed {
		if at = at[1:]; len(at) > 0 && at[0] == "error" {
			return true, true
		}
	}
	var plain []string
	for i, name := range at {
		if whole, some := slowDeclared(fields, append(plain[:len(plain):len(plain)], name)); whole {
			return true, true
		} else if some {
			plain = append(plain, name)
			continue
		}
		switch name {
		case "data":
		case "paging":
			rest := strings.Join(at[i+1:], ".")
			for _, keep := range []string{"next", "previous", "cursors.before", "cursors.after"} {
				if rest == keep || strings.HasPrefix(rest, keep+".") {
					return true, true
				}
			}
			return false, rest == "" || rest == "cursors"
		default:
			return false, false
		}
	}
	return false, true
}

func slowDeclared(fields, at []string) (whole, some bool) {
	path := strings.Join(at, ".") + "."
	for _, f := range fields {
		f += "."
		whole = whole || strings.HasPrefix(path, f)
		some = some || strings.HasPrefix(f, path)
	}
	return whole, some || whole
}

// tokens are what a text in JSON says, whatever its spaces.
func tokens(t testing.TB, b []byte) []any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var list []any
	for {
		token, err := d.Token()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatalf("the narrowed reply is no JSON: %v\n%s", err, b)
		}
		list = append(list, fmt.Sprintf("%T %v", token, token))
	}
}

// flat turns what slowly returns into tokens.
func flat(v any) []any {
	var list []any
	switch v := v.(type) {
	case nil:
		return []any{"<nil> <nil>"}
	case []pair:
		list = append(list, "json.Delim {")
		for _, p := range v {
			list = append(append(list, "string "+p.Name), flat(p.Value)...)
		}
		return append(list, "json.Delim }")
	case []any:
		if len(v) > 0 {
			if _, tokens := v[0].(string); tokens {
				return v
			}
		}
		list = append(list, "json.Delim [")
		for _, e := range v {
			list = append(list, flat(e)...)
		}
		return append(list, "json.Delim ]")
	}
	panic(fmt.Sprintf("%T", v))
}

// longName finds names that are longer than any that could be declared.
var longName = regexp.MustCompile(`"(?s:[^"\\]|\\.){257}`)

// checkNarrowing holds everything that is promised about one reply.
func checkNarrowing(t testing.TB, p platform.Name, fields []string, reply platform.Reply, in []byte) {
	t.Helper()
	n := platform.NewNarrowing(p, fields)
	got, err := io.ReadAll(n.Reader(bytes.NewReader(in), reply))
	single, serr := io.ReadAll(n.Reader(iotest.OneByteReader(bytes.NewReader(in)), reply))
	if !bytes.HasPrefix(single, got) || (err == nil) != (serr == nil) || err == nil && !bytes.Equal(got, single) {
		t.Fatalf("in one piece %q, %v\nbyte by byte %q, %v", got, err, single, serr)
	}
	if halved, _ := io.ReadAll(n.Reader(iotest.HalfReader(bytes.NewReader(in)), reply)); err == nil && !bytes.Equal(got, halved) {
		t.Fatalf("in halves %q, want %q", halved, got)
	}
	if json.Valid(in) && err != nil && !errors.Is(err, platform.ErrTooLarge) {
		t.Fatalf("JSON is refused: %v\n%s", err, in)
	}
	if err != nil {
		return
	}
	if json.Valid(in) && !json.Valid(got) {
		t.Fatalf("%s became\n%s", in, got)
	}
	again, err := io.ReadAll(n.Reader(bytes.NewReader(got), reply))
	if err != nil || !bytes.Equal(again, got) {
		t.Fatalf("narrowed twice %q, %v; once %q", again, err, got)
	}
	if longName.Match(in) {
		return // the slow idea has no bound for names
	}
	want, ok := slowly(p, fields, reply, in)
	if !ok {
		return // not what the standard library takes for JSON: a deeper nesting, say
	}
	var list []any
	if values, _ := want.([]any); values != nil {
		for _, v := range values {
			list = append(list, flat(v)...)
		}
	}
	if d := cmp.Diff(list, tokens(t, got)); d != "" {
		t.Fatalf("%s\nbecame %s\n(-slow +got):\n%s", in, got, d)
	}
}

// some makes a value of JSON by chance, of names that mean something.
func some(r *rand.Rand, depth int) string {
	names := []string{"id", "name", "data", "paging", "cursors", "after", "next", "includes", "users", "posts", "tweets", "accounts", "error", "errors", "meta", "10", "\\u0069d"}
	space := []string{"", "", " ", "\n"}[r.IntN(4)]
	switch k := r.IntN(8); {
	case k < 3 && depth > 0:
		var b strings.Builder
		b.WriteString("{" + space)
		for i := range r.IntN(5) {
			if i > 0 {
				b.WriteString("," + space)
			}
			b.WriteString(`"` + names[r.IntN(len(names))] + `"` + space + ":" + some(r, depth-1))
		}
		return b.String() + "}"
	case k < 5 && depth > 0:
		var b strings.Builder
		b.WriteString("[")
		for i := range r.IntN(4) {
			if i > 0 {
				b.WriteString(space + ",")
			}
			b.WriteString(some(r, depth-1))
		}
		return b.String() + space + "]"
	}
	return []string{"1", "-0.5e3", "true", "null", `"x"`, `"a\"b\\"`, `"{\"id\":1}"`, `""`, `"\ud83d\ude00é"`}[r.IntN(9)] + space
}

var narrowings = [][]string{
	{}, {"id"}, {"id", "name"}, {"accounts.id", "name"}, {"accounts"}, {"id", "includes.users.name"}, {"includes.tweets"}, {"accounts.accounts.id", "id.name"},
}

// Cutting a reply into pieces never changes what is passed on; what is passed on
// is JSON, is not narrowed any further, and is what the slow idea says.
func TestNarrowingByChance(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		in := some(r, 6)
		if r.IntN(10) == 0 {
			in = in[:r.IntN(len(in)+1)] // cut off
		}
		p := []platform.Name{platform.X, platform.Facebook}[r.IntN(2)]
		checkNarrowing(t, p, narrowings[r.IntN(len(narrowings))], platform.Reply{Keyed: r.IntN(3) == 0 && p != platform.X, Failed: r.IntN(5) == 0}, []byte(in))
	}
}

func FuzzNarrowing(f *testing.F) {
	f.Add([]byte(`{"data":{"id":"1","name":"x"},"includes":{"users":[{"name":1}]}}`), uint8(1), false, false)
	f.Add([]byte(`{"10":{"accounts":{"data":[{"id":1,"x":[[]]}],"paging":{"cursors":{"after":"a"}}}}}`), uint8(3), true, false)
	f.Add([]byte(`{"error":{"message":"\u00e9\"\\"}}{"a":-1.5e+7} null`), uint8(0), true, true)
	f.Fuzz(func(t *testing.T, in []byte, fields uint8, keyed, failed bool) {
		for _, p := range []platform.Name{platform.X, platform.Facebook} {
			checkNarrowing(t, p, narrowings[int(fields)%len(narrowings)], platform.Reply{Keyed: keyed && p != platform.X, Failed: failed}, in)
		}
	})
}

// Memory does not follow the reply: of any shape, what is held is bounded.
func TestNarrowingHoldsLittle(t *testing.T) {
	for name, piece := range map[string]string{"a long text": "x", "a long name": `n`, "many members": `","a":"`} {
		t.Run(name, func(t *testing.T) {
			start := `{"data":{"id":"`
			if name == "a long name" {
				start = `{"data":{"`
			}
			big := io.MultiReader(strings.NewReader(start), io.LimitReader(&endless{piece: piece}, 64<<20))
			n := platform.NewNarrowing(platform.X, []string{"id"}).Reader(big, platform.Reply{})
			var last int
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			p := make([]byte, 1<<20)
			for {
				k, err := n.Read(p)
				last = max(last, k)
				if err != nil {
					break
				}
			}
			var after runtime.MemStats
			runtime.ReadMemStats(&after)
			if made := after.TotalAlloc - before.TotalAlloc; last > 256<<10 || made > 8<<20 {
				t.Errorf("%d bytes came at once, and %d were allocated", last, made)
			}
		})
	}
}

// endless repeats a piece.
type endless struct {
	piece string
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.piece[e.at]
		e.at = (e.at + 1) % len(e.piece)
	}
	return len(p), nil
}

// xSearch is a page of search results of one megabyte.
func xSearch() []byte {
	var in bytes.Buffer
	in.WriteString(`{"data":[`)
	for i := 0; in.Len() < 700<<10; i++ {
		if i > 0 {
			in.WriteByte(',')
		}
		fmt.Fprintf(&in, `{"id":"17%016d","text":"A post of some length, as people write them, with a link https:\/\/t.co\/AbCdEfGh %d","author_id":"%d","created_at":"2026-01-02T03:04:05.000Z","lang":"en","edit_history_tweet_ids":["17%016d"],"conversation_id":"17%016d","public_metrics":{"retweet_count":1,"reply_count":2,"like_count":%d,"quote_count":0,"bookmark_count":0,"impression_count":1234},"entities":{"urls":[{"start":52,"end":75,"url":"https:\/\/t.co\/AbCdEfGh","expanded_url":"https:\/\/example.com\/a","display_url":"example.com\/a"}]}}`, i, i, i, i, i, i)
	}
	in.WriteString(`],"includes":{"users":[`)
	for i := 0; in.Len() < 1<<20; i++ {
		if i > 0 {
			in.WriteByte(',')
		}
		fmt.Fprintf(&in, `{"id":"%d","name":"Person %d","username":"person%d","description":"Writes about this and that","created_at":"2020-01-02T03:04:05.000Z","public_metrics":{"followers_count":10,"following_count":20,"tweet_count":30,"listed_count":0}}`, i, i, i)
	}
	in.WriteString(`]},"meta":{"result_count":100,"next_token":"abc"}}`)
	return in.Bytes()
}

// BenchmarkNarrowXSearch narrows a page of search results of one megabyte, on one
// core.
func BenchmarkNarrowXSearch(b *testing.B) {
	in := xSearch()
	for name, fields := range map[string][]string{
		"few":  {"id", "text", "public_metrics.like_count", "includes.users.username"},
		"most": {"id", "text", "author_id", "created_at", "lang", "public_metrics", "entities", "includes.users"},
	} {
		b.Run(name, func(b *testing.B) {
			n := platform.NewNarrowing(platform.X, fields)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.Copy(io.Discard, struct{ io.Reader }{n.Reader(bytes.NewReader(in), platform.Reply{})}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
