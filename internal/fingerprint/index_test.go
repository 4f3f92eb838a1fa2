package fingerprint_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

func TestNewRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		config fingerprint.Config
		ok     bool
	}{
		"no key":            {fingerprint.Config{}, false},
		"negative capacity": {fingerprint.Config{Key: fingerprint.Key{1}, Capacity: -1}, false},
		"defaults":          {fingerprint.Config{Key: fingerprint.Key{1}}, true},
	} {
		if _, err := fingerprint.New(test.config); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// number is the id of an owner in these tests.
func number(i int) string { return "90000" + strconv.Itoa(1_000_000_000+i) }

func entry(t testing.TB, x *fingerprint.Index, o fingerprint.Owner, text string, expires time.Time) fingerprint.Entry {
	t.Helper()
	p, ok := x.Print(fingerprint.Value{Class: gatehouse.PseudonymousID, Text: text})
	if !ok {
		t.Fatalf("%q has no fingerprint", text)
	}
	return fingerprint.Entry{Print: p, Owner: o, Class: gatehouse.PseudonymousID, Expires: expires}
}

// finds says who is found for a number.
func finds(x *fingerprint.Index, text string) string { return kinds(search(x, []byte(text), whole)) }

func TestForget(t *testing.T) {
	x := indexOf(t)
	for i := range 2000 {
		x.Add(entry(t, x, fingerprint.Owner(i%20+1), number(i), later))
	}
	x.Add(entry(t, x, 3, number(0), later))
	if n := x.Forget(3); n != 101 {
		t.Errorf("%d fingerprints of an owner were forgotten, want 101", n)
	}
	if n := x.Forget(3) + x.Forget(0) + x.Forget(21); n != 0 {
		t.Errorf("%d fingerprints were forgotten that were not there", n)
	}
	for i := range 2000 {
		want := "pseudonymous-id[" + strconv.Itoa(i%20+1) + "]"
		if i%20 == 2 {
			want = ""
		}
		if got := finds(x, number(i)); got != want {
			t.Fatalf("%s: %q, want %q", number(i), got, want)
		}
	}
	if s := x.Stats(); s.Entries != 1900 {
		t.Errorf("%+v, want 1900 entries", s)
	}
}

func TestExpire(t *testing.T) {
	x := indexOf(t)
	now := time.Unix(1_800_000_000, 0)
	for i := range 1000 {
		x.Add(entry(t, x, 1, number(i), now.Add(time.Duration(i)*time.Hour)))
	}
	// Renewal lengthens a life and never shortens it.
	x.Add(entry(t, x, 1, number(10), now.Add(900*time.Hour)), entry(t, x, 1, number(950), now.Add(time.Hour)))
	if n := x.Expire(now.Add(-time.Hour)); n != 0 {
		t.Errorf("%d expired before their time", n)
	}
	if n := x.Expire(now.Add(500 * time.Hour)); n != 500 {
		t.Errorf("%d expired, want 500", n)
	}
	for i, want := range map[int]bool{9: false, 10: true, 11: false, 499: false, 502: true, 950: true} {
		if got := finds(x, number(i)) != ""; got != want {
			t.Errorf("number %d is found: %v, want %v", i, got, want)
		}
	}
	if n := x.Expire(now.Add(2000 * time.Hour)); n != 500 || x.Stats().Entries != 0 {
		t.Errorf("%d expired and %d are left, want 500 and none", n, x.Stats().Entries)
	}
}

// When the index is full, what expires first goes, and that is counted.
func TestEviction(t *testing.T) {
	for _, capacity := range []int{10, 6400} {
		x, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{5}, Capacity: capacity})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1_800_000_000, 0)
		for i := range 3 * capacity {
			x.Add(entry(t, x, 1, number(i), now.Add(time.Duration(i)*time.Minute)))
			if s := x.Stats(); s.Entries > capacity {
				t.Fatalf("%d entries of %d", s.Entries, capacity)
			}
		}
		s := x.Stats()
		if s.Entries+int(s.Evicted) != 3*capacity || s.Entries < capacity*9/10 {
			t.Errorf("%+v: %d were added", s, 3*capacity)
		}
		if finds(x, number(3*capacity-1)) == "" || finds(x, number(0)) != "" {
			t.Error("the youngest is gone, or the oldest is there")
		}
		// What is there needs no room.
		x.Add(entry(t, x, 1, number(3*capacity-1), now.Add(time.Duration(9*capacity)*time.Minute)))
		if again := x.Stats(); again.Evicted != s.Evicted {
			t.Error("a renewal evicted somebody")
		}
	}
}

