package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/store/storetest"
)

// TestServiceKeys is the life of a key: made for one purpose, used, rotated, and what
// the commands say of it.
func TestServiceKeys(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"create", "demo", "--purpose", "nothing"}, 1, `may not call for purpose "nothing"`},
		{[]string{"create", "demo", "--purpose", ""}, 2, "--purpose"},
		{[]string{"create", "demo", "--purpose", "publish", "--no-purpose"}, 2, "exclude"},
		{[]string{"create", "demo", "--no-expiry", "--expires-in", "1h"}, 2, "exclude"},
		{[]string{"create", "demo", "--expires-in", "-1h"}, 2, "--expires-in"},
		{[]string{"rotate", "nothing"}, 1, "no"},
		{[]string{"rotate", "nothing", "--overlap", "-1h"}, 2, "--overlap"},
	} {
		if out, errOut, code := h.gatehouse(append([]string{"service", "key"}, test.args...)...); code != test.code || !strings.Contains(errOut, test.says) {
			t.Errorf("%s: exit status %d, want %d with %q\n%s%s", strings.Join(test.args, " "), code, test.code, test.says, out, errOut)
		}
	}
	type answer struct {
		ID, Key, Purpose, Service string
		Expires                   string `json:"expires_at"`
	}
	key := func(args ...string) (a answer) {
		t.Helper()
		out, errOut, code := h.gatehouse(append([]string{"service", "key"}, append(args, "--json")...)...)
		if code != 0 {
			t.Fatalf("%v: %s", args, errOut)
		}
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	made := key("create", "demo", "--purpose", "publish", "--expires-in", "48h")
	if made.Purpose != "publish" || made.Expires == "" || made.Service != "demo" {
		t.Errorf("made %+v", made)
	}
	endless := key("create", "demo", "--no-expiry")

	h.start()
	get := func(key, path string) int {
		t.Helper()
		status, _, err := h.call(t.Context(), "GET", path, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if status := get(made.Key, "/gatehouse/v1/me"); status != http.StatusOK {
		t.Errorf("the key gives %d", status)
	}
	if status := get(made.Key, "/gatehouse/v1/duties"); status != http.StatusForbidden {
		t.Errorf("what belongs to no purpose gives %d for a bound key, want 403", status)
	}
	x := h.connectPerson(demoX, "ada", h.box.People()[0])
	if status := get(x.Handle, "/x/2/users/me"); status != http.StatusOK {
		t.Errorf("a call gives %d", status)
	}
	if code := h.stop(); code != 0 { // what was used is stored
		t.Fatalf("exit status %d\n%s", code, h.stderr)
	}
	next := key("rotate", made.ID, "--overlap", "1h")
	if next.Purpose != "publish" || next.ID == made.ID || next.Key == made.Key {
		t.Errorf("rotated to %+v", next)
	}
	if _, errOut, code := h.gatehouse("service", "key", "rotate", made.ID); code != 1 || !strings.Contains(errOut, "--again") || strings.Contains(errOut, next.Key) {
		t.Errorf("rotated twice: %d %s", code, errOut)
	}
	last := key("rotate", made.ID, "--again", "--expires-in", "1h")

	out, errOut, code := h.gatehouse("service", "key", "list", "demo", "--json")
	var list []serviceKeyRow
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 {
		t.Fatalf("%v %s", err, errOut)
	}
	states := map[string]serviceKeyRow{}
	for _, k := range list {
		states[k.ID] = k
	}
	for id, want := range map[string]string{made.ID: "replaced", next.ID: "revoked", last.ID: "in use", endless.ID: "in use"} {
		if states[id].State != want {
			t.Errorf("key %s is %+v, want %s", id, states[id], want)
		}
	}
	if k := states[made.ID]; k.Used == "" || k.From != "127.0.0.0/24" || k.Uses != 2 || k.Successor != last.ID {
		t.Errorf("the used key is %+v", k)
	}
	out, _, _ = h.gatehouse("doctor")
	for _, says := range []string{"wider than needed", "without an end", endless.ID} {
		if !strings.Contains(out, says) {
			t.Errorf("doctor does not say %q:\n%s", says, out)
		}
	}
	if strings.Contains(out, "nothing takes its place") {
		t.Errorf("doctor warns of the end of a key that is replaced or new:\n%s", out)
	}
	out, _, _ = h.gatehouse("service", "list", "--json")
	var services []struct {
		Keys, Wide int
		WideKeys   int    `json:"wide_keys"`
		Used       string `json:"last_used_at"`
	}
	if err := json.Unmarshal([]byte(out), &services); err != nil || len(services) != 1 || services[0].Keys != 4 || services[0].WideKeys != 2 || services[0].Used == "" {
		t.Errorf("service list: %s", out)
	}
	out, _, _ = h.gatehouse("policy", "unused", "--json")
	if !strings.Contains(out, endless.ID) || strings.Contains(out, last.ID) {
		t.Errorf("policy unused names the wide key alone: %s", out)
	}
	// Near its end it is an alarm, with what to do.
	raw := storetest.OpenRaw(t, h.load().Store.Text().Reveal())
	raw.Exec("UPDATE service_keys SET created = 1, expires = ? WHERE id = ?", time.Now().Add(time.Hour).UnixMicro(), last.ID)
	if out, _, code := h.gatehouse("doctor"); code != 1 || !strings.Contains(out, "gatehouse service key rotate "+last.ID) {
		t.Errorf("doctor: exit status %d\n%s", code, out)
	}
	if _, errOut, _ := h.gatehouse("service", "list"); !strings.Contains(errOut, "gatehouse service key rotate "+last.ID) {
		t.Errorf("service list does not warn: %s", errOut)
	}
	h.start() // says so once
	told := func() int {
		out, _, _ := h.gatehouse("events", "list", "--json")
		return strings.Count(out, "service_key.ending")
	}
	for range 100 {
		if told() > 0 {
			break
		}
	}
	if code := h.stop(); code != 0 {
		t.Fatalf("exit status %d\n%s", code, h.stderr)
	}
	if n := told(); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// TestWideKeysAreTold: a key for everything is made as it always was, and says so unless
// it is meant.
func TestWideKeysAreTold(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		args   []string
		warned bool
	}{
		{nil, true}, {[]string{"--all-purposes"}, false}, {[]string{"--purpose", "publish"}, false}, {[]string{"--no-purpose"}, false},
	} {
		out, errOut, code := h.gatehouse(append([]string{"service", "key", "create", "demo"}, c.args...)...)
		told := strings.Contains(errOut, "--purpose NAME, --no-purpose; --all-purposes")
		if code != exitDone || !strings.HasPrefix(out, "gth_svc_") || strings.Count(out, "\n") != 1 || told != c.warned {
			t.Errorf("%v: exit status %d, %q\n%s", c.args, code, out, errOut)
		}
	}
	for _, args := range [][]string{{"--all-purposes", "--no-purpose"}, {"--all-purposes", "--purpose", "publish"}} {
		if _, errOut, code := h.gatehouse(append([]string{"service", "key", "create", "demo"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit status %d\n%s", args, code, errOut)
		}
	}
}
