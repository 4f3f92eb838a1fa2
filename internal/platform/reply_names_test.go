package platform_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/platform"

	"github.com/google/go-cmp/cmp"
)

// named returns the names of a reply, sorted, and how many were not kept.
func named(n *platform.ReplyNames, keyed bool, reply string, piece int) ([]string, int) {
	n.Begin(keyed)
	for i := 0; i < len(reply); i += piece {
		_, _ = n.Write([]byte(reply[i:min(len(reply), i+piece)]))
	}
	names := []string{}
	n.Each(func(path string, _ bool) { names = append(names, path) })
	slices.Sort(names)
	return names, n.Others()
}

// Names are those that a contract would declare, whatever the pieces that a reply
// comes in; a name that no document has is counted, and what lies below a known one
// is that one's.
func TestNames(t *testing.T) {
	for _, test := range []struct {
		name   string
		p      platform.Name
		keyed  bool
		in     string
		want   string
		others int
	}{
		{"an object", platform.X, false, `{"data":{"id":"1","username":"ada"}}`, "id username", 0},
		{"a list and what is included", platform.X, false,
			`{"data":[{"id":"1","public_metrics":{"like_count":3}},{"id":"2","text":"x"}],"includes":{"users":[{"name":"A \" } ]"}]},"meta":{"next_token":"n"},"errors":[{"title":"t"}]}`,
			"id includes.users.name public_metrics.like_count text", 0},
		{"objects of a stream", platform.X, false, "{\"data\":{\"id\":\"1\"},\"matching_rules\":[{\"id\":\"2\"}]}\r\n\r\n{\"data\":{\"text\":\"a\"}}\n", "id text", 0},
		{"a name of no document", platform.X, false, `{"data":{"id":"1","user_ada_1815":"x"},"odd":1}`, "id", 2},
		{"the same in an included object", platform.X, false, `{"data":{"id":"1"},"includes":{"users":[{"ada1815":1}],"ada":[]}}`, "id includes.users", 2},
		{"names of no document below one", platform.X, false, `{"data":{"public_metrics":{"like_count":1,"ada_1815":2}}}`, "public_metrics", 0},
		{"an escaped name", platform.X, false, `{"data":{"i\u0064":"1","name":"x"}}`, "name", 1},
		{"an empty object", platform.X, false, `{"data":{"public_metrics":{},"entities":[]}}`, "entities public_metrics", 0},
		{"an object, and a text in its place", platform.X, false, `{"data":[{"entities":{"urls":[]}},{"entities":"x"}]}`, "entities", 0},
		{"an object, and null in its place", platform.X, false, `{"data":[{"entities":{"urls":[null]}},{"entities":null}]}`, "entities.urls", 0},
		{"a node", platform.Facebook, false, `{"id":"1","name":"Ada"}`, "id name", 0},
		{"a page", platform.Facebook, false, `{"data":[{"id":"1","name":"P"}],"paging":{"cursors":{"after":"x"},"next":"y"}}`, "id name", 0},
		{"edges", platform.Facebook, false, `{"id":"1","accounts":{"data":[{"name":"P","picture":{"data":{"url":"u"}}}],"paging":{"next":"y"}}}`, "accounts.name accounts.picture.url id", 0},
		{"a text called data", platform.Facebook, false, `{"id":"1","message":{"data":"x"}}`, "id message.data", 0},
		{"an error", platform.Facebook, false, `{"error":{"message":"m","code":1}}`, "", 0},
		{"an error's name in a node", platform.Facebook, false, `{"data":[{"error":{"message":"m"}}]}`, "error.message", 0},
		{"under ids", platform.Facebook, true, `{"100":{"id":"100","name":"A"},"200":{"id":"200"}}`, "id name", 0},
		{"ids that nobody asked for", platform.Facebook, false, `{"100":{"id":"100"}}`, "", 1},
		{"values for names", platform.Facebook, false, `{"data":[{"values":[{"value":{"Vienna, Austria":3}}]}]}`, "values.value", 0},
		{"no JSON", platform.Facebook, false, `]{"id":1}`, "", 0},
		{"a list at the top", platform.Facebook, false, `[{"id":"1"}]`, "id", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := platform.NewReplyNames(test.p)
			for _, piece := range []int{1, 2, 7, 1 << 20} {
				got, others := named(n, test.keyed, test.in, piece)
				if diff := cmp.Diff(strings.Fields(test.want), got); diff != "" || others != test.others {
					t.Fatalf("in pieces of %d: %d others, want %d\n%s", piece, others, test.others, diff)
				}
			}
			if got, _ := named(n, false, `{"data":{"id":"1"}}`, 3); !cmp.Equal(got, []string{"id"}) {
				t.Errorf("after it, another reply has %q", got)
			}
		})
	}
}

