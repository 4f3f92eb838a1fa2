package records_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/records"
	"gatehouse/internal/store/storetest"
)

func TestATextOpensForWhatItWasSealedFor(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		sealed := w.seal(email("user-7", canary))[0]
		w.seal(email("user-8", canary)) // the other person exists
		w.opens(sealed, canary)
		for name, change := range map[string]func(*records.Item){
			"another person":  func(i *records.Item) { i.Owner = of("user-8") },
			"another purpose": func(i *records.Item) { i.Purpose = "support" },
			"another label":   func(i *records.Item) { i.Values[0].Label = "phone" },
			"another form":    func(i *records.Item) { i.Values[0].JSON = true },
			"a person of a connection": func(i *records.Item) {
				i.Owner = records.Owner{Person: w.person("user-8")}
			},
		} {
			moved := sealed
			moved.Values = slices.Clone(sealed.Values)
			change(&moved)
			t.Log(name)
			w.refused("records/unreadable", moved)
		}
		// The person of a connection is named by who looked it up.
		person, err := w.Vault.NewPerson(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		item := email("", canary)
		item.Owner = records.Owner{Person: person, Connection: "con1"}
		w.opens(w.seal(item)[0], canary)
	})
}

// Every bit of the text, and every cut of it.
func TestAChangedTextDoesNotOpen(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
	sealed := w.seal(email("user-7", "a@b"))[0]
	text := sealed.Values[0].Data
	try := func(what string, changed []byte) {
		t.Helper()
		item := sealed
		item.Values = []records.Value{{Label: "email", Data: changed}}
		verdicts, err := w.records.Open(t.Context(), "scheduler", []records.Item{item})
		if err != nil {
			t.Fatal(err)
		}
		if verdicts[0].Err == nil || verdicts[0].Values != nil {
			t.Errorf("%s: it opens: %v", what, verdicts[0].Values)
		}
	}
	for bit := range len(text) * 8 {
		changed := bytes.Clone(text)
		changed[bit/8] ^= 1 << (bit % 8)
		try(fmt.Sprintf("bit %d flipped", bit), changed)
	}
	for n := range text {
		try(fmt.Sprintf("cut to %d", n), text[:n])
	}
	for _, more := range []string{"A", "=", "\n", " ", "\r\n"} {
		try(fmt.Sprintf("with %q behind", more), append(bytes.Clone(text), more...))
	}
	try("with a line end inside", append(append(bytes.Clone(text[:30]), '\n'), text[30:]...))
	w.opens(sealed, "a@b")
}

// A text shows neither whose it is nor that two are the same.
func TestTextsOfOnePersonShareNothing(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
	sealed := w.seal(email("user-7", canary), email("user-7", canary))
	var raw [][]byte
	for _, s := range sealed {
		rest, ok := strings.CutPrefix(string(s.Values[0].Data), "gth_sealed_1_")
		if !ok {
			t.Fatalf("the text is %q", s.Values[0].Data)
		}
		b, err := base64.RawURLEncoding.DecodeString(rest)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, b)
		if bytes.Contains(b, []byte(w.person("user-7"))) {
			t.Error("the text names the person")
		}
	}
	const head = 5 // the form and the version of the key, which are the same for everybody
	same := 0
	for i := head; i < len(raw[0]); i++ {
		if raw[0][i] == raw[1][i] {
			same++
		}
	}
	if same > len(raw[0])/4 {
		t.Errorf("%d of %d bytes are the same in two texts of one person", same, len(raw[0]))
	}
}

func TestATextEndsWithItsTime(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
	over, lasting := email("user-7", canary), email("user-7", canary)
	over.Life, lasting.Life = time.Microsecond, time.Hour
	sealed := w.seal(over, lasting)
	w.refused("records/expired", sealed[0])
	w.opens(sealed[1], canary)
	// Who may not open it does not learn that it has ended.
	moved := sealed[0]
	moved.Owner = of("user-8")
	w.seal(email("user-8", canary))
	w.refused("records/unreadable", moved)

	// What the purpose keeps now counts for what was sealed before.
	kept := email("user-7", canary)
	kept.Purpose = "support"
	text := w.seal(kept)[0]
	w.opens(text, canary)
	w.keeps["support"] = time.Microsecond
	w.refused("records/expired", text)
	w.keeps["support"] = 720 * time.Hour
	w.opens(text, canary)
}

