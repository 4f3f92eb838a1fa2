package connect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/store/storetest"
)

// The places at which a renewal can end, in their order: the steps between two
// writes, or between a write and the platform, and two in the platform itself.
// In the window the platform has rotated the tokens, and the answer is not
// durable yet: it is the one place where a grant is lost, and no design can help.
var killPoints = []struct {
	name string
	// after is what the next owner makes of it while the access token is good.
	after  connect.Status
	window bool
}{
	{"begin", connect.Healthy, false},
	{"logged", connect.Healthy, false},
	{"taken", connect.InDoubt, false},
	{"asking", connect.InDoubt, false},
	{"platform has the request", connect.InDoubt, false},
	{"platform has rotated", connect.InDoubt, true},
	{"answered", connect.InDoubt, true},
	{"sealed", connect.InDoubt, true},
	{"saved", connect.Healthy, false},
	{"settled", connect.Healthy, false},
}

// refreshGate lets a test interfere with the refreshes that reach X.
type refreshGate struct {
	mu            sync.Mutex
	before, after func() // called once, around the next refresh's effect
	effected      func() // called after each refresh's effect
	seen          []refreshed
}

// refreshed is one refresh as X saw it.
type refreshed struct {
	token, next string // next is "" if it was refused
	at          time.Time
}

func (g *refreshGate) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/2/oauth2/token" {
			next.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !strings.Contains(string(body), "grant_type=refresh_token") {
			next.ServeHTTP(w, r)
			return
		}
		g.mu.Lock()
		before, after, effected := g.before, g.after, g.effected
		g.before, g.after = nil, nil
		g.mu.Unlock()
		if before != nil {
			before()
			panic(http.ErrAbortHandler) // the request never reached what rotates
		}
		recorded := httptest.NewRecorder()
		next.ServeHTTP(recorded, r)
		var pair struct {
			Refresh string `json:"refresh_token"`
		}
		_ = json.Unmarshal(recorded.Body.Bytes(), &pair)
		form, _ := url.ParseQuery(string(body))
		g.mu.Lock()
		g.seen = append(g.seen, refreshed{form.Get("refresh_token"), pair.Refresh, time.Now()})
		g.mu.Unlock()
		if effected != nil {
			effected()
		}
		if after != nil {
			after()
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), recorded.Header())
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(recorded.Body.Bytes())
	})
}

// set has the next refresh interrupted before or after its effect.
func (g *refreshGate) set(before, after func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before, g.after = before, after
}

// The process that renews is killed at every place, in strict single-use mode.
// At every place but the window the old or the new pair works afterwards; the
// window ends in doubt, and then in the correct verdict. On PostgreSQL a second
// process works on the same database and calls all the time.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, family := range []bool{false, true} {
		t.Run(fmt.Sprintf("family=%t", family), func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, dsn string) {
				t.Parallel() // most of the time is spent waiting for leases
				killEverywhere(t, dsn, family)
			})
		})
	}
}

func killEverywhere(t *testing.T, dsn string, family bool) {
	const hurry = 40 // a lease of one second, half a second to ask
	gate := &refreshGate{}
	w := connecttest.New(t, dsn, connecttest.Options{FamilyKill: family, Platform: gate.around})
	raw := storetest.OpenRaw(t, dsn)
	shared := strings.HasPrefix(dsn, "postgres")
	var other *process
	if shared {
		other = start(t, w, hurry, false)
	}
	var lost []string
	for i, point := range killPoints {
		id := w.Connect(fmt.Sprintf("user-%d", i), "publish", connecttest.Person(i)).ID
		victim := start(t, w, hurry, false)
		stop := make(chan struct{})
		var calls sync.WaitGroup
		if shared {
			calls.Go(func() { callAllTheTime(t, other, id, stop) })
		}
		die(t, raw, gate, victim, id, point.name)
		close(stop)
		calls.Wait()
		if !shared {
			other = start(t, w, hurry, false) // the program is started again
		}
		if grantLost(t, w, raw, other, id, point.name, point.after) {
			lost = append(lost, point.name)
		}
		if !shared {
			other.end()
		}
	}
	var window []string
	for _, point := range killPoints {
		if point.window {
			window = append(window, point.name)
		}
	}
	if !slices.Equal(lost, window) {
		t.Errorf("grants were lost at %q, and can only be lost at %q", lost, window)
	}
}

