package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"gatehouse/internal/store/storetest"
)

// TestStory is the main job on both databases: people connect, an app calls both
// platforms with handles, one grant is ended, the program is stopped and started
// again, and nothing that the platforms issued is anywhere but in the vault.
func TestStory(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { story(t, newHouse(t)) })
	t.Run("postgres", func(t *testing.T) { story(t, newHouseOn(t, storetest.EmptyPostgres(t))) })
}

func story(t *testing.T, h *house) {
	h.start()
	ada, grace := h.box.People()[0], h.box.People()[1]
	x := h.connectPerson(demoX, "ada", ada)
	meta := h.connectPerson(demoFacebook, "grace", grace)
	var replies strings.Builder
	call := func(want int, method, path, handle string, body any) []byte {
		t.Helper()
		status, b, err := h.call(t.Context(), method, path, handle, body)
		if err != nil || status != want {
			t.Fatalf("%s %s: %d, %v, want %d\n%s", method, path, status, err, want, b)
		}
		replies.Write(b)
		return b
	}
	call(http.StatusOK, "GET", "/x/2/users/me", x.Handle, nil)
	call(http.StatusCreated, "POST", "/x/2/tweets", x.Handle, map[string]string{"text": "a story"})
	call(http.StatusForbidden, "GET", "/x/2/dm_events", x.Handle, nil)
	var pages struct {
		Data []struct {
			ID    string `json:"id"`
			Token string `json:"access_token"`
		} `json:"data"`
	}
	accounts := "/meta/v25.0/me/accounts?fields=id,access_token"
	if err := json.Unmarshal(call(http.StatusOK, "GET", accounts, meta.Handle, nil), &pages); err != nil || len(pages.Data) == 0 {
		t.Fatalf("pages: %v, %v", pages, err)
	}
	page := pages.Data[0]
	if !strings.HasPrefix(page.Token, "gth_hnd_") {
		t.Fatalf("the page's token is no handle: %q", page.Token)
	}
	call(http.StatusOK, "POST", "/meta/v25.0/"+page.ID+"/feed", page.Token, map[string]string{"message": "a story"})

	if code := h.stop(); code != 0 {
		t.Errorf("told to stop, the program ended with %d\n%s", code, h.stderr)
	}
	h.start()
	call(http.StatusOK, "GET", "/x/2/users/me", x.Handle, nil)
	again := call(http.StatusOK, "GET", accounts, meta.Handle, nil)
	if !strings.Contains(string(again), page.Token) {
		t.Error("after a restart the page has another handle")
	}

	// One grant ends from outside the running process, and its page with it; the
	// other stays.
	out, errOut, code := h.gatehouse("connect", "revoke", meta.Connection)
	if code != 0 || !strings.Contains(out, "revoked, here and at the platform") {
		t.Fatalf("connect revoke: %d %s%s", code, out, errOut)
	}
	if out, _, code := h.gatehouse("connect", "show", meta.Connection); code != 0 || !strings.Contains(out, `"next_step": "Nothing. To use it again`) {
		t.Errorf("connect show: %d %s", code, out)
	}
	call(http.StatusUnauthorized, "GET", "/meta/v25.0/me", meta.Handle, nil)
	call(http.StatusUnauthorized, "GET", "/meta/v25.0/"+page.ID+"/feed", page.Token, nil)
	call(http.StatusOK, "GET", "/x/2/users/me", x.Handle, nil)

	for _, command := range [][]string{
		{"audit", "verify"}, {"audit", "show", "-n", "1000", "--people"}, {"connect", "list", "--json"},
		{"service", "handle", "list", "--all", "--json"}, {"doctor"},
	} {
		out, errOut, code := h.gatehouse(command...)
		if code != 0 {
			t.Errorf("%s: exit status %d\n%s%s", strings.Join(command, " "), code, out, errOut)
		}
		noTokens(t, h.box, strings.Join(command, " "), []byte(out+errOut))
	}
	cmdline, err := os.ReadFile("/proc/self/cmdline")
	if err == nil {
		noTokens(t, h.box, "the command line", cmdline)
	}
	if code := h.stop(); code != 0 {
		t.Errorf("the second stop: exit status %d", code)
	}
	noTokens(t, h.box, "a reply", []byte(replies.String()))
	noTokens(t, h.box, "the program's log", []byte(h.stderr.String()))
	noTokensInFiles(t, h.box, h.dir)
}
