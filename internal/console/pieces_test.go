package console

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTimesInWords(t *testing.T) { synctest.Test(t, timesInWords) }

// timesInWords runs where no time passes.
func timesInWords(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, "never"}, {now, "now"}, {now.Add(-30 * time.Second), "30 s ago"}, {now.Add(-119 * time.Minute), "1 h ago"},
		// What lasts a day does not end in 23 hours, nor what lasts two in one.
		{now.Add(24*time.Hour - time.Second), "in 24 h"}, {now.AddDate(0, 0, 365).Add(-time.Minute), "in 365 d"}, {now.AddDate(0, 0, 730).Add(-time.Minute), "in 2 y"},
		{now.Add(23 * time.Hour), "in 23 h"}, {now.Add(31 * time.Hour), "in 31 h"}, {now.Add(90*time.Minute + time.Second), "in 90 min"}, {now.Add(150 * time.Minute), "in 2 h"}, {now.Add(36 * time.Hour), "in 36 h"}, {now.Add(15*time.Minute - time.Second), "in 15 min"},
		{now.Add(80 * time.Second), "in 80 s"},
	} {
		if got := ago(c.at); got != c.want {
			t.Errorf("%v from now is %q, want %q", c.at.Sub(now), got, c.want)
		}
	}
	if got, want := clock(now), now.UTC().Format("15:04:05"); got != want {
		t.Errorf("now is %q, want %q", got, want)
	}
	if got := clock(time.Date(2020, 5, 4, 3, 2, 1, 0, time.UTC)); got != "4 May 2020 03:02" {
		t.Errorf("another year is %q", got)
	}
}

func TestColumnsThatSayNothingAreLeftOut(t *testing.T) {
	table := Table{Columns: []Column{{Name: "Key"}, {Name: "Used"}, {Name: "By"}, {Name: "Made"}}, Rows: []Row{
		{[]Cell{textCell("a"), textCell("–"), textCell(""), timeCell(time.Time{})}}, {[]Cell{textCell(""), textCell(""), textCell(""), textCell("–")}},
	}}
	table.dropEmpty()
	if len(table.Columns) != 2 || table.Columns[0].Name != "Key" || table.Columns[1].Name != "Made" || len(table.Rows[1].Cells) != 2 || table.Rows[0].Cells[1].Kind != "time" {
		t.Errorf("left are %+v", table)
	}
	for c, want := range map[Cell]string{
		textCell("demo-facebook"): "word half", textCell("26 Nov 2026"): "word half", textCell("two or three words"): "", textCell("a-name-of-twentyfive-chars"): "",
		textCell(""): "", badgeCell(Good, "works"): "half", badgeCell(Good, "waits for an approval"): "", timeCell(time.Now()): "half",
	} {
		if got := classOf(Column{Name: "App"}, c); got != want {
			t.Errorf("the cell %+v has the classes %q, want %q", c, got, want)
		}
	}
	if got := classOf(Column{Name: "A column with a name", Number: true, Aside: true}, countCell(3)); got != "number aside" {
		t.Errorf("a figure has the classes %q", got)
	}
	none := Table{Columns: []Column{{Name: "Key"}}}
	if none.dropEmpty(); len(none.Columns) != 1 {
		t.Error("a table without rows has lost its columns")
	}
}
