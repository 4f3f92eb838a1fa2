package compliance_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/compliance"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/platform"
	"gatehouse/internal/store/storetest"
)

// What was delivered and is gone at X is found, once, and asked about no more;
// what is still there stays in the index.
func TestWhatIsGoneIsFound(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		posts, user := d.posts(5, 3), d.user(7)
		stranger := d.posts(6, 1)[0]
		d.deliver(d.k, platform.PostReference, posts...)
		d.deliver(d.k, platform.UserReference, user, d.user(5))
		d.X.Redact(posts[0], "deleted")
		d.X.Redact(posts[1], "scrub_geo")
		d.X.Redact(stranger, "deleted") // never delivered
		d.X.SetStanding(connecttest.Person(7), "suspended")

		d.run(d.k)
		want := []string{"post " + posts[0] + " deleted", "post " + posts[1] + " scrub_geo", "user " + user + " suspended"}
		got := d.taken()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("found %q, want %q", got, want)
		}
		for _, f := range d.found {
			if f.App != "main-x" || f.Action != "delete" || f.Key == "" || time.Since(f.At) > time.Hour && f.Kind == compliance.Post {
				t.Errorf("incomplete: %+v", f)
			}
			if strings.Contains(f.Key, f.ID) {
				t.Errorf("the key holds the identifier: %s", f.Key)
			}
		}
		s := d.status(d.k)
		if p := s[compliance.Post]; p.IDs != 2 || p.Jobs != 1 || p.Sent != 3 || p.Found != 2 || p.Ended.IsZero() || p.Reason != "" || p.Oldest.IsZero() {
			t.Errorf("the posts' status is %+v", p)
		}
		if u := s[compliance.User]; u.IDs != 1 || u.Found != 1 {
			t.Errorf("the users' status is %+v", u)
		}

		// The next run tells nothing twice.
		d.run(d.k)
		if got := d.taken(); len(got) != 3 {
			t.Errorf("the second run told again: %q", got)
		}
		d.checkLog()
	})
}

// checkLog fails if the log holds an identifier, or an intent without an outcome.
func (d *desk) checkLog() {
	d.t.Helper()
	if err := d.Log.Flush(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	open := map[string]bool{}
	for _, action := range []string{"compliance.submit", "compliance.result"} {
		all, err := audit.List(d.t.Context(), d.DB.Audit(), audit.Filter{Last: 1000, Action: action})
		if err != nil || len(all) == 0 {
			d.t.Fatalf("there are %d entries of %s, %v", len(all), action, err)
		}
		for _, e := range all {
			if e.Kind == audit.KindIntent {
				open[e.ID] = true
			} else {
				delete(open, e.Intent)
			}
			for k, v := range e.Facts {
				if len(v) > 12 {
					d.t.Errorf("fact %s of %s is %q", k, action, v)
				}
			}
		}
	}
	if len(open) > 0 {
		d.t.Errorf("%d intents have no outcome", len(open))
	}
	for _, f := range d.found {
		if strings.Contains(d.lines.String(), f.ID) {
			d.t.Errorf("the program's log holds the identifier %s", f.ID)
		}
	}
	if strings.Contains(d.lines.String(), "signature=") {
		d.t.Error("the program's log holds an address of X's storage")
	}
}

// A list that is larger than a job becomes several, one after the other: X runs
// one job of a kind at a time.
func TestLargeListsAreSplit(t *testing.T) {
	var open, most atomic.Int32
	storetest.Each(t, func(t *testing.T, dsn string) {
		d := newDesk(t, dsn, func(d *desk, _ *connecttest.Options) { d.bound.PerJob, d.bound.Page = 10, 3 },
			between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.Method == http.MethodPost && r.URL.Path == "/2/compliance/jobs" {
					most.Store(max(most.Load(), open.Add(1)))
				}
				next.ServeHTTP(w, r)
				if strings.HasSuffix(r.URL.Path, "/download") {
					open.Add(-1)
				}
			}))
		posts := d.posts(5, 25)
		d.deliver(d.k, platform.PostReference, posts...)
		for _, gone := range []int{0, 11, 24} {
			d.X.Redact(posts[gone], "deleted")
		}
		d.run(d.k)
		if s := d.status(d.k)[compliance.Post]; s.Jobs != 3 || s.Sent != 25 || s.Found != 3 || len(d.taken()) != 3 || s.IDs != 22 {
			t.Errorf("found %q, status %+v", d.taken(), s)
		}
		if most.Load() != 1 {
			t.Errorf("%d jobs were open at once", most.Load())
		}
	})
}

