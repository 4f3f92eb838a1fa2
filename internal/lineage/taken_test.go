package lineage_test

import (
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/lineage"
)

// What was let go before the rest of its request was stopped does not stay on record as
// passed: it never left, or may have. What another request sent stays what it was.
func TestWhatWasLetGoAndThenStopped(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const ada, bob, shared = "111222333444", "555666777888", "shared@example.com"
		w.deliver(w.l, source, person(ada, fingerprint.Value{Class: gatehouse.EmailAddress, Text: shared}),
			person(bob, fingerprint.Value{Class: gatehouse.EmailAddress, Text: shared}))
		for _, c := range []struct {
			host string
			left bool
			want string
		}{{"left.example", true, "unknown"}, {"stayed.example", false, "stopped"}} {
			// The first transfer passes, and the second is the same with something behind it.
			for _, end := range []string{"", mail(ada)} {
				s := w.l.Search(to(c.host, gatehouse.PseudonymousID))
				s.Text("header", "X-Who", bob)
				_, _ = s.Write([]byte(ada + strings.Repeat(" and then,", 1000)))
				if n, err := s.Judge(t.Context()); n < int64(len(ada)) || err != nil {
					t.Fatalf("%d bytes may go, %v", n, err)
				}
				_, _ = s.Write([]byte(end))
				if err := s.End(t.Context()); (err != nil) != (end != "") {
					t.Fatalf("%q: %v", end, err)
				}
				if end != "" {
					for range 2 { // the second time there is nothing left
						if err := s.TakeBack(t.Context(), c.left); err != nil {
							t.Fatal(err)
						}
					}
				}
				s.Close()
			}
			want := []string{"transfer email " + c.host + " stopped×1",
				"transfer pseudonymous-id " + c.host + " " + c.want + "×1", "transfer pseudonymous-id " + c.host + " " + c.want + "×1",
				"transfer pseudonymous-id " + c.host + " passed×1", "transfer pseudonymous-id " + c.host + " passed×1"}
			slices.Sort(want)
			same(t, c.host, w.ask(w.l, lineage.Subject{Destination: c.host}), want...)
			same(t, c.host+" elsewhere", w.ask(w.open(), lineage.Subject{Destination: c.host}), want...)
		}

		// Candidates, whom report mode let pass, and a destination with nothing else: those
		// who were taken back are nobody there.
		report := to("report.example")
		report.Report = true
		s := w.l.Search(report)
		defer s.Close()
		_, _ = s.Write([]byte(shared))
		if err := s.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		same(t, "reported", w.ask(w.l, lineage.Subject{Destination: "report.example"}), "transfer email report.example reported×1")
		if err := s.TakeBack(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		same(t, "taken back", w.ask(w.l, lineage.Subject{Destination: "report.example"}), "transfer email report.example unknown×1")
		people, err := w.l.People(t.Context(), lineage.Question{About: lineage.Subject{Destination: "report.example"}})
		if err != nil {
			t.Fatal(err)
		}
		if len(people.People) != 1 || len(people.People[0].Verdicts) != 1 || people.People[0].Count != 1 {
			t.Errorf("the people are %+v", people.People)
		}
	})
}
