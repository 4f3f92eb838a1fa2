package lineage_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/lineage"
	"gatehouse/internal/secret"
)

// What might have gone is on record as stopped, if none of it had gone when what
// stands before or behind it was stopped.
func TestWhatWaitsIsStoppedToo(t *testing.T) {
	w, _ := withFaulty(t)
	const id = "111222333444"
	w.deliver(w.l, source, person(id, fingerprint.Value{Class: gatehouse.Username, Text: "ada_lovelace"}))
	for _, c := range []struct {
		host, end string
		want      []string
	}{
		{"stopped.example", mail(id), []string{
			"transfer email stopped.example stopped×1", "transfer pseudonymous-id stopped.example stopped×1", "transfer username stopped.example stopped×1"}},
		{"passed.example", "nothing", []string{"transfer pseudonymous-id passed.example passed×1", "transfer username passed.example passed×1"}},
	} {
		s := w.l.Search(to(c.host, gatehouse.PseudonymousID, gatehouse.Username))
		// The username waits for what is near, and what is behind it waits with it.
		_, _ = s.Write([]byte("ada_lovelace, " + id + " and then "))
		if n, err := s.Judge(t.Context()); n != 0 || err != nil {
			t.Fatalf("%d bytes may go, %v; want none", n, err)
		}
		same(t, "before it goes", w.ask(w.l, lineage.Subject{Destination: c.host}))
		_, _ = s.Write([]byte(c.end))
		if err := s.End(t.Context()); (err != nil) != (c.end != "nothing") {
			t.Errorf("%s: %v", c.host, err)
		}
		s.Close()
		same(t, c.host, w.ask(w.l, lineage.Subject{Destination: c.host}), c.want...)
	}
	// What had gone is on record as what it was.
	s := w.l.Search(to("gone.example", gatehouse.PseudonymousID))
	defer s.Close()
	_, _ = s.Write([]byte(id + strings.Repeat(" and then,", 1000)))
	if n, err := s.Judge(t.Context()); n < int64(len(id)) || err != nil {
		t.Fatalf("%d bytes may go, %v", n, err)
	}
	_, _ = s.Write([]byte(mail(id)))
	if err := s.End(t.Context()); err == nil {
		t.Error("it was not stopped")
	}
	same(t, "gone", w.ask(w.l, lineage.Subject{Destination: "gone.example"}),
		"transfer email gone.example stopped×1", "transfer pseudonymous-id gone.example passed×1")
}

