package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/backup"
	"gatehouse/internal/store/storetest"
)

// withBackupsIn gives a house's configuration a backup section.
func (h *house) withBackupsIn(to, keys string) {
	h.t.Helper()
	h.edit(func(text string) string { return text + "backup: {to: " + to + ", epoch_keys: " + keys + "}\n" })
}

// edit changes the configuration of a house that does not run.
func (h *house) edit(change func(string) string) {
	h.t.Helper()
	text, err := os.ReadFile(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.config, []byte(change(string(text))), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// must runs a command that has to succeed and returns what it printed.
func (h *house) must(args ...string) string {
	h.t.Helper()
	out, errOut, code := h.gatehouse(args...)
	if code != exitDone {
		h.t.Fatalf("%s: exit status %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// refused runs a command that has to fail with a text.
func (h *house) refused(want string, args ...string) {
	h.t.Helper()
	if out, errOut, code := h.gatehouse(args...); code != exitFailed || !strings.Contains(errOut, want) {
		h.t.Errorf("%s: exit status %d, want a refusal with %q\n%s%s", strings.Join(args, " "), code, want, out, errOut)
	}
}

// Two people connect, a backup is taken, one of them is erased. Restored elsewhere,
// the one is there, and calls for her work; the other is erased, although the backup
// is older than that.
func TestRestoreElsewhere(t *testing.T) {
	h := newHouse(t)
	to, keys := t.TempDir(), t.TempDir()
	h.withBackupsIn(to, keys)
	h.start()
	app := h.appOf()
	ada := h.connectVia(app, demoX, "ada", h.box.People()[0])
	grace := h.connectVia(app, demoX, "grace", h.box.People()[1])
	eventually(t, "the scheduled backup", func() bool {
		list, err := filepath.Glob(filepath.Join(to, "*.backup"))
		return err == nil && len(list) == 1
	})
	// An operator, signed in, with ten recovery codes, and somebody with a link.
	link := strings.TrimSpace(h.must("account", "invite", "ops@example.com", "--role", "owner"))
	p, err := assemble(t.Context(), h.load(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	enrolByLink(t, p, link, "Ops", "ops@example.com")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	h.must("account", "invite", "late@example.com", "--role", "auditor")
	recovery := func() (row accountRow) {
		t.Helper()
		if err := json.Unmarshal([]byte(h.must("account", "show", "ops@example.com", "--json")), &row); err != nil {
			t.Fatal(err)
		}
		return row
	}
	if row := recovery(); row.Recovery != 10 || !strings.Contains(h.must("doctor"), "every operator with an app has some") {
		t.Fatalf("before: %+v", row)
	}
	var made backup.Made
	if err := json.Unmarshal([]byte(h.must("backup", "--json")), &made); err != nil || made.Manifest.Connections != 2 {
		t.Fatalf("backup: %v, %+v", err, made.Manifest)
	}
	file := made.Path
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	noTokens(t, h.box, "the backup", content)
	if out := h.must("backup", "verify", file, "--key", filepath.Join(h.dir, logKeyFile)); !strings.Contains(out, "unaltered") {
		t.Errorf("verify said %q", out)
	}
	if out := h.must("backup", "list"); strings.Count(out, ".backup") != 2 {
		t.Errorf("list said %q", out)
	}
	if out := h.must("restore", "--drill", file); !strings.Contains(out, "2 connections") {
		t.Errorf("the drill said %q", out)
	}
	if out := h.must("audit", "show", "--json", "-n", "1000", "--action", "backup.drill"); !strings.Contains(out, made.Manifest.ID) {
		t.Errorf("the log does not know of the drill: %s", out)
	}
	ledger := filepath.Join(to, backup.LedgerName("development"))
	before, err := os.ReadFile(ledger)
	if err != nil {
		t.Fatal(err)
	}

	out, _, _ := h.gatehouse("person", "erase", "subject:grace")
	confirm := regexp.MustCompile(`--confirm (\S+)`).FindStringSubmatch(out)
	if confirm == nil {
		t.Fatalf("person erase: %s", out)
	}
	h.must("person", "erase", "subject:grace", "--confirm", confirm[1])
	eventually(t, "grace is erased", func() bool { return strings.Contains(h.must("case", "list", "--state", "done", "--json"), `"done"`) })
	if out := h.must("backup", "ledger", ledger); !strings.Contains(out, "1 erasures") {
		t.Errorf("the ledger: %q", out)
	}
	h.must("doctor")
	h.must("backup") // its manifest knows of the erasure
	if code := h.stop(); code != exitDone {
		t.Fatalf("exit status %d\n%s", code, h.stderr)
	}

	// The database is lost.
	h.refused("is in use", "restore", file)
	h.edit(func(text string) string {
		return strings.Replace(text, "store: sqlite:gatehouse.db", "store: sqlite:elsewhere/gatehouse.db", 1)
	})
	after, err := os.ReadFile(ledger)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ledger, before, 0o600); err != nil {
		t.Fatal(err)
	}
	h.refused("--accept-missing-erasures "+made.Manifest.ID+"/1", "restore", file)
	witness := filepath.Join(t.TempDir(), "witness")
	changed := bytes.Replace(after, []byte("\n1 "), []byte("\n2 "), 1)
	if err := os.WriteFile(witness, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	h.refused("it was changed", "restore", file, "--ledger", witness)
	h.edit(func(text string) string {
		return strings.Replace(text, "environment: development", "environment: staging", 1)
	})
	h.refused("own environment only", "restore", file)
	h.edit(func(text string) string {
		return strings.Replace(text, "environment: staging", "environment: development", 1)
	})
	if err := os.WriteFile(witness, after, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := h.must("restore", file, "--ledger", witness); !strings.Contains(out, "2 connections; 1 people erased again") {
		t.Errorf("restore said %q", out)
	}

	// What may have been used since works no more; what is a factor stays.
	if row := recovery(); row.Recovery != 0 || row.State != "active" || !row.Password || !row.TOTP {
		t.Errorf("after the restore: %+v", row)
	}
	if out := h.must("account", "sessions", "ops@example.com"); !strings.Contains(out, "not signed in") {
		t.Errorf("sessions: %s", out)
	}
	raw := storetest.OpenRaw(t, h.load().Store.Text().Reveal())
	if _, rows := raw.Query("SELECT count(*) FROM operator_tokens"); rows[0][0] != int64(0) {
		t.Errorf("%v links to enrol work after the restore", rows[0][0])
	}
	if out := h.must("audit", "show", "--json", "-n", "1000", "--action", "backup.restore"); !strings.Contains(out, `"recovery_codes":"10"`) && !strings.Contains(out, `"recovery_codes": "10"`) {
		t.Errorf("the log does not say what was ended: %s", out)
	}

	h.start()
	// The keyring's file is made by the first look at keys, beside the start.
	eventually(t, "the keyring's file is there", func() bool {
		_, err := os.Stat(keyringFile(h.load()))
		return err == nil
	})
	if out := h.must("doctor"); !strings.Contains(out, "1 operators with an app have none") {
		t.Errorf("the doctor says\n%s", out)
	}
	if status, body, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", ada.Handle, nil); err != nil || status != http.StatusOK {
		t.Errorf("a call for ada: %d %s %v\n%s", status, body, err, h.stderr)
	}
	if status, _, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", grace.Handle, nil); err != nil || status < 400 {
		t.Errorf("a call for grace: %d %v", status, err)
	}
	if out, _, code := h.gatehouse("person", "show", "subject:grace"); code != exitFailed || !strings.Contains(out, "Nothing is held") {
		t.Errorf("person show: %d %s", code, out)
	}
	h.must("audit", "verify")
	if out := h.must("audit", "show", "--json", "-n", "1000", "--action", "backup.restore"); !strings.Contains(out, made.Manifest.ID) {
		t.Errorf("the log does not know of the restore: %s", out)
	}
	eventually(t, "the ledger is whole again", func() bool {
		now, err := os.ReadFile(ledger)
		return err == nil && bytes.Equal(now, after)
	})
}

// Where a ledger's directory is away, the person is erased all the same, the duty
// waits, and the doctor says why.
func TestErasureWaitsForTheLedger(t *testing.T) {
	h := newHouse(t)
	to, keys := filepath.Join(t.TempDir(), "to"), t.TempDir()
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	h.withBackupsIn(to, keys)
	h.start()
	app := h.appOf()
	grace := h.connectVia(app, demoX, "grace", h.box.People()[1])
	eventually(t, "the scheduled backup", func() bool {
		list, err := filepath.Glob(filepath.Join(to, "*.backup"))
		return err == nil && len(list) == 1
	})
	if err := os.Rename(to, to+"-away"); err != nil {
		t.Fatal(err)
	}
	out, _, _ := h.gatehouse("person", "erase", "subject:grace")
	confirm := regexp.MustCompile(`--confirm (\S+)`).FindStringSubmatch(out)
	if confirm == nil {
		t.Fatalf("person erase: %s", out)
	}
	h.must("person", "erase", "subject:grace", "--confirm", confirm[1])
	eventually(t, "the duty says why it waits", func() bool { return strings.Contains(h.stderr.String(), "ledger of erasures") })
	if out, _, code := h.gatehouse("person", "show", "subject:grace"); code != exitFailed || !strings.Contains(out, "Nothing is held") {
		t.Errorf("person show: %d %s", code, out)
	}
	if status, _, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", grace.Handle, nil); err != nil || status < 400 {
		t.Errorf("a call for grace: %d %v", status, err)
	}
	if out := h.must("case", "list", "--state", "done", "--json"); strings.Contains(out, `"done"`) {
		t.Errorf("the duty is closed: %s", out)
	}
	if out, _, code := h.gatehouse("doctor"); code != exitFailed || !strings.Contains(out, "ledger of erasures") {
		t.Errorf("doctor: %d %s", code, out)
	}
	if err := os.Rename(to+"-away", to); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the duty is done", func() bool { return strings.Contains(h.must("case", "list", "--state", "done", "--json"), `"done"`) })
	if out := h.must("backup", "ledger", filepath.Join(to, backup.LedgerName("development"))); !strings.Contains(out, "1 erasures") {
		t.Errorf("the ledger: %q", out)
	}
}