// What was empty is told apart from what held something.
func TestEmptyNames(t *testing.T) {
	n := platform.NewReplyNames(platform.X)
	n.Begin(false)
	_, _ = n.Write([]byte(`{"data":{"id":0,"text":null,"entities":{},"attachments":[[]],"lang":"","geo":[null,1]}}`))
	got := map[string]bool{}
	n.Each(func(path string, empty bool) { got[path] = empty })
	want := map[string]bool{"id": false, "text": true, "entities": true, "attachments": true, "lang": false, "geo": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A reply with a great many names fills no memory, and names past the bound are
// still counted with the object around them.
func TestNamesAreBounded(t *testing.T) {
	n := platform.NewReplyNames(platform.Facebook)
	known := platform.FieldNames(platform.Facebook)
	for range 20 {
		n.Begin(false)
		for _, a := range known {
			_, _ = fmt.Fprintf(n, `{%q:{%q:1}} `, a, known[rand.N(len(known))])
		}
		count := 0
		n.Each(func(string, bool) { count++ })
		if count > 512 || n.Others() == 0 {
			t.Fatalf("%d names were kept, %d not", count, n.Others())
		}
	}
	if got, _ := named(n, false, `{"id":"1"}`, 100); !cmp.Equal(got, []string{"id"}) {
		t.Errorf("afterwards a small reply has %q", got)
	}
	deep := strings.Repeat(`{"from":`, 200) + "1" + strings.Repeat("}", 200)
	if got, _ := named(n, false, deep, 100); len(got) != 1 || strings.Count(got[0], ".") > 8 {
		t.Errorf("what is nested deep is called %q", got)
	}
}

// What ReplyNames lists, narrowed to, is the reply; what it does not list is not in it.
func TestNamesNarrowToThemselves(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		reply := randomReply(random, 3)
		b, err := json.Marshal(map[string]any{"data": reply})
		if err != nil {
			t.Fatal(err)
		}
		names, others := named(platform.NewReplyNames(platform.X), false, string(b), 5)
		if others != 0 {
			t.Fatalf("%d others in %s", others, b)
		}
		out, err := narrowed(t, platform.X, names, platform.Reply{}, string(b))
		if err != nil || out != string(b) {
			t.Fatalf("narrowed to %q\n%s\nis (%v)\n%s", names, b, err, out)
		}
	}
}

func randomReply(random *rand.Rand, depth int) map[string]any {
	out := map[string]any{}
	for _, name := range []string{"id", "entities", "urls", "text"} {
		switch k := random.IntN(4); {
		case k == 0:
			out[name] = "a \"{[ text"
		case k == 1 && depth > 0:
			out[name] = randomReply(random, depth-1)
		case k == 2 && depth > 0:
			out[name] = []any{randomReply(random, depth-1), randomReply(random, depth-1)}
		}
	}
	return out
}

func FuzzReplyNames(f *testing.F) {
	f.Add([]byte(`{"data":[{"id":"1","x":{"data":[{"name":null}]}}],"paging":{}}`), true)
	f.Fuzz(func(t *testing.T, b []byte, keyed bool) {
		for _, p := range platform.Names() {
			whole, others := named(platform.NewReplyNames(p), keyed, string(b), len(b)+1)
			again, others2 := named(platform.NewReplyNames(p), keyed, string(b), 1)
			if !cmp.Equal(whole, again) || others != others2 {
				t.Fatalf("in one piece %q (%d), byte by byte %q (%d)", whole, others, again, others2)
			}
			for _, path := range whole {
				if path == "" || platform.UnknownField(p, path) != "" {
					t.Fatalf("kept %q", path)
				}
			}
		}
	})
}

// BenchmarkReplyNamesXSearch lists the names of a page of search results of one megabyte.
func BenchmarkReplyNamesXSearch(b *testing.B) {
	reply := xSearch()
	n := platform.NewReplyNames(platform.X)
	b.SetBytes(int64(len(reply)))
	b.ReportAllocs()
	for b.Loop() {
		n.Begin(false)
		for rest := reply; len(rest) > 0; {
			k := min(len(rest), 32<<10)
			_, _ = n.Write(rest[:k])
			rest = rest[k:]
		}
	}
}