// All of one hour are equally old; no more of them go than must.
func TestEvictionWithinAnHour(t *testing.T) {
	x, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{5}, Capacity: 6400})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6401 {
		x.Add(entry(t, x, 1, number(i), later))
	}
	if s := x.Stats(); s.Evicted != 101 {
		t.Errorf("%+v, want 101 evicted", s)
	}
}

// owners lists the numbers from one to n as a hit shows them.
func owners(n int) string {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return fmt.Sprint(list)
}

func TestSharing(t *testing.T) {
	x := indexOf(t)
	const many = fingerprint.DefaultMany
	for o := range fingerprint.Owner(many - 1) {
		x.Add(entry(t, x, o+1, number(1), later))
	}
	if got := finds(x, number(1)); got != "pseudonymous-id"+owners(many-1) {
		t.Errorf("one owner less than many: %s", got)
	}
	x.Add(entry(t, x, 4, number(1), later))
	if got := x.Stats().Entries; got != many-1 {
		t.Errorf("an owner twice: %d entries", got)
	}
	x.Add(entry(t, x, many, number(1), later.Add(-1000*time.Hour)))
	hits := search(x, []byte(number(1)), whole)
	if len(hits) != 1 || !hits[0].Shared || hits[0].Owners != nil || x.Stats().Entries != 1 {
		t.Errorf("many owners: %+v, %d entries", hits, x.Stats().Entries)
	}
	// It lives as long as the one that lives longest.
	if x.Expire(later.Add(-time.Hour)) != 0 || x.Forget(1) != 0 {
		t.Error("a shared value went")
	}
	x.Add(entry(t, x, many+1, number(1), later.Add(1000*time.Hour)))
	if x.Expire(later.Add(time.Hour)) != 0 || x.Stats().Entries != 1 {
		t.Error("a shared value was not renewed")
	}
}

// How many make a value shared is a matter of its kind, and of the configuration.
func TestHowManyShare(t *testing.T) {
	for _, bad := range []int{-1, 4, fingerprint.MaxMany + 1} {
		if _, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{1}, Many: bad}); err == nil {
			t.Errorf("%d may be many", bad)
		}
	}
	x, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{1}, Many: 6})
	if err != nil {
		t.Fatal(err)
	}
	add := func(o fingerprint.Owner, class gatehouse.DataClass, text string) {
		p, ok := x.Print(fingerprint.Value{Class: class, Text: text})
		if !ok {
			t.Fatalf("%q has no fingerprint", text)
		}
		x.Add(fingerprint.Entry{Print: p, Owner: o, Class: class, Expires: later})
	}
	for o := range fingerprint.Owner(5) {
		add(o+1, gatehouse.PhoneNumber, "4930123456")
		add(o+1, gatehouse.Username, "ada_lovelace")
	}
	if got := finds(x, "4930123456 ada_lovelace"); got != "phone[1 2 3 4 5]" {
		t.Errorf("five owners: %s", got)
	}
	add(6, gatehouse.PhoneNumber, "4930123456")
	if hits := search(x, []byte("4930123456"), whole); len(hits) != 1 || !hits[0].Shared {
		t.Errorf("six owners: %+v", hits)
	}
}

// What is entered in forms makes no value a shared one, however often, and keeps
// nobody out of the list who counts.
func TestEnteredValues(t *testing.T) {
	x := indexOf(t)
	const many = fingerprint.DefaultMany
	entered := func(o fingerprint.Owner) {
		e := entry(t, x, o, number(1), later)
		e.Entered = true
		x.Add(e)
	}
	for o := range fingerprint.Owner(3 * many) {
		entered(1000 + o)
	}
	hits := search(x, []byte(number(1)), whole)
	if len(hits) != 1 || hits[0].Shared || len(hits[0].Owners) != many-1 || x.Stats().Entries != many-1 {
		t.Fatalf("entered by many: %+v, %d entries", hits, x.Stats().Entries)
	}
	for o := range fingerprint.Owner(many - 1) {
		x.Add(entry(t, x, o+1, number(1), later))
		entered(2000 + o)
	}
	if got := finds(x, number(1)); got != "pseudonymous-id"+owners(many-1) || x.Stats().Entries != many-1 {
		t.Errorf("beside those who count: %s, %d entries", got, x.Stats().Entries)
	}
	// Who entered something is forgotten like others, and comes back where there is room.
	if n := x.Forget(7); n != 1 {
		t.Errorf("%d forgotten", n)
	}
	entered(3000)
	if n := x.Forget(3000); n != 1 || x.Forget(3000) != 0 {
		t.Errorf("%d forgotten of who entered it", n)
	}
	for o := range fingerprint.Owner(2) {
		x.Add(entry(t, x, many+o, number(1), later))
	}
	if hits := search(x, []byte(number(1)), whole); len(hits) != 1 || !hits[0].Shared || x.Stats().Entries != 1 {
		t.Errorf("many who count: %+v, %d entries", hits, x.Stats().Entries)
	}
}

