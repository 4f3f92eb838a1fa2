package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// kills is how often the whole program is killed.
const kills = 50

// TestKilledDuringTraffic kills the program at random moments while calls and
// API writes go through it. After each kill the log verifies, every handle that
// was acknowledged exists, and every call that was answered has its entry.
func TestKilledDuringTraffic(t *testing.T) {
	h := newHouse(t)
	h.start()
	grant := h.connectPerson(demoX, "ada", h.box.People()[0])
	h.kill()

	var acknowledged struct {
		sync.Mutex
		handles []string // ids
		posts   int
	}
	for round := range kills {
		h.start()
		before := acknowledged.posts
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		for range 3 {
			workers.Go(func() {
				for ctx.Err() == nil {
					status, body, err := h.call(ctx, http.MethodPost, "/x/2/tweets", grant.Handle, map[string]string{"text": crand.Text()})
					if err != nil {
						return // killed
					}
					if status != http.StatusCreated && status != http.StatusTooManyRequests {
						t.Errorf("round %d: POST /2/tweets answered %d", round, status)
					}
					if bytes.Contains(body, []byte("limit/service-rate")) {
						time.Sleep(time.Millisecond)
						continue // refused before there was an intent
					}
					acknowledged.Lock()
					acknowledged.posts++
					acknowledged.Unlock()
				}
			})
		}
		workers.Go(func() {
			api := h.api()
			for ctx.Err() == nil {
				var made struct {
					ID string `json:"id"`
				}
				err := api.do(ctx, http.MethodPost, "/gatehouse/v1/handles", map[string]any{"connection": grant.Connection, "purpose": "publish"}, &made)
				if err != nil {
					return // killed
				}
				acknowledged.Lock()
				acknowledged.handles = append(acknowledged.handles, made.ID)
				acknowledged.Unlock()
			}
		})
		if round%4 > 0 {
			// A slow machine has answered nothing yet.
			eventually(t, "a call is answered", func() bool {
				acknowledged.Lock()
				defer acknowledged.Unlock()
				return acknowledged.posts > before || t.Failed()
			})
		}
		time.Sleep(time.Duration(rand.IntN(140)) * time.Millisecond)
		h.kill()
		cancel()
		workers.Wait()

		out, errOut, code := h.gatehouse("audit", "verify", "--json")
		if code != 0 {
			t.Fatalf("round %d: audit verify: exit status %d\n%s%s", round, code, out, errOut)
		}
	}

	h.start()
	have := handleSet(t, h)
	for _, id := range acknowledged.handles {
		if !have[id] {
			t.Errorf("handle %s was acknowledged and is gone", id)
		}
	}
	out, errOut, code := h.gatehouse("audit", "show", "--json", "-n", "100000", "--operation", "POST /2/tweets")
	if code != 0 {
		t.Fatalf("audit show: %s", errOut)
	}
	var entries []struct {
		Kind      string `json:"kind"`
		Operation string `json:"operation"`
	}
	if err := json.Unmarshal([]byte(out), &entries); err != nil {
		t.Fatal(err)
	}
	intents := 0
	for _, e := range entries {
		if e.Kind == "intent" {
			intents++
		}
	}
	if intents < acknowledged.posts || acknowledged.posts < kills*3/4 {
		t.Errorf("%d calls were answered and %d intents are in the log; want at least as many, and at least %d calls", acknowledged.posts, intents, kills*3/4)
	}
	t.Logf("%d kills, %d answered calls, %d intents, %d handles", kills, acknowledged.posts, intents, len(acknowledged.handles))
}

// handleSet returns the ids of all handles.
func handleSet(t *testing.T, h *house) map[string]bool {
	t.Helper()
	out, errOut, code := h.gatehouse("service", "handle", "list", "--all", "--json")
	if code != 0 {
		t.Fatalf("handle list: %s", errOut)
	}
	var list []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for _, l := range list {
		set[l.ID] = true
	}
	return set
}
