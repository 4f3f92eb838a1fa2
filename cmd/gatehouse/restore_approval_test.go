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
	restore := func(flags ...string) []string {
		return append([]string{"restore", made.Path, "--into", "sqlite:" + filepath.Join(t.TempDir(), "new.db")}, flags...)
	}
	h.must(restore()...) // nobody is there to agree

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
		link, _, err := p.operators.Invite(t.Context(), operator.Host(), operator.Invitation{Name: name, Email: name + "@example.com", Role: operator.Security})
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
		sessions = append(sessions, s)
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
	if _, _, code := h.gatehouse(restore("--without-approval", "a\nb")...); code != exitUsage {
		t.Errorf("a reason of two lines: exit status %d", code)
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
	if out := h.must("audit", "show", "--json", "-n", "1000", "--action", "operator.approved"); !strings.Contains(out, id) {
		t.Errorf("the installation's log does not say that the approval was used: %s", out)
	}
	if out := h.must("audit", "show", "--json", "-n", "1000", "--action", "backup.restore"); strings.Contains(out, "backup.restore") {
		t.Errorf("the installation's log says that it was done without: %s", out)
	}
	h.must(restore("--without-approval", "both are ill")...)
	if out := h.must("audit", "show", "--json", "-n", "1000", "--action", "backup.restore"); !strings.Contains(out, "both are ill") {
		t.Errorf("the installation's log does not say that nobody agreed: %s", out)
	}
	// With approvals off, and where the installation does not open, nobody is asked.
	h.edit(func(text string) string { return text + "\noperators: {approvals: off}\n" })
	h.must(restore()...)
}