func TestALifeIsBoundedByThePurpose(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
	for _, c := range []struct {
		purpose gatehouse.PurposeName
		life    time.Duration
		want    time.Duration // 0: never
		rule    string
	}{
		{"support", 0, 720 * time.Hour, ""},
		{"support", 720 * time.Hour, 720 * time.Hour, ""},
		{"support", 720*time.Hour + 1, 0, "records/expires-in"},
		{"notify", 0, 0, ""},
		{"notify", time.Hour, time.Hour, ""},
		{"notify", -1, 0, "records/expires-in"},
		{"notify", 101 * 365 * 24 * time.Hour, 0, "records/expires-in"},
	} {
		item := email("user-7", canary)
		item.Purpose, item.Life = c.purpose, c.life
		verdicts, err := w.records.Seal(t.Context(), "scheduler", []records.Item{item})
		if err != nil {
			t.Fatal(err)
		}
		wantRule(t, fmt.Sprint(c.purpose, " for ", c.life), c.rule, verdicts[0].Err)
		var got time.Duration
		if !verdicts[0].Expires.IsZero() {
			got = time.Until(verdicts[0].Expires).Round(time.Minute)
		}
		if got != c.want {
			t.Errorf("%s for %s ends in %s, want %s", c.purpose, c.life, got, c.want)
		}
	}
}

func TestAPurposeIsTheBoundary(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
	sealed := w.seal(email("user-7", canary))
	// Another service of the same purpose opens it; one without the purpose does not.
	if v, err := w.records.Open(t.Context(), "analytics", sealed); err != nil || v[0].Err != nil {
		t.Errorf("another service of the purpose: %v, %v", err, v)
	}
	v, err := w.records.Open(t.Context(), "stranger", sealed)
	if err != nil {
		t.Fatal(err)
	}
	wantRule(t, "a service without the purpose", "records/purpose", v[0].Err)
	// A purpose that is gone opens nothing.
	delete(w.keeps, "notify")
	w.refused("records/purpose", sealed[0])
	w.keeps["notify"] = 0
	w.opens(sealed[0], canary)
}

func TestItemsAreJudgedOneByOne(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		fields := records.Item{Owner: of("user-7"), Purpose: "notify", Values: []records.Value{
			{Label: "email", JSON: true, Data: []byte(`"` + canary + `"`)}, {Label: "phone", JSON: true, Data: []byte(`null`)},
		}}
		sealed := w.seal(email("user-7", "one"), fields, email("user-8", "two"))
		mixed := fields
		mixed.Values = []records.Value{sealed[1].Values[0], {Label: "phone", JSON: true, Data: sealed[1].Values[0].Data}}
		items := []records.Item{
			sealed[0], sealed[1], mixed, sealed[2],
			{Owner: of("user-8"), Purpose: "notify", Values: sealed[0].Values},
			{Owner: of("nobody"), Purpose: "notify", Values: sealed[0].Values},
			{Owner: of("user-7"), Purpose: "unknown", Values: sealed[0].Values},
			{Owner: of(""), Purpose: "notify", Values: sealed[0].Values},
			{Owner: of("user-7"), Purpose: "notify", Values: []records.Value{{Label: "email", Data: []byte("plain")}}},
		}
		verdicts, err := w.records.Open(t.Context(), "scheduler", items)
		if err != nil {
			t.Fatal(err)
		}
		for i, rule := range []string{
			"", "", "records/unreadable", "", "records/unreadable", "records/erased", "records/purpose", "records/owner", "records/text",
		} {
			wantRule(t, fmt.Sprint("item ", i), rule, verdicts[i].Err)
			if (rule == "") != (len(verdicts[i].Values) > 0) {
				t.Errorf("item %d gives %d values", i, len(verdicts[i].Values))
			}
		}
		if got := string(verdicts[3].Values[0].Data); got != "two" {
			t.Errorf("the fourth is %q", got)
		}

		// One intent for each person and purpose, before; its outcome behind; and each
		// refusal that came before any intent.
		kinds := map[string]int{}
		values := map[string]bool{}
		for _, e := range w.entries("open") {
			kinds[e.Kind]++
			values[e.Kind+" "+e.Facts["values"]+" "+e.Verdict] = true
			if e.Service != "scheduler" || e.Kind != audit.KindEvent && e.Purpose != "notify" {
				t.Errorf("an entry is of %s for %s", e.Service, e.Purpose)
			}
			if e.Kind == audit.KindIntent && len(e.Sealed) == 0 {
				t.Error("an intent does not say whose data it was")
			}
		}
		if kinds[audit.KindIntent] != 2 || kinds[audit.KindOutcome] != 2 || kinds[audit.KindEvent] != 3 {
			t.Errorf("the log has %v", kinds)
		}
		for _, want := range []string{"intent 6 allow", "outcome 3 failed", "intent 2 allow", "outcome 1 failed"} {
			if !values[want] {
				t.Errorf("the log lacks %q: %v", want, values)
			}
		}
	})
}