// What somebody is called may stand in the name of a header.
func TestNamesOfHeadersAreJudged(t *testing.T) {
	w, _ := withFaulty(t)
	w.deliver(w.l, source, person("111222333444"))
	for _, s := range []string{"EAAb3xTokenOfAda99", "EAAb3xHeldByThisOne77"} {
		if s[6:10] == "Held" {
			w.l.Hold(secret.New(s))
		} else if err := w.l.Guard(t.Context(), lineage.Guarded{Secret: secret.New(s)}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"X-User-111222333444": "lineage/stopped", "X-User-111222333445": "passed",
		// As net/http writes a name of HTTP/1.1, and as HTTP/2 does.
		"Eaab3xtokenofada99": "lineage/stopped", "x-eaab3xheldbythisone77": "lineage/stopped", "Eaab3xtokenofada98": "passed",
	} {
		s := w.l.Search(to("a.example"))
		s.Text("header", name, "1")
		if err := s.End(t.Context()); rule(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		s.Close()
	}
}

// What leaves is judged by what it is and to whom it goes, and is on record.
func TestTransfersAreJudged(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const id, token = "111222333444", "tok-8f7e6d5c4b3a2910"
		w.deliver(w.l, source, person(id))
		if err := w.l.Guard(t.Context(), lineage.Guarded{UserKey: w.keys(id)[0], Platform: gatehouse.X, Secret: secret.New(token)},
			lineage.Guarded{Secret: secret.New("app-secret-0011223344")}, lineage.Guarded{}); err != nil {
			t.Fatal(err)
		}
		report := to("report.example")
		report.Report = true
		for _, test := range []struct {
			to   lineage.Transfer
			body string
			want string
		}{
			{to("none.example"), "nothing of anybody's: 111222333445, mail@example.com", "passed"},
			{to("no.example"), "an address: " + mail(id), "lineage/stopped"},
			{to("near.example", gatehouse.Username, gatehouse.PseudonymousID), mail(id), "lineage/stopped"},
			{to("may.example", gatehouse.EmailAddress), mail(id), "passed"},
			{report, mail(id), "passed"},
			{to("secret.example", gatehouse.DataClasses()...), token, "lineage/stopped"},
			{report, "the app's app-secret-0011223344", "lineage/stopped"},
		} {
			if err := w.send(w.l, test.to, test.body); rule(err) != test.want {
				t.Errorf("%q to %s: %v, want %s", test.body, test.to.Destination, err, test.want)
			}
		}
		same(t, "the person's", w.of(w.l, id),
			"delivery email web passed×1", "delivery pseudonymous-id web passed×1",
			"transfer email may.example passed×1", "transfer email near.example stopped×1", "transfer email no.example stopped×1",
			"transfer email report.example reported×1", "transfer secret secret.example stopped×1")
		same(t, "the host's", w.ask(w.l, lineage.Subject{Destination: "report.example"}),
			"transfer email report.example reported×1", "transfer secret report.example stopped×1")
		for _, f := range w.flows(w.l, lineage.Subject{Destination: "may.example"}) {
			if f.Operation != "GET /2/users/{id}" || f.Purpose != "insights" || f.SentFor != "analytics" || f.Service != "web" || f.Platform != gatehouse.X {
				t.Errorf("the transfer came from %+v", f)
			}
		}
		for _, f := range w.flows(w.l, lineage.Subject{Destination: "report.example"}) {
			if f.Class == gatehouse.Credential && f.Person.Number != 0 {
				t.Errorf("the app's own secret is %+v's", f.Person)
			}
		}
	})
}

// A repeated transfer counts; the same value, or the same kind, twice in one
// transfer does not.
func TestTransfersAreCounted(t *testing.T) {
	w, f := withFaulty(t)
	w.deliver(w.l, source, person("111222333444", fingerprint.Value{Class: gatehouse.EmailAddress, Text: "second@example.com"}))
	writes := f.notes.Load()
	for range 3 {
		if err := w.send(w.l, to("a.example", gatehouse.EmailAddress), mail("111222333444")+" second@example.com "+mail("111222333444")); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.notes.Load() - writes; n != 1 {
		t.Errorf("three transfers took %d writes", n)
	}
	same(t, "counted", w.ask(w.l, lineage.Subject{Destination: "a.example"}), "transfer email a.example passed×3")
}

// Whoever counts is told of each kind once for a transfer, and of nothing else.
func TestWhatIsRecognisedIsTold(t *testing.T) {
	var mu sync.Mutex
	var told []string
	w := fresh(t, func(c *lineage.Config) {
		c.Recognised = func(class gatehouse.DataClass, became lineage.Verdict, destination string) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(class, " ", became, " ", destination))
		}
	})
	const id = "111222333444"
	w.deliver(w.l, source, person(id))
	if err := w.send(w.l, to("may.example", gatehouse.EmailAddress), mail(id)+" and again "+mail(id)); err != nil {
		t.Fatal(err)
	}
	if err := w.send(w.l, to("none.example"), "nobody@example.com"); err != nil {
		t.Fatal(err)
	}
	if err := w.send(w.l, to("no.example"), mail(id)); err == nil {
		t.Error("it was not stopped")
	}
	same(t, "told", told, "email passed may.example", "email stopped no.example")
}

// It is known in which part of a transfer something stood: what is in an address or
// a header ends up in logs. The same value in two parts is two flows.
func TestPartsOfATransfer(t *testing.T) {
	w := fresh(t, nil)
	w.deliver(w.l, source, person("111222333444"))
	s := w.l.Search(to("a.example", gatehouse.EmailAddress))
	defer s.Close()
	s.Text("url", "", "https://a.example/?m="+mail("111222333444"))
	s.Text("header", "X-Mail", "none")
	_, _ = s.Write([]byte(mail("111222333444")))
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Text("header", "X-Trailer", mail("111222333444"))
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	parts := []string{}
	for _, f := range w.flows(w.l, lineage.Subject{Destination: "a.example"}) {
		parts = append(parts, fmt.Sprint(f.Part, f.Count))
	}
	slices.Sort(parts)
	same(t, "the parts", parts, "body1", "header1", "url1")
}