// The platform's credential goes to the platform's API and nowhere else.
func TestStorageGetsNoCredential(t *testing.T) {
	var mu sync.Mutex
	var bad []string
	storage := 0
	each(t, func(t *testing.T, d *desk) {
		d.deliver(d.k, platform.PostReference, d.posts(5, 2)...)
		d.run(d.k)
		mu.Lock()
		defer mu.Unlock()
		if len(bad) > 0 || storage < 2 {
			t.Errorf("of %d requests to the storage: %q", storage, bad)
		}
	}, between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasPrefix(r.URL.Path, "/compliance/") {
			mu.Lock()
			storage++
			for _, name := range []string{"Authorization", "Cookie", "X-Api-Key"} {
				if r.Header.Get(name) != "" {
					bad = append(bad, name)
				}
			}
			if r.Method == http.MethodPut && (r.Header.Get("Content-Type") != "text/plain" || r.ContentLength <= 0) {
				bad = append(bad, "the upload's type or length")
			}
			mu.Unlock()
		}
		w.Header().Set("Set-Cookie", "a=b")
		next.ServeHTTP(w, r)
	}))
}

// Killed anywhere, the work goes on: every finding is taken over under one key,
// and no job is made twice.
func TestAbandonedAtEveryStep(t *testing.T) {
	steps := []string{"named", "made", "listed", "uploaded", "before-save", "stored", "read", "claimed", "taken"}
	each(t, func(t *testing.T, d *desk) {
		for person, step := range steps {
			t.Run(step, func(t *testing.T) {
				posts := d.posts(10+person, 2)
				d.deliver(d.k, platform.PostReference, posts...)
				d.X.Redact(posts[0], "deleted")
				d.mu.Lock()
				d.found = nil
				d.mu.Unlock()
				jobs := d.arrived(http.MethodPost, "/2/compliance/jobs")
				var reached atomic.Int32 // both lists are worked on at once
				d.k.OnStep(func(at string) error {
					if at == step {
						reached.Add(1)
						return errors.New("killed")
					}
					return nil
				})
				if err := d.k.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				for range 20 {
					_ = d.k.Tend(t.Context())
					_ = d.k.HandOver(t.Context())
					if reached.Load() > 0 {
						break
					}
				}
				if reached.Load() == 0 {
					t.Fatal("the step was not reached")
				}
				d.k = d.openAgain()
				d.finish(d.k)
				got := d.taken()
				if len(got) == 0 || slices.ContainsFunc(got, func(f string) bool { return f != "post "+posts[0]+" deleted" }) {
					t.Errorf("found %q", got)
				}
				keys := map[string]bool{}
				for _, f := range d.found {
					keys[f.Key] = true
				}
				if len(keys) != 1 || step != "taken" && len(got) != 1 {
					t.Errorf("it was handed over %d times under %d keys", len(got), len(keys))
				}
				// Each kind that has a list makes one.
				if n := d.arrived(http.MethodPost, "/2/compliance/jobs") - jobs; n != 1 {
					t.Errorf("%d jobs were made", n)
				}
			})
		}
	})
}

// What nobody takes over waits, and is handed over again under the same key.
func TestRefusedFindingsComeAgain(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		posts := d.posts(5, 2)
		d.deliver(d.k, platform.PostReference, posts...)
		d.X.Redact(posts[0], "deleted")
		d.refuse = errors.New("not now")
		d.run(d.k)
		if s := d.status(d.k)[compliance.Post]; s.Waiting != 1 || s.IDs != 2 {
			t.Errorf("the status is %+v", s)
		}
		// Another run finds it again, and does not double it.
		d.run(d.k)
		if s := d.status(d.k)[compliance.Post]; s.Waiting != 1 || s.Found != 1 {
			t.Errorf("after another run the status is %+v", s)
		}
		d.refuse = nil
		d.finish(d.k)
		if got := d.taken(); len(got) != 1 {
			t.Errorf("found %q", got)
		}
		if s := d.status(d.k)[compliance.Post]; s.Waiting != 0 || s.IDs != 1 {
			t.Errorf("in the end the status is %+v", s)
		}
	})
}

