package store_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
)

// metacharacters mean something to SQL, to LIKE, or to whoever joins strings.
var metacharacters = []string{`'`, `"`, `' OR '1'='1`, `%`, `_`, `\`, `;--`, `x'); DROP TABLE connections;--`, "\u202e", `$1`, "é\u0301"}

func TestNewestConnections(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx := t.Context()
		var all []connect.Record
		for i := range 7 {
			r := record(gatehouse.ConnectionID(fmt.Sprintf("con%d", i)))
			r.Created = moment(time.Duration(i/2) * time.Minute) // two at a time
			all = append(all, r)
		}
		all[5].Status = connect.Revoked
		other := record("con8")
		other.App = "other-x"
		pending := record("con9")
		pending.Status, pending.Redeemed = connect.Healthy, time.Time{}
		if err := s.SaveConnections(ctx, append(all, other, pending)...); err != nil {
			t.Fatal(err)
		}
		var got []gatehouse.ConnectionID
		var mark connect.Mark
		for range 5 {
			page, err := s.Newest(ctx, "main-x", connect.Healthy, mark, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page {
				got = append(got, m.ID)
				mark = m.Mark
				if len(m.Purposes) != 1 || m.Purposes[0] != "publish" {
					t.Errorf("%s is for %v", m.ID, m.Purposes)
				}
			}
		}
		if fmt.Sprint(got) != "[con6 con4 con3 con2 con1 con0]" {
			t.Errorf("page by page: %v", got)
		}
		rows, err := s.ConnectionRows(ctx, []gatehouse.ConnectionID{"con5", "nobody", "con8"})
		if err != nil || len(rows) != 2 || rows[0].ID != "con5" || rows[0].Status != connect.Revoked || rows[1].App != "other-x" {
			t.Errorf("rows by id: %v, %v", rows, err)
		}
		for _, text := range metacharacters {
			page, err := s.Newest(ctx, gatehouse.AppName(text), connect.Status(text), connect.Mark{Created: moment(0), ID: gatehouse.ConnectionID(text)}, 10)
			if err != nil || len(page) != 0 {
				t.Errorf("%q as app, state and mark: %v, %v", text, page, err)
			}
			if rows, err := s.ConnectionRows(ctx, []gatehouse.ConnectionID{gatehouse.ConnectionID(text)}); err != nil || len(rows) != 0 {
				t.Errorf("%q as an id: %v, %v", text, rows, err)
			}
		}
	})
}