// A transfer whose flows cannot be noted is not let go, not even when it is judged
// again.
func TestTransfersThatCannotBeNoted(t *testing.T) {
	w, f := withFaulty(t)
	w.deliver(w.l, source, person("111222333444"))
	for _, fault := range []interface{ Store(bool) }{&f.before, &f.after} {
		fault.Store(true)
		s := w.l.Search(to("a.example", gatehouse.EmailAddress))
		s.Text("header", "X-About", mail("111222333444"))
		if _, err := s.Judge(t.Context()); rule(err) != "lineage/flows" {
			t.Errorf("judged with %v", err)
		}
		fault.Store(false)
		if n, err := s.Judge(t.Context()); rule(err) != "lineage/flows" || n != 0 {
			t.Errorf("judged again: %d, %v", n, err)
		}
		if err := s.End(t.Context()); rule(err) != "lineage/flows" {
			t.Errorf("ended with %v", err)
		}
		s.Close()
	}
}

// What was stopped stays stopped, and every refusal is the same.
func TestRefusalSaysNothing(t *testing.T) {
	w := fresh(t, nil)
	w.deliver(w.l, source, person("111222333444"))
	if err := w.l.Guard(t.Context(), lineage.Guarded{Secret: secret.New("app-secret-0011223344")}); err != nil {
		t.Fatal(err)
	}
	texts := map[string]bool{}
	for _, body := range []string{mail("111222333444"), "111222333444", "app-secret-0011223344"} {
		s := w.l.Search(to("a.example"))
		s.Text("url", "", "https://a.example/?q="+body)
		_, err := s.Judge(t.Context())
		if rule(err) != "lineage/stopped" {
			t.Fatalf("%q: %v", body, err)
		}
		texts[err.Error()] = true
		_, _ = s.Write([]byte("harmless"))
		if n, again := s.Judge(t.Context()); !errors.Is(again, err) || n != 0 {
			t.Errorf("judged again: %d, %v", n, again)
		}
		if again := s.End(t.Context()); !errors.Is(again, err) {
			t.Errorf("ended with %v", again)
		}
		s.Close()
	}
	if len(texts) != 1 {
		t.Errorf("the refusals differ: %v", texts)
	}
}

// A value that may be one of several people's is nobody's in particular.
func TestAmbiguousHits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		shared := fingerprint.Value{Class: gatehouse.PhoneNumber, Text: "004930123456"}
		w.deliver(w.l, source, person("111222333444", shared), person("555666777888", shared))
		if err := w.send(w.l, to("a.example"), shared.Text); rule(err) != "lineage/stopped" {
			t.Errorf("it went out: %v", err)
		}
		flows := w.flows(w.l, lineage.Subject{Destination: "a.example"})
		if len(flows) != 1 || len(flows[0].Person.Candidates) != 2 || flows[0].Person.Person != "" || flows[0].Operation != "GET /2/users/{id}" {
			t.Fatalf("the flows are %+v", flows)
		}
		for _, id := range []string{"111222333444", "555666777888"} {
			same(t, id, w.of(w.l, id), "delivery email web passed×1", "delivery phone web passed×1", "delivery pseudonymous-id web passed×1",
				"transfer phone a.example stopped×1")
		}
		if err := w.l.EraseKeys(t.Context(), w.keys("111222333444")...); err != nil {
			t.Fatal(err)
		}
		flows = w.flows(w.l, lineage.Subject{Destination: "a.example"})
		if c := flows[0].Person.Candidates; len(c) != 2 || c[0].Erased == c[1].Erased {
			t.Errorf("the candidates are %+v", c)
		}
	})
}

