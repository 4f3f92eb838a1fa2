package console

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
)

// scims is a source of the page about identity providers' tokens.
type scims struct {
	view  ScimView
	allow func(ctx context.Context, by operator.Actor, p operator.Proposal) error
	done  []string
}

func (s *scims) Scim(context.Context) (ScimView, error) { return s.view, nil }

func (s *scims) MakeToken(ctx context.Context, by operator.Actor, life, others time.Duration) (NewScimToken, error) {
	p := operator.Proposal{Act: operator.ActScimToken, Target: "a token", Digest: operator.Digest(operator.ActScimToken, life.String(), others.String())}
	if err := s.allow(ctx, by, p); err != nil {
		return NewScimToken{}, err
	}
	s.done = append(s.done, "make "+life.String()+" "+others.String()+" "+by.Name())
	return NewScimToken{ID: "tok9", Text: secret.New("gth_scim_shown_once"), Ends: time.Date(2027, 5, 4, 0, 0, 0, 0, time.UTC)}, nil
}

func (s *scims) RevokeToken(_ context.Context, by operator.Actor, id string) error {
	if id != "tok1" {
		return errNoSuch("token")
	}
	s.done = append(s.done, "revoke "+id+" "+by.Name())
	return nil
}

func TestScimTokens(t *testing.T) {
	from := &scims{}
	d := newDesk(t, operator.Owner, Operators(), Scim(from))
	from.allow = func(ctx context.Context, by operator.Actor, p operator.Proposal) error {
		return d.house.directory.Allow(ctx, by, p)
	}
	me := string(d.account.ID)
	d.get("/operators").shows(t, `href="/operators/scim">SCIM tokens`)
	d.get("/operators/scim").shows(t, "No identity provider has a token", "gatehouse account scim-token create", "switched off", "operators.scim.enabled: true", "Make a token", "!This takes two", "!End the token")

	from.view = ScimView{Enabled: true, URL: "https://console.example/scim/v2"}
	d.get("/operators/scim").shows(t, "no token works: leavers stay", "https://console.example/scim/v2", "!opens nothing")
	from.view.Tokens = []ScimToken{
		{ID: "tok1", State: "in use", By: d.account.ID, Created: time.Now().Add(-time.Hour), Ends: time.Now().Add(100 * 24 * time.Hour), Used: time.Now().Add(-time.Minute)},
		{ID: "tok2", State: "ends soon", Created: time.Now().Add(-time.Hour), Ends: time.Now().Add(time.Hour)},
		{ID: "tok3", State: "expired", By: "gone", Created: time.Now().Add(-time.Hour), Ends: time.Now()},
	}
	d.get("/operators/scim").shows(t, "switched on", "tok1", "Ada &lt;ada@example.com&gt;", `href="/operators/`+me+`"`, "the host", "gone", "in 100 d", `badge warn">ends soon`, `badge off">expired`,
		"End the token tok1", `action="/operators/scim/tokens/tok1/revoke"`, "leavers stay, until it has another")

	// One is made and shown once; nothing that cannot be chosen is.
	r := d.post("/operators/scim/tokens", "life", "2160h", "others", "24h")
	r.shows(t, "gth_scim_shown_once", "https://console.example/scim/v2", "4 May 2027", "tok9", "It is not shown again")
	if got := r.header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
		t.Errorf("the page with the token is kept: %q", got)
	}
	d.post("/operators/scim/tokens", "life", "", "others", "").shows(t, "gth_scim_shown_once")
	for _, wrong := range [][]string{{"life", "none", "others", ""}, {"life", "5h", "others", ""}, {"life", "", "others", "2160h"}, {"life", "", "others", "none"}, {"life", "", "others", "-1h"}} {
		if r := d.post("/operators/scim/tokens", wrong...); r.status != 400 {
			t.Errorf("%q: status %d", wrong, r.status)
		}
	}
	// One is ended by the word, once.
	for _, word := range []string{"", "end", "revoke it"} {
		if r := d.post("/operators/scim/tokens/tok1/revoke", "typed", word); r.status != 400 {
			t.Errorf("the word %q: status %d", word, r.status)
		}
	}
	if r := d.post("/operators/scim/tokens/nothing/revoke", "typed", "revoke"); r.status != 404 {
		t.Errorf("a token that is not there: status %d", r.status)
	}
	d.post("/operators/scim/tokens/tok1/revoke", "typed", "revoke").goesTo(t, "/operators/scim")
	d.get("/operators/scim").shows(t, "The token works no more.")
	if want := []string{"make 2160h0m0s 24h0m0s " + me, "make 0s -1ns " + me, "revoke tok1 " + me}; !slices.Equal(from.done, want) {
		t.Errorf("done %q, want %q", from.done, want)
	}

	// With another who may decide it takes two, for exactly this.
	other := d.house.join("Grace", operator.Security)
	d.get("/operators/scim").shows(t, "This takes two")
	d.post("/operators/scim/tokens", "life", "720h", "others", "").goesTo(t, "/operators/approvals")
	other.get("/operators/approvals").shows(t, "Make a token for an identity provider", "a token", "Ada &lt;ada@example.com&gt;")
	waiting, err := d.house.directory.Approvals(t.Context())
	must(t, err)
	must(t, d.house.directory.Approve(t.Context(), operator.By(sessionOf(t, other)), waiting[0].ID))
	d.post("/operators/scim/tokens", "life", "", "others", "").goesTo(t, "/operators/approvals")
	d.post("/operators/scim/tokens", "life", "720h", "others", "").shows(t, "gth_scim_shown_once")
	d.post("/operators/scim/tokens", "life", "720h", "others", "").goesTo(t, "/operators/approvals")
	if len(from.done) != 4 {
		t.Errorf("done %q", from.done)
	}

	// Who only looks sees no form; who may not look sees no page; a proof is asked for.
	auditor := d.house.join("Aud", operator.Auditor)
	auditor.get("/operators").shows(t, "SCIM tokens")
	auditor.get("/operators/scim").shows(t, "tok1", "!Make a token", "!End the token")
	for _, path := range []string{"/operators/scim/tokens", "/operators/scim/tokens/tok1/revoke"} {
		if r := auditor.post(path, "typed", "revoke"); r.status != 403 {
			t.Errorf("an auditor, %s: status %d", path, r.status)
		}
	}
	developer := d.house.join("Dev", operator.Developer)
	if r := developer.get("/operators/scim"); r.status != 403 {
		t.Errorf("a developer: status %d", r.status)
	}
	d.house.ahead.Store(int64(11 * time.Minute))
	for _, path := range []string{"/operators/scim/tokens", "/operators/scim/tokens/tok1/revoke"} {
		if r := d.post(path, "typed", "revoke"); !strings.HasPrefix(r.header.Get("Location"), "/prove") {
			t.Errorf("without a recent proof, %s: status %d", path, r.status)
		}
	}
}

// TestScimHostileTexts: what others named is text.
func TestScimHostileTexts(t *testing.T) {
	from := &scims{view: ScimView{Enabled: true, URL: hostileText, Tokens: []ScimToken{{ID: hostileText, State: hostileText, By: operator.AccountID(hostileText), Created: time.Now(), Used: time.Now()}}}}
	d := newDesk(t, operator.Owner, Operators(), Scim(from))
	r := d.get("/operators/scim")
	r.shows(t, "&lt;script&gt;")
	r.inert(t)
}
