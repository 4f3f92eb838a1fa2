package console

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/secret"
)

func (d *desk) operators() map[string]operator.Account {
	d.t.Helper()
	all, err := d.house.directory.Accounts(d.t.Context())
	must(d.t, err)
	out := map[string]operator.Account{}
	for _, a := range all {
		out[a.Name] = a
	}
	return out
}

func TestInvite(t *testing.T) {
	d := newDesk(t, operator.Owner, Operators())
	r := d.post("/operators/invite", "name", "Grace", "email", "grace@example.com", "role", "auditor", "until", time.Now().AddDate(0, 1, 0).Format(time.DateOnly))
	link := regexp.MustCompile(regexp.QuoteMeta(origin) + `/enrol#[^"<\s]+`).FindString(r.body)
	if r.status != 200 || link == "" {
		t.Fatalf("inviting: %d %s", r.status, r.body)
	}
	_, token, _ := strings.Cut(link, "#")
	// The link, what stands behind its #, and a link of before, in the form's field.
	for _, text := range []string{link, token, " " + token + "\n", origin + "/enrol/" + token} {
		s := d.house.stranger()
		s.post("/enrol", "link", text).goesTo(t, "/enrol")
		s.get("/enrol").shows(t, "Grace", "auditor", "!"+token)
	}
	// A link of before is shown in the field, and does nothing: programs preview links.
	s := d.house.stranger()
	s.get("/enrol/"+token).shows(t, `value="`+token+`"`, "!Grace")
	if s.cookies[enrolCookie] != "" {
		t.Errorf("following a link of before sets %v", s.cookies)
	}
	for _, wrong := range []string{"x", token + "x", strings.TrimSuffix(token, token[len(token)-1:])} {
		s := d.house.stranger()
		if r := s.post("/enrol", "link", wrong); r.status != http.StatusUnauthorized || s.cookies[enrolCookie] != "" {
			t.Errorf("a link that nobody made: %d", r.status)
		}
		s.cookies[enrolCookie] = wrong
		if r := s.get("/enrol"); r.status != http.StatusUnauthorized || s.cookies[enrolCookie] != "" {
			t.Errorf("a cookie that nobody made: %d", r.status)
		}
		s.get("/enrol").shows(t, "The link, or what stands behind its #")
	}
	d.get("/operators").shows(t, "Grace", "grace@example.com", "auditor", "invited", "!"+link)
	grace := d.operators()["Grace"]
	if len(grace.Grants) != 1 || grace.Grants[0].Until.IsZero() {
		t.Errorf("the role has no end: %+v", grace.Grants)
	}
	for name, fields := range map[string][]string{
		"an address that is taken": {"name", "Other", "email", "GRACE@example.com", "role", "auditor"},
		"no address":               {"name", "Other", "email", "grace", "role", "auditor"},
		"no name":                  {"email", "other@example.com", "role", "auditor"},
		"no such role":             {"name", "Other", "email", "other@example.com", "role", "root"},
		"an end that is over":      {"name", "Other", "email", "other@example.com", "role", "auditor", "until", "2020-01-01"},
		"no day":                   {"name", "Other", "email", "other@example.com", "role", "auditor", "until", "tomorrow"},
		"a hidden character":       {"name", "Oth\u202eer", "email", "other@example.com", "role", "auditor"},
	} {
		if r := d.post("/operators/invite", fields...); r.status != 400 && r.status != 409 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if _, made := d.operators()["Other"]; made {
		t.Error("a refused invitation made an account")
	}
}

func TestOperatorLife(t *testing.T) {
	d := newDesk(t, operator.Owner, Operators())
	grace := d.house.join("Grace", operator.Developer)
	at := "/operators/" + string(grace.account.ID)
	d.get(at).shows(t, "Grace", "grace@example.com", "developer", "Suspend", "Remove Grace", "overview.read", "!people.read", "!Let sign in again")

	d.post(at+"/grant", "role", "auditor").goesTo(t, at)
	d.get(at).shows(t, "The role was given.", "auditor", "people.read"[:0]+"keys.read")
	d.post(at+"/revoke", "role", "developer").goesTo(t, at)
	if roles := rolesText(d.operators()["Grace"], time.Now()); roles != "auditor" {
		t.Errorf("roles are %q", roles)
	}
	if r := d.post(at+"/revoke", "role", "developer"); r.status != 404 {
		t.Errorf("a role that is gone: %d", r.status)
	}
	if r := d.post(at+"/grant", "role", ""); r.status != 400 {
		t.Errorf("no role: %d", r.status)
	}

	d.post(at+"/suspend").goesTo(t, at)
	grace.get("/account").goesTo(t, "/sign-in?return=%2Faccount")
	d.get(at).shows(t, "suspended", "Let sign in again")
	d.post(at+"/resume").goesTo(t, at)
	ceremony, response := grace.ask("/sign-in/passkey", grace.keys.Sign)
	if r := grace.post("/sign-in/passkey", "ceremony", ceremony, "response", response); r.status != 303 {
		t.Fatalf("resumed: %d", r.status)
	}
	// One of her sessions, then all.
	page := d.get(at)
	session := regexp.MustCompile(`name="session" value="([^"]+)"`).FindStringSubmatch(page.body)
	if session == nil {
		t.Fatalf("no session to end: %s", page.body)
	}
	d.post(at+"/end", "session", session[1]).goesTo(t, at)
	grace.get("/account").goesTo(t, "/sign-in?return=%2Faccount")
	ceremony, response = grace.ask("/sign-in/passkey", grace.keys.Sign)
	grace.post("/sign-in/passkey", "ceremony", ceremony, "response", response)
	d.post(at+"/sign-out").goesTo(t, at)
	grace.get("/account").goesTo(t, "/sign-in?return=%2Faccount")

	heir := d.house.join("Edsger", operator.Developer)
	if r := d.post(at+"/hand-over", "to", string(heir.account.ID), "typed", "handover"); r.status != 400 {
		t.Errorf("another word: %d", r.status)
	}
	d.post(at+"/hand-over", "to", string(heir.account.ID), "typed", "hand over").goesTo(t, at)
	if roles := rolesText(d.operators()["Edsger"], time.Now()); !strings.Contains(roles, "auditor") {
		t.Errorf("the heir has %q", roles)
	}

	if r := d.post(at+"/remove", "typed", "Remove"); r.status != 400 {
		t.Errorf("another word: %d", r.status)
	}
	d.post(at+"/remove", "typed", "remove").goesTo(t, "/operators")
	d.get("/operators").shows(t, "The operator was removed.", "!grace@example.com", "!>Grace<", "Also those who were removed")
	d.get("/operators?all=yes").shows(t, "removed", "!>Grace<", "Without those who were removed")
	d.get(at).shows(t, "removed", "!Suspend", "!Remove this operator")

	// One's own account is left alone.
	mine := "/operators/" + string(d.account.ID)
	for _, act := range []string{"/suspend", "/remove"} {
		if r := d.post(mine+act, map[string][]string{"/remove": {"typed", "remove"}}[act]...); r.status != 409 {
			t.Errorf("%s of oneself: %d", act, r.status)
		}
	}
	d.get(mine).shows(t, "!Suspend", "!Remove this operator")
	if r := d.get("/operators/nobody"); r.status != 404 {
		t.Errorf("nobody: %d", r.status)
	}
}

// TestReadersChangeNothing: whoever may only look sees no buttons.
func TestReadersChangeNothing(t *testing.T) {
	d := newDesk(t, operator.Auditor, Operators())
	other := d.house.join("Grace", operator.Developer)
	d.get("/operators").shows(t, "Grace", "!Invite")
	d.get("/operators/"+string(other.account.ID)).shows(t, "Grace", "!Suspend", "!Take away", "!Give", "!>End<", "!Remove")
}

// TestWhereSomebodySignsIn: from where and with what is shown to whoever may end it or open
// what is sealed, and to nobody else.
func TestWhereSomebodySignsIn(t *testing.T) {
	d := newDesk(t, operator.Owner, Operators())
	at := "/operators/" + string(d.account.ID)
	d.get(at).shows(t, "Last used", ">Browser<", ">Address<", "this one")
	d.house.join("Sec", operator.Security).get(at).shows(t, "Last used", ">Browser<", ">Address<", "!Actions")
	for _, role := range []operator.Role{operator.Operator, operator.Auditor} {
		r := d.house.join("Reader", role)
		r.get(at).shows(t, "Last used", "!>Browser<", "!>Address<", "!127.0.0.1", "!Actions")
		r.get("/operators/"+string(r.account.ID)).shows(t, ">Browser<", ">Address<")
		must(t, d.house.directory.Remove(t.Context(), operator.Host(), r.account.ID))
	}
}

// TestTwoPeople: what changes who may decide waits for a second operator, is done once,
// and by whoever asked.
func TestTwoPeople(t *testing.T) {
	d := newDesk(t, operator.Owner, Operators())
	second := d.house.join("Grace", operator.Security)
	dev := d.house.join("Edsger", operator.Developer)
	at := "/operators/" + string(dev.account.ID)
	grant := func() reply { return d.post(at+"/grant", "role", "security") }
	roles := func() string { return rolesText(d.operators()["Edsger"], time.Now()) }
	approval := func(page reply) string {
		t.Helper()
		found := regexp.MustCompile(`name="approval" value="([^"]+)"`).FindStringSubmatch(page.body)
		if found == nil {
			t.Fatalf("nothing to decide: %s", page.body)
		}
		return found[1]
	}

	grant().goesTo(t, "/operators/approvals")
	d.get("/operators/approvals").shows(t, "Nothing was done yet", "Change who may decide", "Another operator decides this.", "!>Approve<")
	if got := roles(); got != "developer" {
		t.Fatalf("without approval the roles are %q", got)
	}
	// Asking again does not ask twice.
	grant().goesTo(t, "/operators/approvals")
	if n := strings.Count(second.get("/operators/approvals").body, ">Approve<"); n != 1 {
		t.Errorf("%d things wait", n)
	}
	d.get("/operators").shows(t, "Approvals (1 waiting)")
	id := approval(second.get("/operators/approvals"))
	if r := d.post("/operators/approvals/approve", "approval", id); r.status == 303 {
		t.Errorf("one approves one's own")
	}
	if r := dev.post("/operators/approvals/approve", "approval", id); r.status != http.StatusForbidden {
		t.Errorf("somebody without the permission: %d", r.status)
	}
	second.post("/operators/approvals/approve", "approval", id).goesTo(t, "/operators/approvals")
	if got := roles(); got != "developer" {
		t.Fatalf("approved, and not yet done: %q", got)
	}
	grant().goesTo(t, at)
	if got := roles(); !strings.Contains(got, "security") {
		t.Fatalf("done: %q", got)
	}
	d.get("/operators/approvals").shows(t, "used", "Grace", "!waiting<")

	// Declined is declined.
	d.post("/operators/"+string(second.account.ID)+"/revoke", "role", "security").goesTo(t, "/operators/approvals")
	dev.get("/operators/approvals").shows(t, "revoke Grace &lt;grace@example.com&gt;", ") security")
	id = approval(dev.get("/operators/approvals"))
	dev.post("/operators/approvals/decline", "approval", id).goesTo(t, "/operators/approvals")
	if got := rolesText(d.operators()["Grace"], time.Now()); got != "security" {
		t.Errorf("declined: %q", got)
	}
}

func TestOperatorsAreSorted(t *testing.T) {
	d := newDesk(t, operator.Owner, Operators())
	d.house.join("zoe", operator.Developer)
	d.house.join("Bea", operator.Auditor)
	for query, want := range map[string][]string{
		"": {"Ada", "zoe", "Bea"}, "?sort=name": {"Ada", "Bea", "zoe"}, "?sort=-name": {"zoe", "Bea", "Ada"},
	} {
		r := d.get("/operators" + query)
		at := -1
		for _, name := range want {
			next := strings.Index(r.body, ">"+name+"</a></span>")
			if next <= at {
				t.Errorf("%s: %s is not where it should be", query, name)
			}
			at = next
		}
	}
	d.get("/operators?sort=name").shows(t, `aria-sort="ascending"><a href="/operators?sort=-name"`)
	d.get("/operators?sort=-name&all=yes").shows(t, `aria-sort="descending"><a href="/operators?all=yes&amp;sort=name"`)
}

// TestApprovalNamesWhoGetsIt: whoever decides sees to whom roles go, by what these choose
// themselves and by what they do not.
func TestApprovalNamesWhoGetsIt(t *testing.T) {
	h := newHouse(t, nil, Operators())
	ada, bob, heir := h.join("Ada", operator.Owner), h.join("Bob", operator.Owner), h.join("Dan", operator.Auditor)
	h.join("Eve", operator.Security)
	full := func(name string, d *desk) string {
		return name + " &lt;" + strings.ToLower(name) + "@example.com&gt; (" + string(d.account.ID)[:8] + "…)"
	}
	handOver := func() {
		t.Helper()
		ada.post("/operators/"+string(bob.account.ID)+"/hand-over", "to", string(heir.account.ID), "typed", "hand over").goesTo(t, "/operators/approvals")
	}
	handOver()
	bob.get("/operators/approvals").shows(t, "hand-over "+full("Bob", bob)+" to "+full("Dan", heir), "!"+string(heir.account.ID), full("Ada", ada))

	// Nobody takes the name of somebody else, and another name makes what was asked
	// for something else.
	heir.post("/account/profile", "name", "EVE", "email", "dan@example.com").shows(t, "Another operator has this name")
	must(t, h.directory.SetProfile(t.Context(), operator.EnrolmentOrSession{Browser: heir.browser(), Session: secret.New(heir.cookies[sessionCookie])}, "Dan the Second", "dan@example.com"))
	handOver()
	if all, err := h.directory.Approvals(t.Context()); err != nil || len(all) != 2 || all[0].Digest == all[1].Digest {
		t.Errorf("the proposals are %+v, %v; want one of each name", all, err)
	}
	bob.get("/operators/approvals").shows(t, "Dan the Second &lt;dan@example.com&gt;")
}

// TestTwinsAreToldApart: of two people of one name, as an identity provider may send, each
// page where somebody decides about one says which.
func TestTwinsAreToldApart(t *testing.T) {
	h := newHouse(t, nil)
	ada := h.join("Ada", operator.Owner)
	log := &logs{}
	reviews := h.reviewing(review.Right{Kind: review.Purpose, Holder: "web", Name: "publish"})
	h.build(nil, Operators(), Reviews(reviews), Log(log, log))
	var twins []operator.AccountID
	for _, address := range []string{"sam.one@example.com", "sam.two@example.com"} {
		p, err := h.directory.Provision(t.Context(), operator.Provisioner("tok1"), operator.Profile{UserName: address, Display: "Sam Twin", Email: address}, true)
		must(t, err)
		must(t, h.directory.Grant(t.Context(), operator.By(sessionOf(t, ada)), p.ID, operator.Grant{Role: operator.Developer}))
		twins = append(twins, p.ID)
	}
	shows := func(page reply, one, two string) {
		t.Helper()
		page.shows(t, one, two)
	}
	full := func(i int) string {
		return "Sam Twin &lt;" + []string{"sam.one@example.com", "sam.two@example.com"}[i] + "&gt; (" + string(twins[i])[:8] + "…)"
	}
	// A review has a group for each, also where their rights stand next to each other.
	r, err := reviews.Begin(t.Context(), operator.By(sessionOf(t, ada)), 0, 0)
	must(t, err)
	page := ada.get("/reviews/" + string(r.ID))
	shows(page, full(0), full(1))
	page.shows(t, "Ada &lt;ada@example.com&gt;") // also whose name is like no other
	// A right is found by its holder's name, which is not what the right is stored with.
	ada.get("/reviews/"+string(r.ID)+"?holder=sam+twin").shows(t, full(0), full(1), "!ada@example.com")
	ada.get("/reviews/"+string(r.ID)+"?holder=sam.one").shows(t, full(0), "!sam.two@")
	// In the log's list of operators they are told apart; who has a name alone has that.
	shows(ada.get("/log"), full(0), full(1))
	ada.get("/log").shows(t, ">Ada</option>", "!Ada &lt;")
	// What waits for approval names address and number.
	grace := h.join("Grace", operator.Security)
	ada.post("/operators/"+string(grace.account.ID)+"/revoke", "role", "security").goesTo(t, "/operators/approvals")
	ada.get("/operators/approvals").shows(t, "Grace &lt;grace@example.com&gt;")
	// Who takes somebody's roles over is chosen by more than a name.
	ada.get("/operators/"+string(grace.account.ID)).shows(t, `<option value="`+string(ada.account.ID)+`">Ada &lt;ada@example.com&gt;`)
}
