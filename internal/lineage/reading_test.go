package lineage_test

import (
	"testing"

	"gatehouse"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/lineage"
)

// A text that may be two kinds of data is on record as both, and passes where one of
// them may; whose it is at another place is judged for itself.
func TestReadingsOfAValue(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const number = "555666777888"
		value := func(c gatehouse.DataClass, text string) fingerprint.Value {
			return fingerprint.Value{Class: c, Text: text}
		}
		w.deliver(w.l, source,
			lineage.Delivered{ID: "111222333444", Values: []fingerprint.Value{value(gatehouse.PostID, number)}},
			lineage.Delivered{ID: number, Values: []fingerprint.Value{value(gatehouse.PseudonymousID, number)}},
			// The brand and somebody else have one name.
			person("900900900900", value(gatehouse.PersonName, "Ada Lovelace")), person("444555666777", value(gatehouse.PersonName, "Ada Lovelace")))
		for _, test := range []struct {
			to   lineage.Transfer
			body string
			want string
		}{
			{to("post.example", gatehouse.PostID), number, "passed"},
			{to("id.example", gatehouse.PseudonymousID), number, "passed"},
			{to("neither.example", gatehouse.Username), number, "lineage/stopped"},
			{to("brand.example", gatehouse.EmailAddress), "Ada Lovelace " + mail("900900900900"), "passed"},
			{to("both.example", gatehouse.EmailAddress), "Ada Lovelace " + mail("900900900900") + spaces(3000) + "Ada Lovelace " + mail("444555666777"), "lineage/stopped"},
		} {
			if err := w.send(w.l, test.to, test.body); rule(err) != test.want {
				t.Errorf("%.30q to %s: %v, want %s", test.body, test.to.Destination, err, test.want)
			}
		}
		same(t, "where post ids may go", w.ask(w.l, lineage.Subject{Destination: "post.example"}),
			"transfer post-id post.example passed×1", "transfer pseudonymous-id post.example reported×1")
		same(t, "where ids may go", w.ask(w.l, lineage.Subject{Destination: "id.example"}),
			"transfer post-id id.example reported×1", "transfer pseudonymous-id id.example passed×1")
	})
}

func spaces(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = ' '
	}
	return string(b)
}
