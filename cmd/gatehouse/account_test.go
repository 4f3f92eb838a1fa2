package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
)

// enrolByLink enrols the operator of a link with a password and codes.
func enrolByLink(t *testing.T, p *parts, link, name, email string) operator.Browser {
	t.Helper()
	ctx := t.Context()
	b := operator.Browser{Source: netip.MustParseAddr("192.0.2.1"), Agent: "test", Binding: secret.New("binding of a browser in a test")}
	e := operator.EnrolmentOrSession{Browser: b, Enrolment: secret.New(link[strings.LastIndexByte(link, '#')+1:])}
	if name != "" {
		if err := p.operators.SetProfile(ctx, e, name, email); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.operators.SetPassword(ctx, e, secret.New("a password for a test")); err != nil {
		t.Fatal(err)
	}
	totp, err := p.operators.BeginTOTP(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.operators.FinishTOTP(ctx, e, factortest.Code(t, totp.Seed.Reveal(), time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := p.operators.Enrol(ctx, b, e.Enrolment); err != nil {
		t.Fatal(err)
	}
	return b
}

// There is no account before the link that init prints is used.
func TestInitInvitesTheFirstOwner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gatehouse.yaml")
	text := strings.Replace(initConfig, "listen: {", "listen: {console: \"127.0.0.1:8102\", ", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	program := func(args ...string) string {
		t.Helper()
		c := exec.Command(os.Args[0], append(args, "--config", path)...)
		c.Env = append(os.Environ(), asProgram+"=1")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	const at = "http://localhost:8102/enrol#"
	first := program("init")
	_, link, found := strings.Cut(first, at)
	if !found || strings.Count(first, at) != 1 {
		t.Fatalf("init prints no link to enrol, or several:\n%s", first)
	}
	link = strings.TrimSpace(link)
	again := program("init")
	if strings.Contains(again, at) || !strings.Contains(again, "gatehouse account invite --again ") {
		t.Errorf("init again prints another link, or does not say how to get one:\n%s", again)
	}
	var list []accountRow
	if err := json.Unmarshal([]byte(program("account", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].State != "invited" || list[0].roles() != "owner" || list[0].factors() != "-" {
		t.Fatalf("the accounts are %+v, want one invited owner without factors", list)
	}

	cfg, _, err := config.Load(path, resolver())
	if err != nil {
		t.Fatal(err)
	}
	p, err := assemble(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	enrolByLink(t, p, link, "Ada", "ada@example.com")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if out := program("init"); strings.Contains(out, "invitation") {
		t.Errorf("init invites somebody although there is an owner:\n%s", out)
	}
}

func TestAccountCommands(t *testing.T) {
	h := newHouse(t)
	run := func(want int, args ...string) string {
		t.Helper()
		out, errs, code := h.gatehouse(append([]string{"account"}, args...)...)
		if code != want {
			t.Fatalf("account %v: exit status %d, want %d\n%s%s", args, code, want, out, errs)
		}
		return out + errs
	}
	show := func(who string) (row accountRow) {
		t.Helper()
		if err := json.Unmarshal([]byte(run(0, "show", who, "--json")), &row); err != nil {
			t.Fatal(err)
		}
		return row
	}
	if out := run(0, "list"); !strings.Contains(out, "There is no operator") {
		t.Errorf("an empty list says: %s", out)
	}
	run(2, "invite", "ada@example.com")
	run(2, "invite", "--role", "owner")
	run(2, "invite", "ada@example.com", "--role", "owner", "--until", "tomorrow")
	run(1, "invite", "ada@example.com", "--role", "root")
	run(1, "invite", "nobody", "--role", "owner")
	var invited struct{ ID, Link string }
	if err := json.Unmarshal([]byte(run(0, "invite", "ada@example.com", "--name", "Ada", "--role", "owner", "--json")), &invited); err != nil {
		t.Fatal(err)
	}
	bob := strings.TrimSpace(run(0, "invite", "bob@example.com", "--role", "auditor", "--until", "720h"))
	run(1, "invite", "bob@example.com", "--role", "auditor")
	run(2, "invite", "bob@example.com", "--again", "--role", "auditor")
	if again := strings.TrimSpace(run(0, "invite", "BOB@example.com", "--again")); again == bob {
		t.Error("the new link is the old one")
	} else {
		bob = again
	}

	p, err := assemble(t.Context(), h.load(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	enrolByLink(t, p, invited.Link, "", "")
	enrolByLink(t, p, bob, "", "")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if row := show("ada@example.com"); row.ID != invited.ID || row.State != "active" || row.factors() != "password, one-time codes, 10 recovery codes" {
		t.Errorf("ada is %+v", row)
	}
	if out := run(0, "list"); !strings.Contains(out, "bob@example.com") || !strings.Contains(out, "auditor until ") {
		t.Errorf("the list is\n%s", out)
	}
	run(0, "grant", "bob@example.com", "developer", "--until", "2099-12-31")
	if row := show("bob@example.com"); row.roles() == "-" || row.Roles[1].Until != "2100-01-01T00:00:00Z" {
		t.Errorf("bob has %s, want developer through the last day of 2099", row.roles())
	}
	run(0, "revoke", "bob@example.com", "developer")
	run(1, "revoke", "bob@example.com", "developer")
	if out := run(0, "sessions", "bob@example.com"); !strings.Contains(out, "192.0.2.1") {
		t.Errorf("bob's sessions are\n%s", out)
	}
	run(1, "sign-out", "bob@example.com", "nothing")
	run(0, "sign-out", "bob@example.com")
	if out := run(0, "sessions", "bob@example.com"); !strings.Contains(out, "not signed in") {
		t.Errorf("bob's sessions are\n%s", out)
	}
	run(1, "address", "bob@example.com", "ada@example.com")
	run(1, "address", "bob@example.com", "no address")
	run(0, "address", "bob@example.com", "robert@example.com")
	run(1, "show", "bob@example.com")
	run(0, "address", "robert@example.com", "bob@example.com")
	run(0, "suspend", "bob@example.com")
	run(1, "hand-over", "ada@example.com", "bob@example.com")
	run(0, "resume", "bob@example.com")
	if out := run(1, "remove", "ada@example.com"); !strings.Contains(out, "no active owner") {
		t.Errorf("removing the last owner says: %s", out)
	}
	run(0, "hand-over", "ada@example.com", "bob@example.com")
	run(0, "remove", invited.ID)
	if row := show(invited.ID); row.State != "removed" || row.Email != "" {
		t.Errorf("ada is %+v", row)
	}
	run(1, "show", "ada@example.com")
	if out := run(0, "approvals"); !strings.Contains(out, "Nothing waits") {
		t.Errorf("the approvals are\n%s", out)
	}
	if out := run(0, "roles"); !strings.Contains(out, "keys.destroy") {
		t.Errorf("the roles are\n%s", out)
	}
	complete := func(command string, args ...string) string {
		c := exec.Command(os.Args[0], append([]string{"__complete", "account", command, "--config", h.config}, args...)...)
		c.Env = append(os.Environ(), asProgram+"=1")
		out, _ := c.Output()
		return string(out)
	}
	if out := complete("grant", ""); !strings.Contains(out, "bob@example.com") {
		t.Errorf("an operator is completed as %q", out)
	}
	if out := complete("grant", "bob@example.com", ""); !strings.Contains(out, "auditor") {
		t.Errorf("a role is completed as %q", out)
	}
	// Who was named already is not offered again, and nobody after the last.
	if out := complete("hand-over", "nobody@example.com", ""); !strings.Contains(out, "bob@example.com") {
		t.Errorf("an heir is completed as %q", out)
	}
	for _, args := range [][]string{{"hand-over", "bob@example.com", ""}, {"hand-over", "a@example.com", "b@example.com", ""}, {"show", "a@example.com", ""}} {
		if out := complete(args[0], args[1:]...); strings.Contains(out, "bob@example.com") {
			t.Errorf("%v is completed as %q", args, out)
		}
	}
	if out, _, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Errorf("the log does not verify:\n%s", out)
	}
}