// callAllTheTime calls with a connection from another process until stop; no
// call may fail.
func callAllTheTime(t *testing.T, p *process, id gatehouse.ConnectionID, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
		if r, err := p.order(order{Call: id}); err != nil || r.Status != http.StatusOK {
			t.Errorf("the other process's call gives %+v, %v", r, err)
			return
		}
	}
}

// die has the victim renew the connection and die in it. Another process may be
// faster; then the connection is made due again.
func die(t *testing.T, raw *storetest.Raw, gate *refreshGate, victim *process, id gatehouse.ConnectionID, point string) {
	t.Helper()
	for range 50 {
		o := order{Call: id, Kill: point}
		switch point {
		case "platform has the request":
			gate.set(victim.killAndWait, nil)
		case "platform has rotated":
			gate.set(nil, victim.killAndWait)
		}
		raw.Exec("UPDATE connections SET renew_at = 1000000 WHERE id = $1", string(id))
		if _, err := victim.order(o); err != nil {
			return
		}
	}
	t.Fatal("the process does not die")
}

func (p *process) killAndWait() {
	p.kill()
	<-p.died
}

// grantLost looks at what the next owner makes of a connection whose owner died.
func grantLost(t *testing.T, w *connecttest.World, raw *storetest.Raw, next *process, id gatehouse.ConnectionID, point string, want connect.Status) bool {
	t.Helper()
	try := func(what string) reply {
		t.Helper()
		r, err := next.order(order{Call: id})
		if err != nil {
			t.Fatalf("killed at %q, %s: %v", point, what, err)
		}
		return r
	}
	// The access token is good: whatever happened, calls go on.
	if r := try("next call"); r.Status != http.StatusOK {
		t.Errorf("killed at %q, the next call gives %+v", point, r)
	}
	status := func() connect.Connection {
		t.Helper()
		rec, err := w.DB.Connect().Connection(t.Context(), id)
		if err != nil || rec.Access == nil || rec.Refresh == nil {
			t.Fatalf("killed at %q: tokens are gone: %v", point, err)
		}
		c, err := w.Connections.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := status(); c.Status != want || (want == connect.InDoubt) != (c.Reason != "") {
		t.Errorf("killed at %q, the connection is %s (%s), want %s", point, c.Status, c.Reason, want)
	}
	// Now the access token has expired, and only the refresh token counts.
	expire := func() {
		raw.Exec("UPDATE connections SET access_expires = 1000000, renew_at = 1000000, updated = 1000000 WHERE id = $1", string(id))
	}
	expire()
	r := try("call after expiry")
	if r.Status == http.StatusOK {
		expire()
		if r = try("second call after expiry"); r.Status != http.StatusOK || status().Status != connect.Healthy {
			t.Errorf("killed at %q, later the call gives %+v and the connection is %s", point, r, status().Status)
		}
		return false
	}
	if r.Rule != "connect/reconnect-needed" || status().Status != connect.ReconnectNeeded {
		t.Errorf("killed at %q, after expiry the call gives %+v and the connection is %s", point, r, status().Status)
	}
	return true
}

// The window's width: from the platform's rotation until the new pair is
// durable, and how much of it is ours.
func TestWindowIsMeasured(t *testing.T) {
	const rounds = 60
	storetest.Each(t, func(t *testing.T, dsn string) {
		gate := &refreshGate{}
		w := connecttest.New(t, dsn, connecttest.Options{Platform: gate.around})
		id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
		raw := storetest.OpenRaw(t, dsn)
		var rotated, answered time.Time
		var whole, ours []time.Duration
		gate.effected = func() { rotated = time.Now() }
		w.Connections.OnStep(func(step string) {
			switch step {
			case "answered":
				answered = time.Now()
			case "saved":
				whole, ours = append(whole, time.Since(rotated)), append(ours, time.Since(answered))
			}
		})
		for range rounds {
			raw.Exec("UPDATE connections SET renew_at = 1000000")
			call(t, w, id)
		}
		if len(whole) != rounds {
			t.Fatalf("%d of %d renewals were measured", len(whole), rounds)
		}
		slices.Sort(whole)
		slices.Sort(ours)
		t.Logf("from rotation to a durable pair on %s: median %s, worst %s; after the reply's arrival: median %s, worst %s",
			strings.SplitN(dsn, ":", 2)[0], whole[rounds/2], whole[rounds-1], ours[rounds/2], ours[rounds-1])
		if whole[rounds/2] > time.Second {
			t.Errorf("the window is open for %s", whole[rounds/2])
		}
	})
}
