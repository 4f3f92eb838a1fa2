package connect_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/store/storetest"
)

// soak is a run of two processes on one database.
type soak struct {
	t         *testing.T
	w         *connecttest.World
	mu        sync.Mutex
	processes [2]*process
	deaths    []time.Time
	lost      atomic.Int64
	calls     atomic.Int64
	broken    atomic.Int64
}

const soakTTL = 2 * time.Second

// process returns one of the two, the other one at the next try.
func (s *soak) process(n int) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.processes[n%2]
}

// replace starts a process in the place of one that died.
func (s *soak) replace(n int) {
	fresh := start(s.t, s.w, 16, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes[n%2] = fresh
}

// caller calls with one connection until stop, and tries once more when the
// process it talks to dies. It ends when the grant is lost.
func (s *soak) caller(id gatehouse.ConnectionID, lost func(), stop chan struct{}) {
	for n := rand.IntN(2); ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(50+rand.IntN(100)) * time.Millisecond):
		}
		s.calls.Add(1)
		r, err := s.process(n).order(order{Call: id})
		if err != nil {
			s.broken.Add(1)
			n++
			r, err = s.process(n).order(order{Call: id})
		}
		switch {
		case err == nil && r.Status == http.StatusOK:
		case err == nil && r.Rule == "connect/reconnect-needed":
			lost()
			return
		default:
			s.t.Errorf("a call gives %+v, %v", r, err)
		}
	}
}

// Callers use connections with tokens that live for two seconds, in two
// processes on one PostgreSQL that are killed now and then: one refresh for each
// expiry, no failed call that the platform did not cause, and no grant lost but
// to a kill inside the window. GATEHOUSE_TEST_SOAK=1m runs the whole size.
func TestSoakWithKills(t *testing.T) {
	connections, callers, length := 8, 4, 14*time.Second
	if text := os.Getenv("GATEHOUSE_TEST_SOAK"); text != "" {
		connections, length = 50, must(time.ParseDuration(text))(t)
	}
	gate := &refreshGate{}
	s := &soak{t: t, w: connecttest.New(t, storetest.Postgres(t), connecttest.Options{XTokenTTL: soakTTL, Platform: gate.around})}
	s.replace(0)
	s.replace(1)
	stop := make(chan struct{})
	var running sync.WaitGroup
	ids := make([]gatehouse.ConnectionID, connections)
	for i := range connections {
		ids[i] = s.w.Connect(fmt.Sprintf("user-%d", i), "publish", connecttest.Person(i)).ID
		var once sync.Once
		lost := func() { once.Do(func() { s.lost.Add(1) }) }
		for range callers {
			running.Go(func() { s.caller(ids[i], lost, stop) })
		}
	}
	// Random kills, and some at a chosen place: the first inside the window.
	end := time.Now().Add(length)
	for n := 0; time.Now().Add(4 * time.Second).Before(end); n++ {
		time.Sleep(time.Duration(rand.Int64N(int64(time.Second))))
		victim := s.process(n)
		switch n % 3 {
		case 0:
			victim.tell(order{Kill: "answered"})
		case 1:
			victim.tell(order{Kill: "asking"})
		case 2:
			victim.kill()
		}
		select {
		case <-victim.died:
		case <-time.After(5 * time.Second):
			t.Error("the process does not die")
		}
		s.deaths = append(s.deaths, time.Now())
		s.replace(n)
		time.Sleep(3 * time.Second) // as long as a lease, so that a call is broken once at most
	}
	time.Sleep(time.Until(end))
	close(stop)
	running.Wait()
	usable := 0
	for i, id := range ids {
		r, err := s.process(i).order(order{Call: id})
		if err != nil || (r.Status != http.StatusOK && r.Rule != "connect/reconnect-needed") {
			t.Errorf("in the end a call gives %+v, %v", r, err)
		}
		if r.Status == http.StatusOK {
			usable++
		}
	}
	if usable+int(s.lost.Load()) != connections {
		t.Errorf("%d of %d connections work in the end, and %d were lost", usable, connections, s.lost.Load())
	}
	s.check(gate)
}

// check compares what X saw with what was done to the processes.
func (s *soak) check(gate *refreshGate) {
	gate.mu.Lock()
	defer gate.mu.Unlock()
	rotated, lost := map[string]time.Time{}, 0
	for _, r := range gate.seen {
		before, spent := rotated[r.token]
		if r.next == "" {
			// The old token was tried again after a doubt. That it was spent is
			// right only if its answer died with a process.
			lost++
			matched := false
			for _, death := range s.deaths {
				matched = matched || (death.Sub(before).Abs() < time.Second)
			}
			if !spent || !matched {
				s.t.Errorf("a grant was lost and no process died then")
			}
			continue
		}
		rotated[r.token] = r.at
	}
	// Each token that X issued was refreshed once, and none long before its end.
	issued := map[string]time.Time{}
	for _, r := range gate.seen {
		if at, chained := issued[r.token]; chained && r.next != "" && r.at.Sub(at) < soakTTL*2/5 {
			s.t.Errorf("a token %s old was refreshed", r.at.Sub(at))
		}
		issued[r.next] = r.at
	}
	s.t.Logf("%d calls, %d broken by %d kills, %d refreshes, %d grants lost in the window",
		s.calls.Load(), s.broken.Load(), len(s.deaths), len(gate.seen), lost)
	if s.lost.Load() != int64(lost) || lost == 0 {
		s.t.Errorf("%d grants were lost, and X refused %d spent tokens; the first kill is in the window", s.lost.Load(), lost)
	}
}
