package console

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
)

func secretOf(d *desk) secret.Text { return secret.New(d.cookies[sessionCookie]) }

// services is a source of the pages about services.
type services struct {
	list []ServiceLine
	one  ServiceView
	done []string
	more bool
	key  NewKey
}

func (s *services) Services(context.Context) ([]ServiceLine, error) { return s.list, nil }
func (s *services) Service(_ context.Context, name string) (ServiceView, error) {
	if name == "nothing" {
		return ServiceView{}, errNoSuch("service")
	}
	return s.one, nil
}

func (s *services) MakeKey(_ context.Context, actor, service, purpose string, life time.Duration) (NewKey, error) {
	s.done = append(s.done, fmt.Sprint("make ", service, " ", purpose, " ", life, " ", actor))
	return s.key, nil
}

func (s *services) RotateKey(_ context.Context, actor, service, key string, overlap, life time.Duration, again bool) (NewKey, error) {
	s.done = append(s.done, fmt.Sprint("rotate ", service, " ", key, " ", overlap, " ", life, " ", again, " ", actor))
	made := s.key
	made.Replaces, made.OldEnds = key, time.Now().Add(overlap)
	return made, nil
}

func (s *services) EndKey(_ context.Context, actor, service, key string) error {
	s.done = append(s.done, "end "+service+" "+key+" "+actor)
	return nil
}

func (s *services) RevokeKey(_ context.Context, actor, service, key string) error {
	s.done = append(s.done, "revoke "+service+" "+key+" "+actor)
	return nil
}

func (s *services) CutOff(_ context.Context, actor, service string) (int, bool, error) {
	s.done = append(s.done, "cut off "+service+" "+actor)
	return 1000, s.more, nil
}

