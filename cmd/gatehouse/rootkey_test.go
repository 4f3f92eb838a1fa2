package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/vault/kms/kmstest"
)

// TestCallsGoOnWithoutTheKeyManagementSystem loses the root key's system while a
// connection is in use: no call fails, the loss is told, and a refusal closes the
// gates.
func TestCallsGoOnWithoutTheKeyManagementSystem(t *testing.T) {
	f, token := kmstest.NewTransit(false)
	t.Cleanup(f.Close)
	f.AddKey("gatehouse")
	t.Setenv("TEST_TRANSIT_TOKEN", token)
	h := newHouseWith(t, "root_key: file:root.key", "root_key: transit:"+f.URL+`/transit/keys/gatehouse
root_key_access: {token: env:TEST_TRANSIT_TOKEN}
limits: {hold_domain_keys: 1s}`)
	h.start()
	grant := h.connectPerson(demoFacebook, "grace", h.box.People()[1])
	call := func() int {
		status, _, err := h.call(t.Context(), http.MethodGet, "/meta/v25.0/me", grant.Handle, nil)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	health := func() string {
		_, body, err := h.call(t.Context(), http.MethodGet, "/gatehouse/v1/health", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	calls := 0
	until := func(word string, want int) {
		t.Helper()
		for range 200 {
			if status := call(); status != want && (want != 0 || status != http.StatusOK && status != http.StatusServiceUnavailable) {
				t.Fatalf("call %d on the way to %q: status %d, want %d", calls, word, status, want)
			}
			calls++
			if strings.Contains(health(), word) {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("health never says %q: %s", word, health())
	}
	until(`"answers"`, http.StatusOK)
	f.Break(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	until(`"lost"`, http.StatusOK)
	for range 20 {
		if status := call(); status != http.StatusOK {
			t.Fatalf("while the root key is lost: status %d", status)
		}
	}
	f.Break(nil)
	until(`"answers"`, http.StatusOK)
	f.Deny(true)
	until(`"refuses"`, 0)
	if status := call(); status == http.StatusOK {
		t.Error("a call goes through although the root key refuses")
	}
	f.Deny(false)
	for range 200 {
		if call() == http.StatusOK {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	until(`"answers"`, http.StatusOK)
	if code := h.stop(); code != 0 {
		t.Errorf("stopped with %d\n%s", code, h.stderr)
	}
	out, errOut, code := h.gatehouse("audit", "show", "--json", "-n", "1000")
	for _, action := range []string{"keys.kms.lost", "keys.kms.back"} {
		if code != 0 || strings.Count(out, action) < 2 {
			t.Errorf("the log has %d entries %s, want two (%s)", strings.Count(out, action), action, errOut)
		}
	}
	if out, errOut, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Errorf("audit verify: %s%s", out, errOut)
	}
	if strings.Contains(h.stderr.String(), token) {
		t.Error("the program's log holds the token")
	}
}
