package observe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/observe"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"

	"github.com/google/go-cmp/cmp"
)

// newStore returns a database and the directory that it is in.
func newStore(t testing.TB) (observe.Store, string) {
	t.Helper()
	dir := t.TempDir()
	dsn := "sqlite:" + filepath.Join(dir, "gatehouse.db")
	if err := store.Create(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Observe().BeginUses(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	return db.Observe(), dir
}

// xCall is a call to X of which everything was read.
func xCall(op gatehouse.Operation, params, body []policy.Argument, reply string) *observe.Seen {
	s := &observe.Seen{
		Service: "web", Purpose: "read", Platform: gatehouse.X, App: "main-x", Operations: []gatehouse.Operation{op},
		Params: params, Body: body, ReadParams: true, ReadBody: true, ReadFields: true,
	}
	return answered(s, platform.X, reply)
}

func answered(s *observe.Seen, p platform.Name, reply string) *observe.Seen {
	if reply != "" {
		s.Answered, s.Reply = true, platform.NewReplyNames(p)
		s.Reply.Begin(false)
		_, _ = s.Reply.Write([]byte(reply))
	}
	return s
}

func written(name, text string) policy.Argument { return policy.Argument{Name: name, Text: text} }

// flushed stores what an observer saw and returns it, names by "place name".
func flushed(t *testing.T, o *observe.Observer, s observe.Store) ([]observe.Call, map[string]observe.Field) {
	t.Helper()
	if err := o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, calls, fields, err := s.Uses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]observe.Field{}
	for _, f := range fields {
		byName[string(f.Place)+" "+f.Name] = f
	}
	return calls, byName
}

// Of each value its kind and size are kept.
func TestMeasures(t *testing.T) {
	s, _ := newStore(t)
	o := observe.New(observe.Config{Store: s})
	o.See(xCall("GET /2/tweets/search/recent", []policy.Argument{
		written("query", "söme words"), written("max_results", "10"), written("exclude", "replies,retweets"), written("sort_order", "ada1815"),
		{Name: "next_token", Text: "abc", Free: true}, {Name: "tweet.fields", Text: "lang", Selects: true}, {Name: "id", Text: "12", Path: true},
	}, nil, `{"data":[{"id":"1","entities":{}}]}`))
	o.See(xCall("GET /2/tweets/search/recent", []policy.Argument{written("query", "x"), written("max_results", "100"), written("start_time", "2026,-1.5")}, nil,
		`{"data":[{"id":"1","entities":{"urls":[{"url":"u"}]}}]}`))
	o.See(xCall("POST /2/tweets", nil, []policy.Argument{
		{Name: "text", Kind: policy.IsText, Text: "2026"}, {Name: "poll", Kind: policy.IsObject}, {Name: "poll.options", Kind: policy.IsList, Size: 3},
		{Name: "poll.options", Kind: policy.IsText, Text: "four", In: true}, {Name: "poll.options", Kind: policy.IsText, Text: "a", In: true},
		{Name: "poll.duration_minutes", Kind: policy.IsNumber, Text: "1.5"}, {Name: "nullcast", Kind: policy.IsBoolean, Text: "true"},
		{Name: "geo", Kind: policy.IsNull}, {Name: "media", Kind: policy.IsFile},
	}, ""))
	_, got := flushed(t, o, s)
	type measure struct {
		Seen, Min, Max, Length, Entries, Entry int64
		Kinds                                  observe.Kinds
	}
	const none, least = 1<<63 - 1, -1 << 63
	want := map[string]measure{
		"param query":                {2, none, least, 10, 1, 10, observe.IsText | observe.Bound},
		"param max_results":          {2, 10, 100, 3, 1, 3, observe.IsInteger | observe.Bound},
		"param exclude":              {1, none, least, 16, 2, 8, observe.IsText | observe.Bound},
		"param sort_order":           {1, none, least, 7, 1, 7, observe.IsText | observe.NoWord | observe.Bound},
		"param next_token":           {1, none, least, 3, 1, 3, observe.IsText | observe.Free},
		"param tweet.fields":         {1, none, least, 4, 1, 4, observe.IsText | observe.Bound | observe.Selects},
		"param id":                   {1, 12, 12, 2, 1, 2, observe.IsInteger | observe.Bound | observe.InPath},
		"param start_time":           {1, none, least, 9, 2, 4, observe.IsText | observe.Bound},
		"word exclude=replies":       {1, none, least, 0, 0, 0, 0},
		"word exclude=retweets":      {1, none, least, 0, 0, 0, 0},
		"reply id":                   {2, none, least, 0, 0, 0, observe.Held},
		"reply entities":             {1, none, least, 0, 0, 0, observe.Empty},
		"reply entities.urls.url":    {1, none, least, 0, 0, 0, observe.Held},
		"body text":                  {1, none, least, 4, 1, 4, observe.IsText | observe.Bound | observe.JSON},
		"body poll":                  {1, none, least, 0, 0, 0, observe.IsObject | observe.Bound | observe.JSON},
		"body poll.options":          {1, none, least, 0, 3, 4, observe.IsList | observe.Bound | observe.JSON},
		"body poll.duration_minutes": {1, 0, 2, 0, 0, 0, observe.IsNumber | observe.Bound | observe.JSON},
		"body nullcast":              {1, none, least, 0, 0, 0, observe.IsBoolean | observe.Bound | observe.JSON},
		"body geo":                   {1, none, least, 0, 0, 0, observe.IsNull | observe.Bound | observe.JSON},
		"body media":                 {1, none, least, 0, 0, 0, observe.IsFile | observe.Bound | observe.JSON},
	}
	measured := map[string]measure{}
	for name, f := range got {
		measured[name] = measure{f.Seen, f.Min, f.Max, f.Length, f.Entries, f.Entry, f.Kinds}
	}
	if diff := cmp.Diff(want, measured); diff != "" {
		t.Error(diff)
	}
}

// Nothing that a call or a reply held as a value is in the database, and neither
// are names that could be values.
func TestNoValueIsKept(t *testing.T) {
	s, dir := newStore(t)
	o := observe.New(observe.Config{Store: s})
	secret := []string{
		"ada.lovelace@example.com", "lovelace-query", "countess1815", "17776665554", "lovelace-word", "body-of-lovelace", "reply-of-lovelace", "nameoflovelace1815",
		"entry-of-lovelace", "tokenlovelace", "lovelace\x00dotted", "a_very_long_name_that_could_hold_the_whole_of_lovelace",
	}
	o.See(xCall("GET /2/tweets/search/recent", []policy.Argument{
		written("query", secret[1]), written("exclude", "replies,"+secret[4]), written(secret[0], "1"), written("u"+secret[3], "1"), written("ids", secret[2]+","+secret[3]),
		{Name: "next_token", Text: secret[9], Free: true}, written(secret[11], "1"), written(secret[3], "1"), written("sort_order", secret[2]),
	}, []policy.Argument{
		{Name: "text", Kind: policy.IsText, Text: secret[5]}, {Name: "list", Kind: policy.IsList, Size: 1}, {Name: "list", Kind: policy.IsText, In: true, Text: secret[8]},
		{Name: secret[10], Kind: policy.IsText, Text: "x"},
	}, `{"data":{"id":"`+secret[6]+`","`+secret[7]+`":{"name":"`+secret[6]+`"}}}`))
	seen := xCall("GET /2/tweets/search/recent", nil, nil, "")
	seen.Selected = []policy.Selected{{Path: "id"}, {Path: secret[7]}, {Path: "public_metrics." + secret[7]}}
	o.See(seen)
	calls, fields := flushed(t, o, s)
	if len(calls) != 1 || calls[0].OtherParams != 4 || calls[0].OtherBody != 1 || calls[0].OtherReply != 3 {
		t.Errorf("not kept: %+v", calls)
	}
	for _, near := range []string{"param query", "body text", "body list", "reply id", "asked id", "word exclude=replies"} {
		if _, ok := fields[near]; !ok {
			t.Errorf("%s is missing: %v", near, fields)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range append(secret, "lovelace") {
			if bytes.Contains(b, []byte(v)) {
				t.Errorf("%s holds %q", file.Name(), v)
			}
		}
	}
}

func TestPlain(t *testing.T) {
	for name, want := range map[string]bool{
		"max_results": true, "tweet.fields": true, "a.b_c.d1": true, "ids[]": true, "ids[3]": true, "x1234": true, "Camel": true, "days_28": true,
		"": false, "12": false, "x12345": false, "a b": false, "a@b": false, "a..b": false, ".a": false, "a.": false, "ids[ada]": false, "ids[3": false, "a[0].b": false,
		"ä": false, strings.Repeat("a", 41): false, strings.Repeat("a.", 70) + "a": false, "a-b": false, "1a": false, "x\x00y": false, "[]": false,
	} {
		if got := observe.Plain(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("ids[3]")
	f.Fuzz(func(t *testing.T, name string) {
		if !observe.Plain(name) {
			return
		}
		if len(name) > 132 || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789_.[]") != "" {
			t.Errorf("%q is plain", name)
		}
	})
}

// An app that sends a new name with each call fills neither the memory nor the
// table; what its contract declares is kept all the same.
func TestHostileNames(t *testing.T) {
	s, _ := newStore(t)
	o := observe.New(observe.Config{Store: s})
	set, err := policy.Compile([]policy.Purpose{{Name: "read", Why: "w", App: "main-x", Calls: []policy.Call{
		{Operation: "GET /2/users/me", Params: map[string]policy.Shape{"declared": {}, "u12345678": {}}},
	}}}, policy.Report)
	if err != nil {
		t.Fatal(err)
	}
	letters := "abcdefghijklmnopqrstuvwxyz"
	for i := range 30 {
		var list []policy.Argument
		for j := range 300 {
			list = append(list, written(fmt.Sprintf("n%c%c%c", letters[i%26], letters[j%26], letters[j/26]), "v"))
		}
		seen := xCall("GET /2/users/me", append(list, written("declared", "v"), written("u12345678", "v")), nil, "")
		seen.Contract = set.Contract("read", "GET /2/users/me")
		o.See(seen)
		if i%10 == 0 {
			if err := o.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	calls, fields := flushed(t, o, s)
	if most := observe.InParams.Most() + 2; len(fields) > most || len(fields) < observe.InParams.Most() {
		t.Errorf("%d names are kept, at most %d may be", len(fields), most)
	}
	if fields["param declared"].Seen != 30 || fields["param u12345678"].Seen != 30 {
		t.Errorf("what is declared was seen %d and %d times, want 30", fields["param declared"].Seen, fields["param u12345678"].Seen)
	}
	if calls[0].OtherParams < 30*230 {
		t.Errorf("only %d names count as not kept", calls[0].OtherParams)
	}
	// Kinds of calls are bounded, too.
	for i := range 6000 {
		o.See(xCall(gatehouse.Operation(fmt.Sprintf("GET /%d", i)), nil, nil, ""))
	}
	if calls, _ := flushed(t, o, s); len(calls) > 4097 {
		t.Errorf("%d kinds of calls are kept", len(calls))
	}
}

// failing is a store that cannot be written to for a while.
type failing struct {
	observe.Store
	mu    sync.Mutex
	fails int
	asked []string
}

func (f *failing) AddUses(ctx context.Context, calls []observe.Call, fields []observe.Field) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails > 0 {
		f.fails--
		return errors.New("disk full")
	}
	f.asked = append(f.asked, "add")
	if f.Store == nil {
		return nil
	}
	return f.Store.AddUses(ctx, calls, fields)
}

func (f *failing) BeginUses(context.Context, time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, "begin")
	return nil
}

func (f *failing) ForgetUses(_ context.Context, before observe.Day) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, "forget "+before.String())
	return nil
}

// said returns what it was asked so far.
func (f *failing) said() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// What could not be stored is stored later, with what came in between, and once.
func TestStoreThatFails(t *testing.T) {
	real, _ := newStore(t)
	s := &failing{Store: real, fails: 2}
	o := observe.New(observe.Config{Store: s})
	for i := range 3 {
		o.See(xCall("GET /2/users/me", []policy.Argument{written("user.fields", strings.Repeat("x", i+1))}, nil, `{"data":{"id":"1"}}`))
		o.See(xCall(gatehouse.Operation(fmt.Sprintf("GET /2/lists/%d", i)), nil, nil, ""))
		if err := o.Flush(t.Context()); (err != nil) != (i < 2) {
			t.Fatalf("flush %d: %v", i, err)
		}
	}
	calls, fields := flushed(t, o, s.Store)
	if len(calls) != 4 || calls[3].Calls != 3 || fields["param user.fields"].Seen != 3 || fields["param user.fields"].Length != 3 || fields["reply id"].Seen != 3 {
		t.Errorf("stored: %+v %+v", calls, fields)
	}
}

// Run begins once, forgets once a day, and stores as often as it was told; a
// failure is logged when it begins.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &failing{fails: 3}
		var log bytes.Buffer
		o := observe.New(observe.Config{Store: s, Every: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		o.See(xCall("GET /2/users/me", nil, nil, ""))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if want := []string{"begin", "forget 1998-11-27", "add"}; !cmp.Equal(s.said(), want) {
			t.Errorf("after ten seconds: %q, want %q", s.said(), want)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if want := []string{"begin", "forget 1998-11-27", "add", "forget 1998-11-28"}; !cmp.Equal(s.said(), want) {
			t.Errorf("after a day: %q, want %q", s.said(), want)
		}
		o.See(xCall("GET /2/users/me", nil, nil, ""))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := o.Flush(t.Context()); err != nil || len(s.said()) != 5 {
			t.Errorf("at the end: %v, %q", err, s.said())
		}
		if n := strings.Count(log.String(), "could not be stored"); n != 1 {
			t.Errorf("%d lines were logged:\n%s", n, log.String())
		}
	})
}

// Two processes add up.
func TestTwoObservers(t *testing.T) {
	s, _ := newStore(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			o := observe.New(observe.Config{Store: s})
			for i := range 50 {
				o.See(xCall("GET /2/users/me", []policy.Argument{written("user.fields", "id")}, nil, `{"data":{"id":"1"}}`))
				if i%10 == 9 {
					if err := o.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	_, calls, fields, err := s.Uses(t.Context())
	if err != nil || len(calls) != 1 || calls[0].Calls != 100 || len(fields) != 2 || fields[0].Seen != 100 || fields[1].Seen != 100 {
		t.Errorf("%v %+v %+v", err, calls, fields)
	}
}

// BenchmarkSee is what observing one call costs: the reply's names included, its
// reading not.
func BenchmarkSee(b *testing.B) {
	o := observe.New(observe.Config{})
	seen := xCall("GET /2/tweets/search/recent", []policy.Argument{written("query", "some words"), written("max_results", "100"), written("exclude", "replies")}, nil,
		`{"data":[{"id":"1","text":"t","author_id":"2","public_metrics":{"like_count":1,"reply_count":2,"retweet_count":3}}],"includes":{"users":[{"id":"2","name":"n","username":"u"}]}}`)
	b.ReportAllocs()
	for b.Loop() {
		o.See(seen)
	}
}
