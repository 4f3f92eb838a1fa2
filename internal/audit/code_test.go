package audit_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/audit"
)

// TestCodesAreStable holds every code that was ever given to its action, result and
// severity. -update adds what is new; a line that exists is changed by nobody.
func TestCodesAreStable(t *testing.T) {
	const file = "testdata/codes.golden"
	given, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	now := map[string]bool{}
	names := map[string]string{}
	var added bytes.Buffer
	known := map[string]bool{}
	for line := range strings.Lines(string(given)) {
		known[strings.TrimSpace(line)] = true
	}
	form := regexp.MustCompile(`^GH[1-9][0-9]{2}[0-3][INWA]$`)
	for _, a := range audit.Actions() {
		if len(a.Controls) == 0 {
			t.Errorf("%s serves no control", a.Name)
		}
		for _, c := range a.Codes {
			if !form.MatchString(c.Code) {
				t.Errorf("%s: %q is no code; give it a class", a.Name, c.Code)
			}
			number := c.Code[2:5]
			if other, ok := names[number]; ok && other != a.Name {
				t.Errorf("%s and %s have the number %s", a.Name, other, number)
			}
			names[number] = a.Name
			line := fmt.Sprintf("%s %s %d %s", c.Code, a.Name, c.Result, c.Severity)
			now[line] = true
			if !known[line] {
				fmt.Fprintln(&added, line)
			}
		}
	}
	for line := range known {
		if !now[line] {
			t.Errorf("a code that was given has changed or gone: %s", line)
		}
	}
	if added.Len() == 0 {
		return
	}
	if !*update {
		t.Errorf("new codes; run this test with -update:\n%s", added.String())
		return
	}
	if err := os.WriteFile(file, append(given, added.Bytes()...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestControlsExist compares the controls with the catalogue's ids, as far as entries
// of the log serve them.
func TestControlsExist(t *testing.T) {
	const ids = `X-CHANNEL X-COMPROMISE X-ENCRYPT X-INPUT X-MONITOR X-OAUTH X-ROTATE X-TOKENSTORE
		M-ACCESSLOG M-EGRESS M-KEYLIFE M-KMS M-LEAK3P M-PURPOSE M-REGULAR M-REST M-ROLES M-VERIFYENC M-2FA M-2FAUSERS M-ACCOUNTS M-NODEFAULT`
	known := strings.Fields(ids)
	used := map[string]bool{}
	for _, a := range audit.Actions() {
		for _, id := range a.Controls {
			used[id] = true
			if !strings.Contains(" "+strings.Join(known, " ")+" ", " "+id+" ") {
				t.Errorf("%s: there is no control %s", a.Name, id)
			}
		}
	}
	for _, id := range known {
		if !used[id] {
			t.Errorf("no entry serves %s", id)
		}
	}
}

// TestCodeOf tells what was refused and what failed from what went.
func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		action, verdict, code string
		severity              audit.Severity
	}{
		{"call", "allow", "GH2010I", audit.SeverityInfo},
		{"call", "done", "GH2010I", audit.SeverityInfo},
		{"call", "refuse", "GH2011W", audit.SeverityWarning},
		{"call", "failed", "GH2012N", audit.SeverityNotice},
		{"call", "aborted", "GH2012N", audit.SeverityNotice},
		{"call", "report", "GH2013N", audit.SeverityNotice},
		// Report mode lets no key be destroyed: there is no such code.
		{"keys.destroy", "report", "GH8070W", audit.SeverityWarning},
		{"keys.destroy", "done", "GH8070W", audit.SeverityWarning},
		{"no.such", "done", "GH0000W", audit.SeverityWarning},
		{"no.such", "refuse", "GH0001W", audit.SeverityWarning},
		{"call", "no.such", "GH0000W", audit.SeverityWarning},
	} {
		got := audit.CodeOf(c.action, c.verdict)
		if got.Code != c.code || got.Severity != c.severity {
			t.Errorf("%s %s is %s (%s), not %s (%s)", c.action, c.verdict, got.Code, got.Severity, c.code, c.severity)
		}
		if !audit.IsCode(got.Code) {
			t.Errorf("%s is no code", got.Code)
		}
	}
	for _, code := range []string{"", "GH2010", "GH2010A", "GH8073N", "gh2010i"} {
		if audit.IsCode(code) {
			t.Errorf("%q is taken for a code", code)
		}
	}
}