// What many share, and what is the customer's own, is reported at most.
func TestSharedValuesAndBrands(t *testing.T) {
	w := fresh(t, nil)
	number := fingerprint.Value{Class: gatehouse.PhoneNumber, Text: "004930123456"}
	ask := func(t *testing.T, l *lineage.Lineage, host, want string) {
		t.Helper()
		if err := w.send(l, to(host), number.Text); rule(err) != want {
			t.Errorf("%s: %v, want %s", host, err, want)
		}
	}
	// Many accounts are needed; forms that were filled in, and whom no reply names, are
	// none, nor in another process.
	for i := range fingerprint.DefaultMany {
		w.deliver(w.l, source, lineage.Delivered{ID: fmt.Sprint(999222333440 + i), Entered: true, Values: []fingerprint.Value{number}},
			lineage.Delivered{Values: []fingerprint.Value{number, {Class: gatehouse.EmailAddress, Text: fmt.Sprintf("nobody%d@example.com", i)}}})
	}
	for i := range fingerprint.DefaultMany - 1 {
		w.deliver(w.l, source, person(fmt.Sprint(111222333440+i), number))
	}
	ask(t, w.l, "few.example", "lineage/stopped")
	ask(t, w.open(), "few.example", "lineage/stopped")
	w.deliver(w.l, source, person("111222333499", number))
	ask(t, w.open(), "many.example", "passed")
	w.deliver(w.l, source, person("900900900900"), person("900900900901"))
	if err := w.send(w.l, to("a.example"), number.Text+" "+mail("900900900900")); err != nil {
		t.Errorf("it was stopped: %v", err)
	}
	same(t, "reported", w.ask(w.l, lineage.Subject{Destination: "a.example"}), "transfer email a.example reported×1", "transfer phone a.example reported×1")
	if err := w.send(w.l, to("b.example"), mail("900900900901")); rule(err) != "lineage/stopped" {
		t.Errorf("somebody beside the brand: %v", err)
	}
}

// Secrets pass only where the operator chose so, and are reported.
func TestSecretsThatAreReported(t *testing.T) {
	w := fresh(t, func(c *lineage.Config) { c.ReportSecrets = true })
	if err := w.l.Guard(t.Context(), lineage.Guarded{Secret: secret.New("app-secret-0011223344")}); err != nil {
		t.Fatal(err)
	}
	if err := w.send(w.l, to("a.example"), "app-secret-0011223344"); err != nil {
		t.Errorf("stopped: %v", err)
	}
	same(t, "reported", w.ask(w.l, lineage.Subject{Destination: "a.example"}), "transfer secret a.example reported×1")
}

// Whoever tries many values learns nothing more: where one was stopped everything is,
// known or not, with the same words. What goes elsewhere, and what another service
// sends, is not concerned.
func TestProbing(t *testing.T) {
	w := fresh(t, func(c *lineage.Config) { c.MaxProbes = 3 })
	var people []lineage.Delivered
	for i := range 10 {
		people = append(people, person(fmt.Sprint(111222333440+i)))
	}
	w.deliver(w.l, source, people...)
	const unknown = "nothing of anybody's"
	allowed := to("may.example", gatehouse.EmailAddress)
	try := func(i int) error { return w.send(w.l, to("a.example"), mail(fmt.Sprint(111222333440+i))) }
	for range 10 {
		_ = try(0) // the same value again and again is no probing
	}
	for i := range 3 {
		if err := try(i); rule(err) != "lineage/stopped" {
			t.Fatal(err)
		}
	}
	if err := w.send(w.l, to("a.example"), unknown); err != nil {
		t.Errorf("within the limit: %v", err)
	}
	if entries := w.actions("lineage.probing"); len(entries) != 0 {
		t.Errorf("said within the limit: %q", entries)
	}
	last := try(3)
	other, report := to("a.example"), to("a.example")
	other.Service, report.Report = "batch", true
	for _, test := range []struct {
		name string
		to   lineage.Transfer
		body string
		want string
	}{
		{"what is not known", to("a.example"), unknown, "lineage/stopped"},
		{"another value", to("a.example"), mail("111222333449"), "lineage/stopped"},
		{"allowed", allowed, mail("111222333449"), "passed"},
		{"not known, allowed", allowed, unknown, "passed"},
		{"not known, elsewhere", to("b.example"), unknown, "passed"},
		{"one more elsewhere", to("b.example"), mail("111222333448"), "lineage/stopped"},
		{"not known there any more", to("b.example"), unknown, "lineage/stopped"},
		{"another service", other, unknown, "passed"},
		{"in report mode", report, unknown, "passed"},
	} {
		err := w.send(w.l, test.to, test.body)
		if rule(err) != test.want || err != nil && err.Error() != last.Error() {
			t.Errorf("beyond the limit, %s: %v, want %s", test.name, err, test.want)
		}
	}
	if entries := w.actions("lineage.probing"); len(entries) != 1 || strings.Contains(entries[0], "111222") {
		t.Errorf("said %q", entries)
	}
}

