package x_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/sandbox/x"
)

func TestATokenEndpointTakesNoOtherCredential(t *testing.T) {
	d := newDesk(t, x.Config{})
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "client_id": {d.app.PublicClientID}}
	req := d.request(http.MethodPost, "/2/oauth2/token", d.x.AppBearer(), form.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if reply := d.do(req).expect(t, http.StatusUnauthorized); !strings.Contains(reply.body, "unauthorized_client") {
		t.Errorf("a bearer beside the client id: %s", reply.body)
	}
}

func TestSigningWithoutAUserToken(t *testing.T) {
	d := newDesk(t, x.Config{})
	reply := d.do(d.signed(http.MethodPost, "/1.1/oauth/invalidate_token", d.consumer(), nil, nil)).expect(t, http.StatusBadRequest)
	if !strings.Contains(reply.body, `"code":215`) {
		t.Errorf("invalidating no token: %s", reply.body)
	}
	if token, secret := d.x.MintOAuth1("nobody"); token != "" || secret != "" {
		t.Error("a token was minted for nobody")
	}
}

func TestEmptyAndMistakenLookups(t *testing.T) {
	d := newDesk(t, x.Config{})
	app := d.x.AppBearer()
	for _, path := range []string{"/2/users/by", "/2/users/by?usernames=a-b", "/2/tweets", "/2/tweets?ids=x", "/2/compliance/jobs?type=users&status=odd"} {
		d.call(http.MethodGet, path, app, nil).expect(t, http.StatusBadRequest)
	}
	for _, path := range []string{"/2/tweets/search/recent?query=nobodywrotethis", "/2/compliance/jobs?type=users", "/2/tweets/search/stream/rules"} {
		reply := d.call(http.MethodGet, path, app, nil).expect(t, http.StatusOK)
		if _, data := reply.json(t)["data"]; data || reply.at(t, "meta", "result_count") != 0.0 {
			t.Errorf("%s: nothing found is %s", path, reply.body)
		}
	}
	job := d.call(http.MethodPost, "/2/compliance/jobs", app, map[string]any{"type": "users", "name": "nightly"}).expect(t, http.StatusOK)
	unnamed := d.call(http.MethodPost, "/2/compliance/jobs", app, map[string]any{"type": "users"}).expect(t, http.StatusOK)
	if job.at(t, "data", "name") != "nightly" || strings.Contains(unnamed.body, `"name"`) {
		t.Errorf("jobs = %s %s", job.body, unnamed.body)
	}
	d.call(http.MethodPost, "/2/compliance/jobs", app, map[string]any{"type": "users", "name": strings.Repeat("n", 65)}).expect(t, http.StatusBadRequest)
}

func TestSubscriptionsThatAreNotThere(t *testing.T) {
	d := newDesk(t, x.Config{})
	app := d.x.AppBearer()
	if reply := d.call(http.MethodDelete, "/2/activity/subscriptions/5", app, nil); !strings.Contains(reply.body, "Not Found Error") {
		t.Errorf("deleting no subscription: %s", reply.body)
	}
	reply := d.call(http.MethodPost, "/2/activity/subscriptions", app, map[string]any{
		"event_type": "oauth.revoke", "webhook_id": "5",
	}).expect(t, http.StatusBadRequest)
	if !strings.Contains(reply.body, "$.webhook_id") {
		t.Errorf("subscribing to no webhook: %s", reply.body)
	}
}