func TestServices(t *testing.T) {
	now := time.Now()
	from := &services{key: NewKey{ID: "key9", Text: secret.New("gth_svc_shown_once"), Purpose: "publish", Expires: now.AddDate(1, 0, 0)}}
	d := newDesk(t, operator.Operator, Services(from))
	me := string(d.account.ID)
	d.get("/services").shows(t, "There is no service", "gatehouse config example")

	from.one = ServiceView{
		ServiceLine: ServiceLine{Name: "web", Purposes: []string{"publish", "pages"}, Keys: 1, Used: now}, Rate: "50/s", Handles: 1000, MoreHandles: true,
		List: []ServiceKeyLine{{ID: "key1", State: "works", Purpose: "publish", Created: now, Used: now, From: "192.0.2.0/24", Count: 1234}, {ID: "key2", State: "revoked", Created: now, Revoked: now}, {ID: "key3", State: "ending", Purpose: KeyForNone, Created: now, Expires: now.AddDate(0, 0, 3)}},
	}
	from.list = []ServiceLine{from.one.ServiceLine, {Name: "old", Disabled: true}, {Name: "new"}, {Name: "late", Keys: 1, Ending: 1}}
	d.get("/services").shows(t, `href="/services/web"`, "in use", "not in the configuration", "no key works", "a key ends soon", "any network", "publish, pages")
	d.get("/services/web").shows(t, "50/s", "more than 1\u202f000", "192.0.2.0/24", "1\u202f234", "ends soon", "all purposes", "no purpose: events", "Make a key", "Cut off its handles", `href="/services/web/keys/key1"`)
	d.get("/services/web").shows(t, "!opens every purpose", "!open every purpose")
	d.get("/services").shows(t, "!wide key")
	// A key that opens more than a key need open says so, wherever it is listed.
	was := from.one
	from.one.List = append(slices.Clone(was.List), ServiceKeyLine{ID: "key4", State: "works", Wide: true, Created: now})
	from.one.Wide = 1
	from.list[0].Wide = 1
	d.get("/services").shows(t, `badge warn">wide key`)
	d.get("/services/web").shows(t, "A key opens every purpose of this service", `badge warn">all purposes`)
	d.get("/services/web/keys/key4").shows(t, `badge warn">all purposes`)
	from.one.Wide = 2
	d.get("/services/web").shows(t, "2 keys open every purpose")
	from.one, from.list[0].Wide = was, 0
	if r := d.get("/services/nothing"); r.status != 404 {
		t.Errorf("a service that is not there: status %d", r.status)
	}

	r := d.post("/services/web/keys", "purpose", "publish")
	r.shows(t, "gth_svc_shown_once", "It is not shown again", "key9")
	if !slices.Equal(from.done, []string{"make web publish 0s " + me}) {
		t.Errorf("done %q", from.done)
	}
	d.get("/services/web").shows(t, "!gth_svc_shown_once")

	if r := d.post("/services/web/keys", "purpose", "publish", "life", "1h"); r.status != 200 {
		t.Errorf("a life that can be chosen for something else: status %d", r.status)
	}
	if r := d.post("/services/web/keys", "purpose", "publish", "life", "2h"); r.status != 400 {
		t.Errorf("a life that cannot be chosen: status %d", r.status)
	}
	d.post("/services/web/keys", "purpose", KeyForNone, "life", "none")
	if last := from.done[len(from.done)-1]; last != "make web - -1ns "+me {
		t.Errorf("done %q", last)
	}

	from.done = nil
	d.get("/services/web/keys/key1").shows(t, "Revoke this key", "192.0.2.0/24")
	d.get("/services/web/keys/key2").shows(t, "Revoked", "!Revoke this key")
	if r := d.get("/services/web/keys/key7"); r.status != 404 {
		t.Errorf("a key that is not there: status %d", r.status)
	}
	if r := d.post("/services/web/keys/key1/revoke", "typed", "revoke it"); r.status != 400 || len(from.done) != 0 {
		t.Errorf("another word: status %d", r.status)
	}
	d.post("/services/web/keys/key1/revoke", "typed", "revoke").goesTo(t, "/services/web")
	if r := d.post("/services/web/cut-off", "typed", "cut"); r.status != 400 {
		t.Errorf("another word: status %d", r.status)
	}
	d.post("/services/web/cut-off", "typed", "cut off").goesTo(t, "/services/web")
	d.get("/services/web").shows(t, "Handles that were cut off: 1\u202f000.", "!There are others left")
	from.more = true
	d.post("/services/web/cut-off", "typed", "cut off")
	d.get("/services/web").shows(t, "There are others left")
	if want := []string{"revoke web key1 " + me, "cut off web " + me, "cut off web " + me}; !slices.Equal(from.done, want) {
		t.Errorf("done %q, want %q", from.done, want)
	}

	developer := d.house.join("Dev", operator.Developer)
	developer.get("/services/web").shows(t, "50/s", "!Make a key", "!Cut off its handles")
	developer.get("/services/web/keys/key1").shows(t, "192.0.2.0/24", "!Revoke this key")
	for path, typed := range map[string]string{"/services/web/keys": "", "/services/web/keys/key1/revoke": "revoke", "/services/web/cut-off": "cut off"} {
		if r := developer.post(path, "typed", typed); r.status != 403 {
			t.Errorf("a developer, %s: status %d", path, r.status)
		}
	}
	d.house.ahead.Store(int64(11 * time.Minute))
	if r := d.post("/services/web/keys", "purpose", "publish"); !strings.HasPrefix(r.header.Get("Location"), "/prove") {
		t.Errorf("without a recent proof: status %d", r.status)
	}
	d.house.ahead.Store(0)
	none := d.house.join("None", operator.Auditor)
	must(t, d.house.directory.Revoke(t.Context(), operator.Host(), none.account.ID, operator.Auditor))
	for _, path := range []string{"/services", "/services/web", "/services/web/keys/key1"} {
		if r := none.get(path); r.status != 403 {
			t.Errorf("%s without the permission: status %d", path, r.status)
		}
	}
	if len(from.done) != 3 {
		t.Errorf("done %q", from.done)
	}
}