// A process that has not read everything yet refuses what it cannot judge, and says
// so; in report mode it lets pass.
func TestTransfersWhileLoading(t *testing.T) {
	w := fresh(t, nil)
	w.deliver(w.l, source, person("111222333444"))
	l := w.start()
	if l.Ready() {
		t.Fatal("ready before anything was read")
	}
	if err := w.send(l, to("a.example"), "anything"); rule(err) != "lineage/loading" {
		t.Errorf("judged with %v", err)
	}
	report := to("a.example")
	report.Report = true
	if err := w.send(l, report, "anything"); err != nil {
		t.Errorf("in report mode: %v", err)
	}
	if err := l.Load(t.Context()); err != nil || !l.Ready() {
		t.Fatalf("loaded with %v", err)
	}
	if err := w.send(l, to("a.example"), "anything"); err != nil {
		t.Errorf("after loading: %v", err)
	}
	if err := w.send(l, to("a.example"), mail("111222333444")); rule(err) != "lineage/stopped" {
		t.Errorf("after loading: %v", err)
	}
}

// The hour of a service that probed ends.
func TestProbingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p lineage.Probes
		if !p.Count("web", 2, lineage.Print{1}, lineage.Print{2}, lineage.Print{3}) {
			t.Fatal("three are not too many")
		}
		time.Sleep(time.Hour - time.Second)
		if !p.Shut("web") || p.Shut("batch") {
			t.Error("it ends early, or concerns another service")
		}
		time.Sleep(time.Second)
		if p.Shut("web") {
			t.Error("it does not end")
		}
	})
}

// What a header is called is as much the app's choice as what it holds, and its lines
// are near one another.
func TestHeadersAreLookedAtWhole(t *testing.T) {
	w := fresh(t, nil)
	const id = "111222333444"
	w.deliver(w.l, source, person(id, fingerprint.Value{Class: gatehouse.PersonName, Text: "Ada Lovelace"}, fingerprint.Value{Class: gatehouse.Username, Text: "analyst"}))
	type line struct{ name, value string }
	for name, test := range map[string]struct {
		lines []line
		want  string
	}{
		"in a name":           {[]line{{"X-" + id, "1"}}, "lineage/stopped"},
		"another in a name":   {[]line{{"X-111222333445", "1"}}, "passed"},
		"in two lines":        {[]line{{"X-Name", "Ada Lovelace"}, {"X-User", "analyst"}}, "lineage/stopped"},
		"name and address":    {[]line{{"", "https://a.example/?u=analyst"}, {"X-Name", "Ada Lovelace"}}, "lineage/stopped"},
		"one alone":           {[]line{{"X-Name", "Ada Lovelace"}, {"X-User", "analysts"}}, "passed"},
		"far apart":           {[]line{{"X-Name", "Ada Lovelace"}, {"X-Long", strings.Repeat("x ", 1000)}, {"X-User", "analyst"}}, "passed"},
		"not over two lines":  {[]line{{"X-A", "111222"}, {"X-B", "333444"}}, "passed"},
		"behind many of them": {[]line{{"X-Long", strings.Repeat("x ", 100_000)}, {"X-" + id, "1"}}, "lineage/stopped"},
	} {
		s := w.l.Search(to("a.example"))
		for _, l := range test.lines {
			s.Text("header", l.name, l.value)
		}
		_, err := s.Judge(t.Context())
		if rule(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
		s.Close()
	}
}