func TestRequestsAreBounded(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
	many := func(n int) []records.Item {
		items := make([]records.Item, n)
		for i := range items {
			items[i] = email("user-7", "x")
		}
		return items
	}
	w.seal(many(records.MaxValues)...)
	for name, items := range map[string][]records.Item{"records/too-many": many(records.MaxValues + 1), "records/empty": nil} {
		for action, f := range map[string]func() error{
			"Seal": func() error { _, err := w.records.Seal(t.Context(), "scheduler", items); return err },
			"Open": func() error { _, err := w.records.Open(t.Context(), "scheduler", items); return err },
		} {
			wantRule(t, action, name, f())
		}
	}
	w.opens(w.seal(email("user-7", strings.Repeat("x", records.MaxValue)))[0], strings.Repeat("x", records.MaxValue))
	item := func(change func(*records.Item)) records.Item {
		i := email("user-7", "x")
		change(&i)
		return i
	}
	for rule, items := range map[string][]records.Item{
		"records/too-large": {email("user-7", strings.Repeat("x", records.MaxValue+1))},
		"records/empty":     {item(func(i *records.Item) { i.Values = nil })},
		"records/owner":     {email("", "x"), item(func(i *records.Item) { i.Owner.Person = "p" })},
		"records/subject":   {email(strings.Repeat("s", 201), "x"), email("a\x00b", "x"), email("a\xff", "x")},
		"records/label": {
			item(func(i *records.Item) { i.Values[0].Label = "" }), item(func(i *records.Item) { i.Values[0].Label = ".." }),
			item(func(i *records.Item) { i.Values[0].Label = "a b" }), item(func(i *records.Item) { i.Values[0].Label = strings.Repeat("l", 33) }),
		},
		"records/label-twice": {item(func(i *records.Item) { i.Values = append(i.Values, i.Values[0]) })},
	} {
		verdicts, err := w.records.Seal(t.Context(), "scheduler", items)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range verdicts {
			wantRule(t, rule, rule, v.Err)
		}
	}
	w.seal(email(strings.Repeat("s", 200), "x"), item(func(i *records.Item) { i.Values[0].Label = strings.Repeat("l", 32) }))
}

// Many requests that are a subject's first agree on one person.
func TestASubjectHasOnePerson(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var wait sync.WaitGroup
		sealed := make([][]records.Verdict, 8)
		for i := range sealed {
			wait.Go(func() {
				v, err := w.records.Seal(t.Context(), "scheduler", []records.Item{email("user-7", canary)})
				if err != nil {
					t.Error(err)
				}
				sealed[i] = v
			})
		}
		wait.Wait()
		for _, v := range sealed {
			item := email("user-7", "")
			item.Values = v[0].Values
			w.opens(item, canary)
		}
		raw := storetest.OpenRaw(t, w.DSN)
		if _, rows := raw.Query("SELECT person FROM vault_person_keys WHERE state <> 'destroyed'"); len(rows) != 1 {
			t.Errorf("%d keys are in use, want 1", len(rows))
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add([]byte("gth_sealed_1_"))
	f.Add(records.HookTestOnlyFormatText(bytes.Repeat([]byte{1, 0xff}, 40)))
	f.Add([]byte("gth_sealed_1_" + strings.Repeat("A", 66) + "B"))
	f.Add([]byte("gth_sealed_1_" + strings.Repeat("A\n", 66)))
	f.Fuzz(func(t *testing.T, text []byte) {
		sealed, err := records.HookTestOnlyParseText(text)
		if err != nil {
			if sealed != nil || len(text) > 0 && len(text) < 200 && strings.Contains(err.Error(), string(text)) && len(text) > 20 {
				t.Errorf("a refusal gives or repeats %q", text)
			}
			return
		}
		if again := records.HookTestOnlyFormatText(sealed); !bytes.Equal(again, text) {
			t.Errorf("%q is written as %q: two texts mean the same", text, again)
		}
	})
}
