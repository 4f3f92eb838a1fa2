package main

import (
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/backup"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
)

// TestRestoreBesideTakesTwo: beside an installation with two who may agree, a backup is
// restored when they have agreed to it, or when it is said why not; both are on record.
func TestRestoreBesideTakesTwo(t *testing.T) {
	h := newHouse(t)
	h.withBackupsIn(t.TempDir(), t.TempDir())
	var made backup.Made
	if err := json.Unmarshal([]byte(h.must("backup", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	var into string
	restore := func(flags ...string) []string {
		into = "sqlite:" + filepath.Join(t.TempDir(), "new.db")
		return append([]string{"restore", made.Path, "--into", into}, flags...)
	}
	// restored is what the log of the last restored database says of its restore.
	restored := func() (out string) {
		t.Helper()
		h.edit(func(text string) string { return strings.Replace(text, "sqlite:gatehouse.db", into, 1) })
		out = h.must("audit", "show", "--json", "-n", "1000", "--action", "backup.restore")
		h.edit(func(text string) string { return strings.Replace(text, into, "sqlite:gatehouse.db", 1) })
		return out
	}
	h.must(restore()...) // nobody is there to agree

	long := strings.Repeat("both ill", 25) // as long as a reason may be
	var sessions []operator.Session
	with := func(do func(p *parts)) {
		t.Helper()
		p, err := assemble(t.Context(), h.load(), quiet())
		if err != nil {
			t.Fatal(err)
		}
		do(p)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	join := func(p *parts, name string) {
		t.Helper()
		sessions = append(sessions, signedIn(t, p, name, operator.Security))
	}
	with(func(p *parts) { join(p, "ada") })
	h.must(restore()...) // one alone needs nobody
	with(func(p *parts) { join(p, "bob") })

	_, errOut, code := h.gatehouse(restore()...)
	found := regexp.MustCompile(`\n  (\S+)/([0-9a-f]{64})\n`).FindStringSubmatch(errOut)
	if code != exitFailed || found == nil || found[1] != made.Manifest.ID {
		t.Fatalf("without an approval: exit status %d\n%s", code, errOut)
	}
	h.refused("This approval is not", restore("--approval", "nothing")...)
	h.refused("into an empty one only", "restore", made.Path) // in its place there is nobody to ask
	for what, reason := range map[string]string{"of two lines": "a\nb", "too long": long + "x", "of no text": "a\xff"} {
		if _, _, code := h.gatehouse(restore("--without-approval", reason)...); code != exitUsage {
			t.Errorf("a reason %s: exit status %d", what, code)
		}
	}
	var id string
	with(func(p *parts) {
		a, err := p.operators.Propose(t.Context(), operator.By(sessions[0]), operator.ProposalToRestore(found[1], found[2]))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.operators.Approve(t.Context(), operator.By(sessions[1]), a.ID); err != nil {
			t.Fatal(err)
		}
		id = string(a.ID)
	})
	h.must(restore("--approval", id)...)
	if out := restored(); !strings.Contains(out, id) {
		t.Errorf("the restored log does not say by which approval: %s", out)
	}
	if out := h.must("audit", "show", "--json", "-n", "1000", "--action", "operator.approved"); !strings.Contains(out, id) {
		t.Errorf("the installation's log does not say that the approval was used: %s", out)
	}
	if out := h.must("audit", "show", "--json", "-n", "1000", "--action", "backup.restore"); strings.Contains(out, "backup.restore") {
		t.Errorf("the installation's log says that it was done without: %s", out)
	}
	h.must(restore("--without-approval", long)...)
	if out := restored(); !strings.Contains(out, "none: "+long) {
		t.Errorf("the restored log does not say that nobody agreed: %s", out)
	}
	if out := h.must("audit", "show", "--json", "-n", "1000", "--action", "backup.restore"); !strings.Contains(out, "none: "+long) {
		t.Errorf("the installation's log does not say that nobody agreed: %s", out)
	}
	// With approvals off, and where the installation does not open, nobody is asked.
	h.edit(func(text string) string { return text + "\noperators: {approvals: off}\n" })
	h.must(restore()...)
}

// TestRestoreCode: what two operators agree to changes with all that the manifest says.
func TestRestoreCode(t *testing.T) {
	codes, digests := map[string]bool{}, map[string]bool{}
	for _, m := range []backup.Manifest{{}, {ID: "a"}, {ID: "a", Connections: 1}, {ID: "a", Schema: 1}} {
		code, p, err := restoreCode(m)
		if err != nil || !strings.HasPrefix(code, m.ID+"/") || p.Act != operator.ActRestore {
			t.Errorf("%+v: %q, %+v, %v", m, code, p, err)
		}
		again, q, err := restoreCode(m)
		if err != nil || again != code || q != p {
			t.Errorf("%+v is %q, and then %q: %v", m, code, again, err)
		}
		codes[code], digests[p.Digest] = true, true
	}
	if len(codes) != 4 || len(digests) != 4 {
		t.Errorf("four manifests have the codes %v", codes)
	}
}

// signedIn invites an operator to a role, who enrols, and returns their session.
func signedIn(t *testing.T, p *parts, name string, role operator.Role) operator.Session {
	t.Helper()
	link, _, err := p.operators.Invite(t.Context(), operator.Host(), operator.Invitation{Name: name, Email: name + "@example.com", Role: role})
	if err != nil {
		t.Fatal(err)
	}
	browser := demoBrowser(secret.New(rand.Text()), "test")
	_, token, err := enrolDemo(t.Context(), p.operators, browser, link, secret.New(rand.Text()))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := p.operators.Session(t.Context(), browser, token)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