// A key's replacement, as its page shows it from step to step.
func TestServiceKeyRotation(t *testing.T) {
	now := time.Now()
	from := &services{key: NewKey{ID: "new", Text: secret.New("gth_svc_shown_once"), Purpose: "publish"}}
	d := newDesk(t, operator.Operator, Services(from))
	me := string(d.account.ID)
	show := func(keys ...ServiceKeyLine) reply {
		from.one = ServiceView{ServiceLine: ServiceLine{Name: "web", Purposes: []string{"publish"}}, List: keys}
		return d.get("/services/web/keys/old")
	}
	old := ServiceKeyLine{ID: "old", State: "works", Created: now.AddDate(-1, 0, 0), Expires: now.AddDate(1, 0, 0), Used: now.Add(-2 * time.Hour)}
	show(old).shows(t, "Rotate this key", "1 day", "Revoke this key", "!Its replacement", "!Finish early")

	for _, bad := range [][]string{{"life", ""}, {"overlap", "2h"}, {"overlap", "none"}, {"overlap", "24h", "life", "x"}} {
		if r := d.post("/services/web/keys/old/rotate", bad...); r.status != 400 || len(from.done) != 0 {
			t.Errorf("%q: status %d", bad, r.status)
		}
	}
	d.post("/services/web/keys/old/rotate", "overlap", "168h", "life", "2160h").shows(t, "gth_svc_shown_once", "The old key works until", `href="/services/web/keys/old"`)
	if want := "rotate web old 168h0m0s 2160h0m0s false " + me; !slices.Equal(from.done, []string{want}) {
		t.Errorf("done %q, want %q", from.done, want)
	}

	old.State, old.Successor, old.Expires = "rotating", "new", now.Add(time.Hour)
	next := ServiceKeyLine{ID: "new", State: "works", Created: now.Add(-time.Hour), Replaces: "old"}
	show(old, next).shows(t, "being replaced", "Its replacement", "It was not used yet", "Finish early", "hand it out first", "Nobody has the new key?", "!Rotate this key", "!Revoke this key")
	d.get("/services/web/keys/new").shows(t, "Takes the place of", `href="/services/web/keys/old"`, "Rotate this key")
	next.Used = now.Add(-time.Minute)
	show(old, next).shows(t, "The new key is in use", "Finish early", "!hand it out first", "!Nobody has the new key?", "!where it still stands")
	old.Used = now
	show(old, next).shows(t, "where it still stands")
	old.State = "ended"
	show(old, next).shows(t, "The old key ended", "!Finish early", "!Revoke this key", "!Rotate this key")
	next.Used = time.Time{}
	show(old, next).shows(t, "The new key was never used", "Nobody has the new key?")
	old.State, next.State, next.Revoked = "works", "revoked", now
	show(old, next).shows(t, "The new key was revoked", "Rotate this key", "!Finish early", "!Nobody has the new key?")

	from.done = nil
	for path, word := range map[string]string{"end": "finish", "again": "again"} {
		if r := d.post("/services/web/keys/old/"+path, "typed", "yes"); r.status != 400 || len(from.done) != 0 {
			t.Errorf("%s with another word: status %d", path, r.status)
		}
		developer := d.house.join("Dev"+path, operator.Developer)
		if r := developer.post("/services/web/keys/old/"+path, "typed", word); r.status != 403 || len(from.done) != 0 {
			t.Errorf("a developer, %s: status %d", path, r.status)
		}
	}
	d.post("/services/web/keys/old/end", "typed", "finish").goesTo(t, "/services/web/keys/old")
	d.post("/services/web/keys/old/again", "typed", "again").shows(t, "gth_svc_shown_once")
	if want := []string{"end web old " + me, "rotate web old 24h0m0s 0s true " + me}; !slices.Equal(from.done, want) {
		t.Errorf("done %q, want %q", from.done, want)
	}
	show(ServiceKeyLine{ID: "old", State: "rotating", Successor: "new"}, ServiceKeyLine{ID: "new", State: "works"})
	developer := d.house.join("Dev", operator.Developer)
	developer.get("/services/web/keys/old").shows(t, "Its replacement", "!Finish early", "!Revoke this key")
	d.house.ahead.Store(int64(11 * time.Minute))
	for path, word := range map[string]string{"end": "finish", "again": "again"} {
		if r := d.post("/services/web/keys/old/"+path, "typed", word); !strings.HasPrefix(r.header.Get("Location"), "/prove") || len(from.done) != 2 {
			t.Errorf("%s without a recent proof: status %d", path, r.status)
		}
	}
}
