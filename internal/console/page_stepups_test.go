package console

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// stepups is a source of the pages about step-ups.
type stepups struct {
	view   StepupsView
	holder HolderView
	asked  []string
}

func (s *stepups) Stepups(_ context.Context, after string) (StepupsView, error) {
	s.asked = append(s.asked, "list after "+after)
	return s.view, nil
}

func (s *stepups) Find(_ context.Context, actor, subject string) (string, error) {
	s.asked = append(s.asked, "find "+subject+" by "+actor)
	if subject == "ada" {
		return "PADA", nil
	}
	return "", nil
}

func (s *stepups) Holder(_ context.Context, _, person string) (HolderView, error) {
	if person != "PADA" {
		return HolderView{}, errNoSuch("person")
	}
	return s.holder, nil
}

func (s *stepups) Reset(_ context.Context, actor, person string) (int, error) {
	s.asked = append(s.asked, "reset "+person+" by "+actor)
	return 2, nil
}

func TestStepups(t *testing.T) {
	now := time.Now()
	line := HolderLine{Person: "PADA", Passkeys: 2, TOTP: 1, RecoveryLeft: 7, Open: 1, Asked: now, Proved: now.Add(-time.Hour)}
	open := OpenStepup{ID: "stpone", Person: "PADA", Service: "web", State: "started", Wrong: 2, Created: now, Expires: now.Add(time.Minute)}
	from := &stepups{holder: HolderView{HolderLine: line, Subject: "ada<b>", Factors: []FactorLine{{Kind: "passkey", Created: now}, {Kind: "totp", Blocked: true}}, Opens: []OpenStepup{open}}}
	d := newDesk(t, operator.Operator, Stepups(from))
	d.get("/stepups").shows(t, "No step-up was asked for yet", "stepup.services", "Nothing is open", "!Services that may ask")

	from.view = StepupsView{Services: []string{"web"}, Open: 1000, Blocked: 1, Most: 1000, Opens: []OpenStepup{open}, Holders: []HolderLine{line, {Person: "PB", Blocked: 1}, {Person: "PC"}}, After: "1-PB"}
	r := d.get("/stepups")
	r.shows(t, "000&#43;", "seem to exist twice", "2 passkeys, 1 authenticator app", "1 blocked passkey", "none", `href="/stepups/PADA"`, "under way", "after=1-PB", "!Previous")
	d.get("/stepups?after=1-PB").shows(t, "Previous")
	if last := from.asked[len(from.asked)-1]; last != "list after 1-PB" {
		t.Errorf("the next page asks for %q", last)
	}

	d.post("/stepups/find", "subject", "nobody").goesTo(t, "/stepups")
	d.get("/stepups").shows(t, "ever asked for anybody of this name")
	d.post("/stepups/find", "subject", "ada").goesTo(t, "/stepups/PADA")
	if r := d.post("/stepups/find", "subject", ""); r.status != 400 {
		t.Errorf("nobody is looked up: status %d", r.status)
	}

	d.get("/stepups/PADA").shows(t, "ada&lt;b&gt;", "!ada<b>", "2 passkeys, 1 authenticator app", "authenticator app", "it seems to be copied", "Reset second factors", "<kbd>reset</kbd>", "!not noted")
	if r := d.get("/stepups/PNOBODY"); r.status != 404 {
		t.Errorf("nobody's factors: status %d", r.status)
	}
	resets := func() (n int) {
		for _, a := range from.asked {
			if strings.HasPrefix(a, "reset") {
				n++
			}
		}
		return n
	}
	if r := d.post("/stepups/PADA/reset", "typed", "erase"); r.status != 400 || resets() != 0 {
		t.Errorf("another word: status %d", r.status)
	}
	d.post("/stepups/PADA/reset", "typed", "reset").goesTo(t, "/stepups/PADA")
	if !slices.Contains(from.asked, "reset PADA by "+string(d.account.ID)) {
		t.Errorf("asked for %q", from.asked)
	}
	d.get("/stepups/PADA").shows(t, "Factors that were removed: 2")

	// Whose name is not noted is not reset here: the app could not be told.
	from.holder.Subject = ""
	d.get("/stepups/PADA").shows(t, "not noted yet", "gatehouse stepup reset subject:NAME", "!<kbd>reset</kbd>")
	from.holder.Subject = "ada"
	// Nothing to reset, nothing to press.
	from.holder.Factors, from.holder.Opens, from.holder.HolderLine = nil, nil, HolderLine{Person: "PADA"}
	d.get("/stepups/PADA").shows(t, "no second factor", "!<kbd>reset</kbd>")

	// Who sees no person sees nobody's factors.
	for _, role := range []operator.Role{operator.Developer, operator.Auditor} {
		other := d.house.join(string(role), role)
		for _, path := range []string{"/stepups", "/stepups/PADA"} {
			if r := other.get(path); r.status != 403 {
				t.Errorf("%s, %s: status %d", role, path, r.status)
			}
		}
		if r := other.post("/stepups/PADA/reset", "typed", "reset"); r.status != 403 || resets() != 1 {
			t.Errorf("%s resets: status %d", role, r.status)
		}
	}
	d.house.ahead.Store(int64(11 * time.Minute))
	if r := d.post("/stepups/PADA/reset", "typed", "reset"); !strings.HasPrefix(r.header.Get("Location"), "/prove") || resets() != 1 {
		t.Errorf("without a recent proof: status %d", r.status)
	}
}
