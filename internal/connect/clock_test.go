package connect_test

import (
	"strconv"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// recorded returns the log's entries of an action, oldest first.
func recorded(t *testing.T, w *connecttest.World, action string) []audit.Shown {
	t.Helper()
	if err := w.Log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, err := audit.List(t.Context(), w.DB.Audit(), audit.Filter{Action: action, Last: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// A clock that differs much is in the log once, and once when it agrees again:
// what lies between large and small is neither.
func TestClockIsRecorded(t *testing.T) {
	t.Parallel()
	clock := &world.Clock{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Clock: clock})
	find := func(c *connect.Connections, p gatehouse.Platform) connect.Clock {
		for _, k := range c.Clocks() {
			if k.Platform == p {
				return k
			}
		}
		t.Fatalf("no clock of %s", p)
		return connect.Clock{}
	}
	if k := find(w.Connections, gatehouse.X); k.Known || k.Large || !k.At.IsZero() {
		t.Errorf("before anything was measured: %+v", k)
	}
	var want []string
	for i, c := range []struct {
		skew  time.Duration
		large bool
		entry string
	}{
		{10 * time.Second, false, ""},
		{2 * time.Minute, true, "large"},
		{3 * time.Minute, true, ""},
		{25 * time.Second, true, ""},
		{5 * time.Second, false, "small"},
		{25 * time.Second, false, ""},
		{-time.Minute, true, "large"},
	} {
		clock.SetSkew(c.skew)
		w.Connect("user-"+c.skew.String(), "publish", connecttest.Person(i))
		for range 2 {
			tend(t, w.Connections)
		}
		k := find(w.Connections, gatehouse.X)
		if !k.Known || k.Large != c.large || (k.Offset-c.skew).Abs() > 2*time.Second || time.Since(k.At) > time.Minute {
			t.Errorf("at %s: %+v", c.skew, k)
		}
		if c.entry != "" {
			want = append(want, c.entry)
		}
		var got []string
		for _, e := range recorded(t, w, "platform.clock") {
			got = append(got, e.Facts["difference"])
			if seconds, err := strconv.Atoi(e.Facts["platform_ahead_seconds"]); err != nil || e.Platform != gatehouse.X || (max(seconds, -seconds) >= 30) != (e.Facts["difference"] == "large") {
				t.Errorf("the entry's facts are %v", e.Facts)
			}
		}
		if !cmp.Equal(got, want) {
			t.Errorf("at %s the log holds %q, want %q", c.skew, got, want)
		}
	}
}

// Whoever asks for the time learns it without a credential; a platform that is
// away is not known.
func TestClocksAreMeasured(t *testing.T) {
	t.Parallel()
	clock := &world.Clock{}
	clock.SetSkew(5 * time.Minute)
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Clock: clock})
	for _, k := range w.Connections.MeasureClocks(t.Context()) {
		if !k.Known || !k.Large || (k.Offset-5*time.Minute).Abs() > 2*time.Second || (k.Platform == gatehouse.OAuth2) != (k.App == "other") {
			t.Errorf("%+v", k)
		}
	}
	for _, r := range w.Requests.Last(100) {
		if r.Credential != "none" {
			t.Errorf("%s %s carried %s", r.Method, r.Path, r.Credential)
		}
	}
	w.Egress.CloseIdle()
	w.StopX()
	for _, k := range w.Open(connecttest.Options{}).MeasureClocks(t.Context()) {
		if away := k.Platform == gatehouse.X || k.Platform == gatehouse.OAuth2; k.Known == away {
			t.Errorf("with X away: %+v", k)
		}
	}
}