// X refuses, is away, or its job fails: it is tried again, and nothing is lost.
func TestTroubleAtX(t *testing.T) {
	for name, trouble := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"no job": func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Path == "/2/compliance/jobs" && answer(w, http.StatusServiceUnavailable, "", "")
		},
		"no JSON": func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Path == "/2/compliance/jobs" && answer(w, http.StatusOK, "application/json", "<html>")
		},
		"no account of a job": func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Path == "/2/compliance/jobs" && answer(w, http.StatusOK, "application/json", `{"data":{"id":"../x","status":"created"}}`)
		},
		"a foreign address": func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Path == "/2/compliance/jobs" && answer(w, http.StatusOK, "application/json",
				`{"data":{"id":"5","status":"created","upload_url":"http://storage.example/u","download_url":"https://storage.example/d"}}`)
		},
		"a failed job": func(w http.ResponseWriter, r *http.Request) bool {
			id, ok := strings.CutPrefix(r.URL.Path, "/2/compliance/jobs/")
			return ok && answer(w, http.StatusOK, "application/json", `{"data":{"id":"`+id+`","status":"failed"}}`)
		},
		"an expired job": func(w http.ResponseWriter, r *http.Request) bool {
			id, ok := strings.CutPrefix(r.URL.Path, "/2/compliance/jobs/")
			return ok && answer(w, http.StatusOK, "application/json", `{"data":{"id":"`+id+`","status":"expired"}}`)
		},
		"another job": func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasPrefix(r.URL.Path, "/2/compliance/jobs/") && answer(w, http.StatusOK, "application/json", `{"data":{"id":"1","status":"complete"}}`)
		},
		"no upload": func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/upload") && answer(w, http.StatusForbidden, "text/plain", "no")
		},
		"a redirected upload": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/upload") {
				return false
			}
			w.Header().Set("Location", "https://storage.example/")
			return answer(w, http.StatusTemporaryRedirect, "text/plain", "")
		},
		"no download": func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/download") && answer(w, http.StatusNotFound, "text/plain", "")
		},
		"a page for an answer": func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/download") && answer(w, http.StatusOK, "text/html", `{"id":"1","action":"delete","reason":"deleted"}`)
		},
		"a compressed answer": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/download") {
				return false
			}
			w.Header().Set("Content-Encoding", "gzip")
			return answer(w, http.StatusOK, "text/plain", "\x1f\x8b\x08")
		},
		"an endless answer": func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/download") && answer(w, http.StatusOK, "text/plain", strings.Repeat("\n", 2<<20))
		},
		"garbage in the answer": func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/download") && answer(w, http.StatusOK, "text/plain", "garbage\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var troubled atomic.Int32
			d := newDesk(t, storetest.SQLite(t), between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if troubled.Load() == 0 && trouble(w, r) {
					troubled.Add(1)
					return
				}
				next.ServeHTTP(w, r)
			}))
			posts := d.posts(5, 2)
			d.deliver(d.k, platform.PostReference, posts...)
			d.X.Redact(posts[0], "deleted")
			d.run(d.k)
			if got := d.taken(); troubled.Load() != 1 || len(got) != 1 {
				t.Errorf("after %d times of trouble, found %q", troubled.Load(), got)
			}
			// A job that is over is made anew; everything else goes on with the one there is.
			jobs := map[string]int{"a failed job": 2, "an expired job": 2, "no job": 2, "no JSON": 2, "no account of a job": 2, "a foreign address": 2}[name]
			if n := d.arrived(http.MethodPost, "/2/compliance/jobs"); n != max(jobs, 1) {
				t.Errorf("%d jobs were asked for", n)
			}
			if want := "reason=" + troubleReasons[name]; !strings.Contains(d.lines.String(), want) {
				t.Errorf("the log does not say %s:\n%s", want, d.lines)
			}
			d.checkLog()
		})
	}
}

// troubleReasons is what the operator is told.
var troubleReasons = map[string]string{
	"no job": "compliance/transient", "no JSON": "compliance/reply", "no account of a job": "compliance/reply", "a foreign address": "compliance/address",
	"a failed job": "compliance/job-failed", "an expired job": "compliance/job-expired", "another job": "compliance/reply",
	"no upload": "compliance/upload", "a redirected upload": "compliance/upload", "no download": "compliance/download",
	"a page for an answer": "compliance/content-type", "a compressed answer": "compliance/encoding", "an endless answer": "upstream/size",
	"garbage in the answer": "compliance/result",
}

func answer(w http.ResponseWriter, status int, contentType, body string) bool {
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	return true
}

// X knows nothing of a job any more, such as after Gatehouse was off for weeks: after
// a day it is given up and made anew, and the list is not stuck for ever.
func TestAJobThatXHasForgotten(t *testing.T) {
	var lost atomic.Value
	d := newDesk(t, storetest.SQLite(t), between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		id, ok := strings.CutPrefix(r.URL.Path, "/2/compliance/jobs/")
		if ok && (lost.CompareAndSwap(nil, id) || lost.Load() == id) {
			answer(w, http.StatusNotFound, "application/json", `{"title":"Not Found Error","status":404}`)
			return
		}
		next.ServeHTTP(w, r)
	}))
	posts := d.posts(5, 2)
	d.deliver(d.k, platform.PostReference, posts...)
	d.X.Redact(posts[0], "deleted")
	if err := d.k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := d.k.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // the pause after a failure
	}
	if n := d.arrived(http.MethodPost, "/2/compliance/jobs"); lost.Load() == nil || n != 1 {
		t.Fatalf("within the day %d jobs were asked for, and of %v X knew nothing", n, lost.Load())
	}
	storetest.OpenRaw(t, d.DSN).Exec("UPDATE compliance_tasks SET asked_at = asked_at - 7200000000 WHERE asked_at > 0")
	d.finish(d.k)
	if n := d.arrived(http.MethodPost, "/2/compliance/jobs"); n != 2 || len(d.taken()) != 1 {
		t.Errorf("after %d jobs, found %q", n, d.taken())
	}
}

