package compliance_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/compliance"
)

func TestAnswersAreParsed(t *testing.T) {
	for name, test := range map[string]struct {
		answer    string
		want      string
		malformed int64
	}{
		"X's example": {`{"id":"1265324480517361664","action":"delete","created_at":"2019-10-29T17:02:47.000Z","redacted_at":"2020-07-29T17:02:47.000Z","reason":"deleted"}` + "\n",
			"1265324480517361664 delete deleted 2020-07-29T17:02:47Z", 0},
		"no last newline":   {`{"id":"1","action":"delete","reason":"scrub_geo","created_at":"2020-07-29T17:02:47Z"}`, "1 delete scrub_geo 2020-07-29T17:02:47Z", 0},
		"a new reason":      {`{"id":"1","action":"hide","reason":"withheld_2","new":{"a":[1]}}`, "1 hide withheld_2 0001-01-01T00:00:00Z", 0},
		"carriage returns":  {"\r\n" + `{"id":"1","action":"delete","reason":"bounced"}` + "\r\n\r\n", "1 delete bounced 0001-01-01T00:00:00Z", 0},
		"a date of no time": {`{"id":"1","action":"delete","reason":"deleted","redacted_at":"yesterday"}`, "1 delete deleted 0001-01-01T00:00:00Z", 0},
		"nothing":           {"", "", 0},

		"no JSON":          {"nonsense\n" + `{"id":"1","action":"delete","reason":"deleted"}` + "\n", "1 delete deleted 0001-01-01T00:00:00Z", 1},
		"a list":           {`[{"id":"1","action":"delete","reason":"deleted"}]`, "", 1},
		"two on a line":    {`{"id":"1","action":"delete","reason":"deleted"}{"id":"2","action":"delete","reason":"deleted"}`, "", 1},
		"a number":         {`{"id":1,"action":"delete","reason":"deleted"}`, "", 1},
		"no identifier":    {`{"id":"x","action":"delete","reason":"deleted"}`, "", 1},
		"leading zero":     {`{"id":"01","action":"delete","reason":"deleted"}`, "", 1},
		"a sign":           {`{"id":"+1","action":"delete","reason":"deleted"}`, "", 1},
		"too large":        {`{"id":"9223372036854775808","action":"delete","reason":"deleted"}`, "", 1},
		"no reason":        {`{"id":"1","action":"delete"}`, "", 1},
		"no word":          {`{"id":"1","action":"delete","reason":"it was <b>deleted</b>"}`, "", 1},
		"a long word":      {`{"id":"1","action":"delete","reason":"` + strings.Repeat("a", 65) + `"}`, "", 1},
		"a long enough":    {`{"id":"1","action":"delete","reason":"` + strings.Repeat("a", 64) + `"}`, "1 delete " + strings.Repeat("a", 64) + " 0001-01-01T00:00:00Z", 0},
		"a huge line":      {`{"id":"1","action":"delete","reason":"deleted","x":"` + strings.Repeat("x", 1<<20) + `"}` + "\n" + `{"id":"2","action":"delete","reason":"deleted"}`, "2 delete deleted 0001-01-01T00:00:00Z", 1},
		"a huge last line": {strings.Repeat("x", 1<<20), "", 1},
	} {
		found, malformed, err := compliance.ParseLines(strings.NewReader(test.answer))
		var got []string
		for _, f := range found {
			got = append(got, strings.Join([]string{f.ID, f.Action, f.Reason, f.At.Format(time.RFC3339)}, " "))
		}
		if strings.Join(got, "|") != test.want || malformed != test.malformed || err != nil {
			t.Errorf("%s: %q with %d malformed, %v; want %q with %d", name, got, malformed, err, test.want, test.malformed)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{
		`{"id":"1","action":"delete","reason":"deleted","redacted_at":"2020-07-29T17:02:47.000Z"}` + "\n", "\n\n{", `{"id":"1","action":"a","reason":"b"}` + "\r\n" + strings.Repeat("x", 5000),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		found, malformed, err := compliance.ParseLines(strings.NewReader(answer))
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(found))+malformed > int64(strings.Count(answer, "\n")+1) {
			t.Fatalf("%d lines and %d malformed in %d", len(found), malformed, strings.Count(answer, "\n")+1)
		}
		for _, l := range found {
			if !compliance.Word(l.Action) || !compliance.Word(l.Reason) || l.ID == "" || strings.Trim(l.ID, "0123456789") != "" {
				t.Fatalf("accepted %+v", l)
			}
		}
	})
}
