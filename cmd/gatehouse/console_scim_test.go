package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

// TestConsoleScim is an owner in a real browser who gives an identity provider a token and
// takes it away, with scripts and without.
func TestConsoleScim(t *testing.T) {
	s := startShowcase(t)
	b := s.owner()
	b.open(s.at("/operators"))
	b.button("SCIM tokens")
	b.shows("No identity provider has a token", "switched off")
	lookAt(t, b, "scim-none", "")
	shown := regexp.MustCompile(`gth_scim_[a-z2-7]{52}`)
	for _, scripts := range []bool{true, false} {
		if !scripts {
			b.scriptless()
		}
		b.open(s.at("/operators/scim"))
		b.press(`form.filter button`)
		token := shown.FindString(b.text())
		if token == "" {
			b.fail("making a token", nil)
		}
		b.shows("It is not shown again", "opens nothing until")
		if scripts {
			lookAt(t, b, "scim-made", "")
		}
		b.press(".actions a")
		b.shows("in use", "Ada Demo", "never", "in 365 d", "!"+token)
		if scripts {
			lookAt(t, b, "scim", "")
		}
		b.eval(`String(document.querySelector("main details").open = true)`)
		b.allow("400")
		b.fill("typed", "end")
		b.press(".dangerous button")
		b.shows("nothing was done")
		b.open(s.at("/operators/scim"))
		b.eval(`String(document.querySelector("main details").open = true)`)
		b.fill("typed", "revoke")
		b.press(".dangerous button")
		b.shows("The token works no more.", "No identity provider has a token")
	}
	b.open(s.at("/log?action=scim.token"))
	b.shows("scim.token")
	b.quiet()
}

// TestScimSource holds who may make a token, what the log says of it, and what the page is
// told.
func TestScimSource(t *testing.T) {
	_, p := consoleParts(t)
	source := scimSource{p}
	by := operator.By(operator.Session{Account: "nobody", ID: "none"})
	if _, err := source.MakeToken(t.Context(), by, 0, -1); err == nil {
		t.Error("somebody without a session makes a token")
	}
	if view, err := source.Scim(t.Context()); err != nil || len(view.Tokens) != 0 {
		t.Errorf("somebody without a session made %+v, %v", view, err)
	}
	k, err := source.MakeToken(t.Context(), operator.Host(), time.Hour, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := source.RevokeToken(t.Context(), by, k.ID); err == nil {
		t.Error("somebody without a session ends a token")
	}
	view, err := source.Scim(t.Context())
	if err != nil || len(view.Tokens) != 1 || view.Tokens[0].ID != k.ID || view.Tokens[0].State != "ends soon" || view.Tokens[0].By != "" || view.Enabled || view.URL != "" {
		t.Errorf("shown is %+v, %v", view, err)
	}
	if !strings.HasPrefix(k.Text.Reveal(), "gth_scim_") {
		t.Error("what is shown is no token")
	}
	if err := source.RevokeToken(t.Context(), operator.Host(), k.ID); err != nil {
		t.Fatal(err)
	}
	if view, err = source.Scim(t.Context()); err != nil || len(view.Tokens) != 0 {
		t.Errorf("left are %+v, %v", view, err)
	}
}

// TestATokenThatFailsCostsNoApproval: what another operator agreed to can be done when
// what stood in its way is gone.
func TestATokenThatFailsCostsNoApproval(t *testing.T) {
	_, p := consoleParts(t)
	source := scimSource{p}
	var by []operator.Actor
	for _, name := range []string{"ada", "bob"} {
		by = append(by, operator.By(signedIn(t, p, name, operator.Owner)))
	}
	var first string
	for range 10 {
		k, err := source.MakeToken(t.Context(), operator.Host(), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		first = k.ID
	}
	var need *operator.NeedApproval
	if _, err := source.MakeToken(t.Context(), by[0], 0, -1); !errors.As(err, &need) {
		t.Fatalf("without an approval: %v", err)
	}
	a, err := p.operators.Propose(t.Context(), by[0], need.Proposal)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.operators.Approve(t.Context(), by[1], a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := source.MakeToken(t.Context(), by[0].With(a.ID), 0, -1); wire.RuleOf(err) != "scim/many-tokens" {
		t.Fatalf("one too many: %v", err)
	}
	if err := source.RevokeToken(t.Context(), operator.Host(), first); err != nil {
		t.Fatal(err)
	}
	if k, err := source.MakeToken(t.Context(), by[0].With(a.ID), 0, -1); err != nil || k.ID == "" {
		t.Errorf("when there is room again: %v", err)
	}
	if _, err := source.MakeToken(t.Context(), by[0].With(a.ID), 0, -1); !errors.As(err, &need) {
		t.Errorf("another one: %v", err)
	}
}
