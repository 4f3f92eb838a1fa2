package review_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func TestLists(t *testing.T) {
	at := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	want := []review.Access{{Account: "ada", Role: "admin", Used: at}, {Account: "bo", Role: "read only, \"weekly\""}}
	for name, text := range map[string]string{
		"csv":              "account,role,last_used\nada,admin,2026-01-31\nbo,\"read only, \"\"weekly\"\"\",\n",
		"another order":    "Last_Used , ROLE,account\r\n2026-01-31T00:00:00Z,admin,ada\r\n,\"read only, \"\"weekly\"\"\", bo \r\n",
		"a mark of order":  "\ufeffaccount,role,last_used\nada,admin,2026-01-31\nbo,\"read only, \"\"weekly\"\"\",\n",
		"json":             `[{"account":"ada","role":"admin","last_used":"2026-01-31"},{"role":"read only, \"weekly\"","account":"bo"}]`,
		"json with a null": ` [ {"account":"ada","role":"admin","last_used":"2026-01-31T01:00:00+01:00"}, {"role":"read only, \"weekly\"","account":"bo","last_used":null} ] `,
	} {
		got, hasUse, err := review.ParseList([]byte(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" || !hasUse {
			t.Errorf("%s: %v, last use: %t (-want +got):\n%s", name, err, hasUse, diff)
		}
	}
	if _, hasUse, err := review.ParseList([]byte("account,role\na,b\n")); err != nil || hasUse {
		t.Errorf("a list without last uses: %t, %v", hasUse, err)
	}
}

// What is wrong with a list is said with its place, and without what stands there.
func TestListsThatAreRefused(t *testing.T) {
	const head = "account,role,last_used\n"
	for name, c := range map[string]struct {
		text         string
		line, column int
	}{
		"nothing":                 {"", 1, 0},
		"a heading alone":         {head, 1, 0},
		"another column":          {"account,role,hunter2\n", 1, 14},
		"a column twice":          {"account,role,account\n", 1, 14},
		"no role":                 {"account,last_used\n", 1, 0},
		"an empty account":        {head + "ada,admin,\n,hunter2,\n", 3, 1},
		"too few fields":          {head + "hunter2,admin\n", 2, 1},
		"too many fields":         {head + "hunter2,admin,,x\n", 2, 1},
		"an open quote":           {head + "\"hunter2,admin,\n", 2, 17},
		"a quote inside":          {head + "hun\"ter2,admin,\n", 2, 4},
		"no day":                  {head + "ada,admin,hunter2\n", 2, 11},
		"a day that is not there": {head + "ada,admin,2026-02-30\n", 2, 11},
		"a day of another age":    {head + "ada,admin,0001-01-01\n", 2, 11},
		"a control character":     {head + "ada,adm\x07in,\n", 2, 5},
		"a line in a field":       {head + "ada,\"hunter2\nadmin\",\n", 2, 5},
		"turned writing":          {head + "ada,adm\u202ein,\n", 2, 5},
		"too long a field":        {head + strings.Repeat("x", 257) + ",admin,\n", 2, 1},
		"twice":                   {head + "ada,admin,\nbo,admin,\nada,admin,2026-01-31\n", 4, 1},
		"json, no array":          {`{"account":"hunter2"}`, 1, 2},
		"json, no object":         {"[\n\"hunter2\"]", 2, 10},
		"json, another member":    {"[{\"account\":\"a\",\n\"hunter2\":\"x\"}]", 2, 10},
		"json, a member twice":    {`[{"account":"a","account":"hunter2","role":"x"}]`, 1, 26},
		"json, a number":          {`[{"account":7,"role":"x"}]`, 1, 14},
		"json, no role":           {"[\n {\"account\":\"hunter2\"}]", 2, 23},
		"json, cut":               {`[{"account":"hunter2","role":"x"}`, 1, 34},
		"json, more":              {`[{"account":"a","role":"x"}] hunter2`, 1, 0},
		"json, empty":             {`[]`, 1, 0},
	} {
		_, _, err := review.ParseList([]byte(c.text))
		var at *review.LineError
		if !errors.As(err, &at) || !errors.Is(err, gatehouse.ErrInvalid) || at.Line != c.line || c.column > 0 && at.Column != c.column {
			t.Errorf("%s: %v, want line %d, column %d", name, err, c.line, c.column)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats what stands there: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{
		"not UTF-8": []byte(head + "ad\xff,admin,\n"),
		"too large": append([]byte(head), bytes.Repeat([]byte("x"), review.MaxListBytes)...),
	} {
		if _, _, err := review.ParseList(text); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	var many strings.Builder
	many.WriteString(head)
	for i := range 20_001 {
		fmt.Fprintf(&many, "a%d,admin,\n", i)
	}
	if _, _, err := review.ParseList([]byte(many.String())); err == nil {
		t.Error("a list with more than 20,000 rights is accepted")
	}
	if _, _, err := review.ParseList([]byte(strings.TrimSuffix(many.String(), "a20000,admin,\n"))); err != nil {
		t.Errorf("a list with 20,000 rights: %v", err)
	}
}

// No cell of an exported table is a formula.
func TestTablesHoldNoFormulas(t *testing.T) {
	var out bytes.Buffer
	items := []review.Item{{Number: 1, Right: review.Right{Kind: review.Listed, System: "cloud", Holder: "=cmd|' /C calc'!A0", Name: "+1", Detail: "-2"}, Why: "@x", Reason: "\tx"}}
	if err := review.WriteCSV(&out, items); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v, %v", rows, err)
	}
	for i, cell := range rows[1] {
		if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r|%") {
			t.Errorf("%s: %q", rows[0][i], cell)
		}
	}
	if rows[1][3] != "'=cmd|' /C calc'!A0" || review.Cell("admin") != "admin" {
		t.Errorf("cells: %q", rows[1])
	}
}

// FuzzList: what is accepted is bounded and unambiguous, and an error repeats nothing.
func FuzzList(f *testing.F) {
	for _, seed := range []string{"account,role\na,b\n", "role,last_used,account\nx,2026-01-31,y\n", `[{"account":"a","role":"b","last_used":""}]`, "[", "\"", "account,role\n\"a"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		access, _, err := review.ParseList(b)
		var at *review.LineError
		if errors.As(err, &at) && (at.Line < 1 || at.Column < 0 || at.Line > bytes.Count(b, []byte("\n"))+2) {
			t.Errorf("%v is in no line", err)
		}
		if err == nil && len(access) == 0 {
			t.Error("an empty list is accepted")
		}
		seen := map[[2]string]bool{}
		for _, a := range access {
			if a.Account == "" || a.Role == "" || len(a.Account) > 256 || len(a.Role) > 256 || strings.ContainsAny(a.Account+a.Role, "\n\r\t\x00") || seen[[2]string{a.Account, a.Role}] {
				t.Errorf("%+v is accepted", a)
			}
			seen[[2]string{a.Account, a.Role}] = true
		}
	})
}

// FuzzEvidence: nothing but what was signed is accepted.
func FuzzEvidence(f *testing.F) {
	f.Add([]byte(`{"review":{"v":1},"signature":"— gatehouse/test AAAA\n"}`))
	f.Add([]byte(`{"review":null,"signature":""}`))
	verifier := strangersKey(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := review.Verify(b, verifier); err == nil {
			t.Error("accepted")
		} else if !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%v is of no kind", err)
		}
	})
}

// However many systems there are, a review can begin.
func TestAllListsFitIntoAReview(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	list := func(n int) []byte {
		var b strings.Builder
		b.WriteString("account,role\n")
		for i := range n {
			fmt.Fprintf(&b, "a%d,r\n", i)
		}
		return []byte(b.String())
	}
	for _, system := range []string{"one", "two", "two"} {
		_, err := w.reviews.Import(t.Context(), s.ada, system, list(20_000))
		w.must(err)
	}
	if _, err := w.reviews.Import(t.Context(), s.ada, "three", list(10_001)); !errors.Is(err, gatehouse.ErrLimited) {
		t.Errorf("a list too many: %v, want ErrLimited", err)
	}
	_, err := w.reviews.Import(t.Context(), s.ada, "two", list(10_000))
	w.must(err)
	_, err = w.reviews.Import(t.Context(), s.ada, "three", list(10_000))
	w.must(err)
	w.begin(s.ada)
}