func TestComplianceOfPeopleWhoLeft(t *testing.T) {
	d := newDesk(t, x.Config{})
	app := d.x.AppBearer()
	post := d.call(http.MethodGet, "/2/users/"+d.id(5)+"/tweets", app, nil).at(t, "data", 0, "id").(string)
	d.x.SetStanding(person(5), "deactivated")
	job := d.call(http.MethodPost, "/2/compliance/jobs", app, map[string]any{"type": "tweets"}).expect(t, http.StatusOK)
	up, _ := url.Parse(job.at(t, "data", "upload_url").(string))
	down, _ := url.Parse(job.at(t, "data", "download_url").(string))
	req := d.request(http.MethodPut, up.RequestURI(), "", post+"\n")
	req.Header.Set("Content-Type", "text/plain")
	d.do(req).expect(t, http.StatusOK)
	for range 2 {
		d.call(http.MethodGet, "/2/compliance/jobs/"+job.at(t, "data", "id").(string), app, nil).expect(t, http.StatusOK)
	}
	if result := d.call(http.MethodGet, down.RequestURI(), "", nil).expect(t, http.StatusOK); !strings.Contains(result.body, `"reason":"deleted"`) {
		t.Errorf("result = %s", result.body)
	}
	// An identifier that cannot be one fails the job.
	job = d.call(http.MethodPost, "/2/compliance/jobs", app, map[string]any{"type": "tweets"}).expect(t, http.StatusOK)
	up, _ = url.Parse(job.at(t, "data", "upload_url").(string))
	req = d.request(http.MethodPut, up.RequestURI(), "", "not an id\n")
	req.Header.Set("Content-Type", "text/plain")
	d.do(req).expect(t, http.StatusOK)
	if reply := d.call(http.MethodGet, "/2/compliance/jobs/"+job.at(t, "data", "id").(string), app, nil); reply.at(t, "data", "status") != "failed" {
		t.Errorf("job of garbage = %s", reply.body)
	}
}

// The operator's control takes a post away, or only its location.
func TestComplianceOfRedactedPosts(t *testing.T) {
	d := newDesk(t, x.Config{})
	app := d.x.AppBearer()
	posts := d.call(http.MethodGet, "/2/users/"+d.id(6)+"/tweets", app, nil)
	for i, reason := range []string{"deleted", "scrub_geo", "bounced"} {
		id := posts.at(t, "data", i, "id").(string)
		if !d.x.Redact(id, reason) || d.x.Redact(id, "eaten") {
			t.Errorf("%s is not known, or anything is", reason)
		}
		want := http.StatusOK // the detail is in errors
		reply := d.call(http.MethodGet, "/2/tweets/"+id, app, nil).expect(t, want)
		if there := strings.Contains(reply.body, `"text"`); there != (reason == "scrub_geo") {
			t.Errorf("%s: %s", reason, reply.body)
		}
		job := d.call(http.MethodPost, "/2/compliance/jobs", app, map[string]any{"type": "tweets"}).expect(t, http.StatusOK)
		up, _ := url.Parse(job.at(t, "data", "upload_url").(string))
		down, _ := url.Parse(job.at(t, "data", "download_url").(string))
		req := d.request(http.MethodPut, up.RequestURI(), "", id+"\n")
		req.Header.Set("Content-Type", "text/plain")
		d.do(req).expect(t, http.StatusOK)
		d.call(http.MethodGet, "/2/compliance/jobs/"+job.at(t, "data", "id").(string), app, nil)
		if result := d.call(http.MethodGet, down.RequestURI(), "", nil).expect(t, http.StatusOK); !strings.Contains(result.body, `"reason":"`+reason+`"`) {
			t.Errorf("result = %s", result.body)
		}
	}
}

func TestTheSenderOfAMessageIsToldItWasSent(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(0), everything)
	stream, _ := d.tail("/2/activity/stream", d.x.AppBearer())
	for _, kind := range []string{"dm.sent", "dm.received"} {
		d.call(http.MethodPost, "/2/activity/subscriptions", access, map[string]any{
			"event_type": kind, "filter": map[string]string{"user_id": d.id(0)},
		}).expect(t, http.StatusOK)
	}
	d.call(http.MethodPost, "/2/dm_conversations/with/"+d.id(1)+"/messages", access, map[string]string{"text": "out it goes"}).expect(t, http.StatusCreated)
	if line := next(t, stream, "event", func(line string) bool { return line != "" }); !strings.Contains(line, `"event_type":"dm.sent"`) {
		t.Errorf("the sender is told %s", line)
	}
}
