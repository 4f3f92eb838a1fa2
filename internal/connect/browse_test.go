package connect_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/store/storetest"
)

func TestBrowse(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		c := w.Connections
		var all []gatehouse.ConnectionID
		for i, purpose := range []gatehouse.PurposeName{"publish", "pages", "publish", "gallery", "publish"} {
			all = append(all, w.Connect(fmt.Sprint("user-", i), purpose, connecttest.Person(i+1)).ID)
		}
		if err := c.Revoke(t.Context(), all[2], "asked by a test"); err != nil {
			t.Fatal(err)
		}
		walk := func(b connect.Browsed) (ids []gatehouse.ConnectionID, pages int) {
			for {
				page, err := c.Browse(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				pages++
				for _, v := range page.Connections {
					ids = append(ids, v.ID)
					if v.PlatformUser != "" || v.Name != "" || v.Subject != "" {
						t.Errorf("%s names its person: %+v", v.ID, v)
					}
				}
				if b.After = page.Next; b.After == "" || pages > 10 {
					return ids, pages
				}
			}
		}
		newest := slices.Clone(all)
		slices.Reverse(newest)
		for limit, pages := range map[int]int{0: 1, 1: 5, 2: 3, 5: 1, 1000: 1} {
			if got, n := walk(connect.Browsed{Limit: limit}); !slices.Equal(got, newest) || n != pages {
				t.Errorf("in pages of %d: %v in %d pages, want %v in %d", limit, got, n, newest, pages)
			}
		}
		if got, _ := walk(connect.Browsed{Purpose: "publish", Limit: 1}); !slices.Equal(got, []gatehouse.ConnectionID{all[4], all[2], all[0]}) {
			t.Errorf("for a purpose: %v", got)
		}
		if got, _ := walk(connect.Browsed{Statuses: []connect.Status{connect.Revoked}}); !slices.Equal(got, all[2:3]) {
			t.Errorf("revoked: %v", got)
		}
		if got, _ := walk(connect.Browsed{Apps: []gatehouse.AppName{}}); len(got) != 0 {
			t.Errorf("of no app: %v", got)
		}
		for _, after := range []string{"x", "1", ".con1", "1.", "-1.con1", "99999999999999999999.con1"} {
			_, err := c.Browse(t.Context(), connect.Browsed{After: after})
			refused(t, err, "connect/after")
		}
		v, err := c.Bare(t.Context(), all[2])
		if err != nil || v.Status != connect.Revoked || v.PlatformUser != "" || c.AtPlatform(v) != connect.Confirmed {
			t.Errorf("one without anything opened: %+v, %q, %v", v, c.AtPlatform(v), err)
		}
		_, err = c.Bare(t.Context(), "con'--")
		refused(t, err, "connect/unknown-connection")
	})
}

func FuzzMark(f *testing.F) {
	for _, seed := range []string{"", "17.con1", "0.x", "-1.x", "1.", "99999999999999999999.x", "007.a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := connect.ParseMark(text)
		if err != nil || text == "" {
			return
		}
		again, err := connect.ParseMark(m.String())
		if err != nil || again != m {
			t.Errorf("%q is %v, and read again %v, %v", text, m, again, err)
		}
	})
}

// A row that somebody changed is shown as such to whoever sees no names, and hides none of
// the others; nor does a vault that opens nothing.
func TestAChangedRowIsSeenWithoutNames(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		changed, other := w.Connect("ada", "publish", connecttest.Person(1)).ID, w.Connect("bob", "publish", connecttest.Person(2)).ID
		raw := storetest.OpenRaw(t, dsn)
		raw.Exec("UPDATE connections SET name = access WHERE id = $1", string(changed))
		check := func(what string, v connect.Connection, err error, want bool) {
			t.Helper()
			if err != nil || v.Unreadable != want || strings.Contains(v.Next, "Somebody changed this row") != want || v.PlatformUser != "" || v.Name != "" || v.Subject != "" || v.Status != connect.Healthy {
				t.Errorf("%s: %+v, %v", what, v, err)
			}
		}
		look := func(what string, want bool) {
			t.Helper()
			page, err := w.Connections.Browse(t.Context(), connect.Browsed{})
			if err != nil || len(page.Connections) != 2 {
				t.Fatalf("%s: %+v, %v", what, page, err)
			}
			check(what, page.Connections[0], nil, false)
			check(what, page.Connections[1], nil, want)
			for id, want := range map[gatehouse.ConnectionID]bool{changed: want, other: false} {
				v, err := w.Connections.Bare(t.Context(), id)
				check(what+", by itself", v, err, want)
			}
		}
		look("changed", true)
		raw.Exec("UPDATE vault_person_keys SET state = 'disabled'")
		look("while nothing opens", false)
	})
}
