package store_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

// TestConfigurations: a node has one row, however often it reloads, and the newest wins.
func TestConfigurations(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		c, day := storetest.Open(t, dsn).Configurations(), time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
		a := store.AppliedConfiguration{Node: "", Hash: "aa", Mode: "enforce", Text: "mode: enforce\n", Entry: "e1", At: day}
		b := store.AppliedConfiguration{Log: 3, Node: "blue", Hash: "bb", Mode: "report", Text: strings.Repeat("x", store.MaxConfiguration), Entry: "e2", At: day}
		newer, older := a, a
		newer.Hash, newer.At = "cc", day.Add(time.Hour)
		older.Hash, older.At = "dd", day.Add(-time.Hour)
		for _, one := range []store.AppliedConfiguration{b, a, newer, older} {
			if err := c.Save(t.Context(), one); err != nil {
				t.Fatal(err)
			}
		}
		long := b
		long.Text += "x"
		if err := c.Save(t.Context(), long); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("a text that is too long: %v", err)
		}
		if got, err := c.List(t.Context()); err != nil || !reflect.DeepEqual(got, []store.AppliedConfiguration{newer, b}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