func TestUnknownClass(t *testing.T) {
	x := indexOf(t)
	if _, ok := x.Print(fingerprint.Value{Class: "colour", Text: "1234567890"}); ok {
		t.Error("a value of an unknown kind has a fingerprint")
	}
	e := entry(t, x, 1, number(1), later)
	e.Class = "colour"
	x.Add(e)
	if x.Stats().Entries != 0 {
		t.Error("an entry of an unknown kind was added")
	}
}

// Fingerprints are the same in another index with the same key, and others with
// another.
func TestPrintsAreKeyed(t *testing.T) {
	a, b := indexOf(t), indexOf(t)
	c, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{1, 2, 4}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[fingerprint.Print]string{}
	for _, v := range people {
		p, _ := a.Print(fingerprintValue(v))
		if q, _ := b.Print(fingerprintValue(v)); q != p {
			t.Errorf("%q has two fingerprints under one key", v.text)
		}
		if q, _ := c.Print(fingerprintValue(v)); q == p {
			t.Errorf("%q has one fingerprint under two keys", v.text)
		}
		if other, ok := seen[p]; ok {
			t.Errorf("%q and %q have one fingerprint", v.text, other)
		}
		seen[p] = v.text
	}
}

// TestAgainstMap does at random to an index what it does to a map.
func TestAgainstMap(t *testing.T) {
	x := indexOf(t)
	type key struct {
		o fingerprint.Owner
		n int
	}
	model := map[key]int{} // hour of expiry
	r := rand.New(rand.NewPCG(8, 8))
	now := time.Unix(1_800_000_000, 0).Truncate(time.Hour)
	for step := range 40_000 {
		switch k := r.IntN(1000); {
		case k < 990:
			o, hour := fingerprint.Owner(r.IntN(60)+1), r.IntN(500)
			e := key{o, int(o) + 100*r.IntN(300)}
			x.Add(entry(t, x, o, number(e.n), now.Add(time.Duration(hour)*time.Hour)))
			if had, ok := model[e]; !ok || had < hour {
				model[e] = hour
			}
		case k < 995:
			o := fingerprint.Owner(r.IntN(60) + 1)
			want := 0
			for e := range model {
				if e.o == o {
					delete(model, e)
					want++
				}
			}
			if got := x.Forget(o); got != want {
				t.Fatalf("step %d: %d forgotten, want %d", step, got, want)
			}
		default:
			hour, want := r.IntN(400), 0
			for e, had := range model {
				if had <= hour {
					delete(model, e)
					want++
				}
			}
			if got := x.Expire(now.Add(time.Duration(hour) * time.Hour)); got != want {
				t.Fatalf("step %d: %d expired, want %d", step, got, want)
			}
		}
		if got := x.Stats().Entries; got != len(model) {
			t.Fatalf("step %d: %d entries, want %d", step, got, len(model))
		}
	}
	for o := range 60 {
		for n := range 300 {
			e := key{fingerprint.Owner(o + 1), o + 1 + 100*n}
			_, want := model[e]
			if got := finds(x, number(e.n)) != ""; got != want {
				t.Fatalf("%+v is found: %v, want %v", e, got, want)
			}
		}
	}
}

// While one writes, many search: what is there all the time is always found, and
// what was added before a search began.
func TestTogether(t *testing.T) {
	x := indexOf(t, people...)
	var added atomic.Int64
	var searching, writing sync.WaitGroup
	stop := make(chan struct{})
	writing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			x.Add(entry(t, x, fingerprint.Owner(100+i%50), number(i), later))
			added.Store(int64(i))
			if i%400 == 399 {
				x.Forget(fingerprint.Owner(100 + (i+25)%50))
				x.Expire(time.Unix(1_800_000_000, 0))
			}
		}
	})
	for range 4 {
		searching.Go(func() {
			for range 300 {
				if got := finds(x, "1234567890123456789"); got != "pseudonymous-id[1]" {
					t.Errorf("found %q", got)
				}
				// Not yet forgotten: each is for at least a hundred additions.
				i := added.Load()
				if got := finds(x, number(int(i))); got == "" && added.Load() < i+100 && i%400 < 200 && i > 0 {
					t.Errorf("number %d was added and is not found", i)
				}
			}
		})
	}
	searching.Wait()
	close(stop)
	writing.Wait()
}
