package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/cases"
	"gatehouse/internal/compliance"
	"gatehouse/internal/connect"
	"gatehouse/internal/store/storetest"
)

// A running Gatehouse notes what the app reads; a run begun on the command line
// sends it to X; nothing of it lies about in clear.
func TestCompliance(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { complianceStory(t, newHouse(t)) })
	t.Run("postgres", func(t *testing.T) { complianceStory(t, newHouseOn(t, storetest.EmptyPostgres(t))) })
}

func complianceStory(t *testing.T, h *house) {
	h.start()
	x := h.connectPerson(demoX, "ada", h.box.People()[0])
	status, b, err := h.call(t.Context(), "GET", "/x/2/tweets/search/recent?query=the&tweet.fields=author_id", x.Handle, nil)
	var page struct {
		Data []struct {
			ID     string `json:"id"`
			Author string `json:"author_id"`
		} `json:"data"`
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(b, &page) != nil || len(page.Data) == 0 {
		t.Fatalf("searching: %d, %v\n%s", status, err, b)
	}
	lists := func(args ...string) map[string]complianceView {
		t.Helper()
		out, errOut, code := h.gatehouse(append([]string{"connect", "compliance", "--json"}, args...)...)
		var all []complianceView
		if code != 0 || json.Unmarshal([]byte(out), &all) != nil || len(all) != 2 {
			t.Fatalf("connect compliance: %d\n%s%s", code, out, errOut)
		}
		return map[string]complianceView{string(all[0].Kind): all[0], string(all[1].Kind): all[1]}
	}
	if got := lists()["post"]; got.IDs < int64(len(page.Data)) || got.App != demoX || !got.On || got.State != "idle" {
		t.Errorf("the posts' list is %+v", got)
	}
	if lists()["user"].IDs == 0 {
		t.Error("no user is noted")
	}

	lists("--now")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got := lists()
		if got["post"].State == "running" && got["user"].State == "running" && got["post"].Asked == got["post"].IDs {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("X was not asked: %+v\n%s", got, h.stderr)
		}
	}
	out, errOut, code := h.gatehouse("connect", "compliance")
	if code != 0 || !strings.Contains(out, "WAITING") || !strings.Contains(out, demoX) {
		t.Errorf("connect compliance: %d\n%s%s", code, out, errOut)
	}
	if code := h.stop(); code != 0 {
		t.Errorf("exit status %d\n%s", code, h.stderr)
	}
	for _, id := range []string{page.Data[0].ID, page.Data[0].Author} {
		if strings.Contains(h.stderr.String(), id) {
			t.Error("the program's log holds an identifier")
		}
	}
	noTokens(t, h.box, "the program's log", []byte(h.stderr.String()))
	noTokensInFiles(t, h.box, h.dir)
}

// What X says must go becomes a duty, which the app is told of once; a user who is
// gone, and whose grant is held, is erased as well.
func TestFindingsBecomeDuties(t *testing.T) {
	h := newHouse(t)
	h.start()
	h.connectPerson(demoX, "ada", h.box.People()[0])
	if code := h.stop(); code != 0 {
		t.Fatalf("exit status %d\n%s", code, h.stderr)
	}
	err := with(t.Context(), &options{config: h.config}, func(p *parts) error {
		known, err := p.connect.List(t.Context(), connect.Selection{Subject: "ada"})
		if err != nil || len(known) != 1 {
			t.Fatalf("connected are %v, %v", known, err)
		}
		for range 2 {
			for _, f := range []compliance.Finding{
				{App: demoX, Kind: compliance.Post, ID: "1600000000000000001", Action: "delete", Reason: "deleted", Key: "job-1-1"},
				{App: demoX, Kind: compliance.User, ID: "424242", Action: "delete", Reason: "deleted", Key: "job-1-2"},
				{App: demoX, Kind: compliance.User, ID: known[0].PlatformUser, Action: "delete", Reason: "suspended", Key: "job-1-3"},
			} {
				if err := p.found(t.Context(), f); err != nil {
					t.Fatal(err)
				}
			}
		}
		duties, err := p.cases.List(t.Context(), cases.Filter{})
		if err != nil || len(duties) != 3 {
			t.Fatalf("the duties are %+v, %v", duties, err)
		}
		for _, d := range duties {
			if d.Kind != cases.ContentRemoved || d.Origin != cases.FromCompliance {
				t.Errorf("a duty is %+v", d)
			}
			if got, err := p.outbox.State(t.Context(), "content-"+d.ID); err != nil || got.Type != "content.delete" {
				t.Errorf("its event is %+v, %v", got, err)
			}
		}
		gone := compliance.Finding{App: demoX, Kind: compliance.User, ID: known[0].PlatformUser, Action: "delete", Reason: "deleted", Key: "job-2-1"}
		if err := p.found(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		about, err := p.cases.List(t.Context(), cases.Filter{Person: known[0].Person})
		if err != nil || len(about) != 1 || about[0].Kind != cases.Erasure {
			t.Errorf("about the person: %+v, %v", about, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	noTokensInFiles(t, h.box, h.dir)
}