// X's word on when to come again is kept.
func TestThrottledUntilXSays(t *testing.T) {
	reset := time.Now().Add(10 * time.Minute).Truncate(time.Second)
	d := newDesk(t, storetest.SQLite(t), func(d *desk, _ *connecttest.Options) { d.bound.Retry, d.bound.RetryMost = time.Millisecond, time.Hour },
		between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasPrefix(r.URL.Path, "/2/compliance/") {
				w.Header().Set("x-rate-limit-reset", strconv.FormatInt(reset.Unix(), 10))
				answer(w, http.StatusTooManyRequests, "application/json", `{"title":"Too Many Requests","status":429}`)
				return
			}
			next.ServeHTTP(w, r)
		}))
	d.deliver(d.k, platform.PostReference, d.posts(5, 1)...)
	if err := d.k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.k.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := d.status(d.k)[compliance.Post]
	if s.Reason != "compliance/throttled" || s.Next.Before(reset.Add(-time.Minute)) {
		t.Errorf("the status is %+v, X said %v", s, reset)
	}
	if n := d.arrived(http.MethodPost, "/2/compliance/jobs"); n != 1 {
		t.Errorf("X was asked %d times", n)
	}
}

// Lines about what was never asked are counted and believed in nothing.
func TestForeignLinesAreIgnored(t *testing.T) {
	var stranger atomic.Value
	var told atomic.Bool
	stranger.Store("")
	d := newDesk(t, storetest.SQLite(t), between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if id := stranger.Load().(string); id != "" && strings.HasSuffix(r.URL.Path, "/download") && told.CompareAndSwap(false, true) {
			answer(w, http.StatusOK, "", `{"id":"`+id+`","action":"delete","reason":"deleted"}`+"\n"+`{"id":"123","action":"delete","reason":"deleted"}`+"\n")
			return
		}
		next.ServeHTTP(w, r)
	}))
	posts := d.posts(5, 2)
	d.deliver(d.k, platform.PostReference, posts[0])
	// It is delivered while X is at work: the job did not ask about it.
	d.k.OnStep(func(step string) error {
		if step == "uploaded" && stranger.Load() == "" {
			d.deliver(d.k, platform.PostReference, posts[1])
			stranger.Store(posts[1])
		}
		return nil
	})
	d.run(d.k)
	if s := d.status(d.k)[compliance.Post]; len(d.taken()) != 0 || s.Ignored < 2 || s.Found != 0 || s.IDs != 2 {
		t.Errorf("found %q, status %+v", d.taken(), s)
	}
}

// A job's answer is believed about that job's part of the list only.
func TestLinesOfAnotherPartAreIgnored(t *testing.T) {
	var all atomic.Value
	d := newDesk(t, storetest.SQLite(t), func(d *desk, _ *connecttest.Options) { d.bound.PerJob = 1 },
		between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasSuffix(r.URL.Path, "/download") {
				answer(w, http.StatusOK, "", all.Load().(string))
				return
			}
			next.ServeHTTP(w, r)
		}))
	posts := d.posts(5, 3)
	text := ""
	for _, id := range posts {
		text += `{"id":"` + id + `","action":"delete","reason":"deleted"}` + "\n"
	}
	all.Store(text)
	d.deliver(d.k, platform.PostReference, posts...)
	d.run(d.k)
	if s := d.status(d.k)[compliance.Post]; len(d.taken()) != 3 || s.Found != 3 || s.Ignored != 6 || s.Jobs != 3 {
		t.Errorf("found %q, status %+v", d.taken(), s)
	}
}

// Two processes share the work; no job is made twice.
func TestTwoProcesses(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		posts := d.posts(5, 10)
		d.deliver(d.k, platform.PostReference, posts...)
		for _, id := range posts {
			d.X.Redact(id, "deleted")
		}
		other := d.openAgain()
		if err := d.k.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for _, k := range []*compliance.Compliance{d.k, other} {
			k.Bound(compliance.Bounds{Lease: time.Minute, Slow: time.Hour, Retry: time.Minute, PerJob: 1000, Page: 100, Remember: 100})
			group.Go(func() {
				for range 40 {
					_ = k.Tend(t.Context())
					_ = k.HandOver(t.Context())
				}
			})
		}
		group.Wait()
		if got := d.taken(); len(got) != 10 {
			t.Errorf("found %q", got)
		}
		if n := d.arrived(http.MethodPost, "/2/compliance/jobs"); n != 1 {
			t.Errorf("%d jobs were made", n)
		}
	})
}
