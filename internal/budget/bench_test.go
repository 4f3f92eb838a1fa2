package budget_test

import (
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
)

// processorTime is what this process has used so far: on a shared machine it says
// more than the time that passed.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCall is what a call costs here: Admit, Learn with the header read, and
// Settle. "one" has every goroutine at the same pool, "each" at one of its own.
func BenchmarkCall(b *testing.B) {
	reset := strconv.FormatInt(time.Now().Add(10*time.Minute).Unix(), 10)
	headers := map[gatehouse.Platform]http.Header{
		gatehouse.X:        {"X-Rate-Limit-Limit": {"1000000"}, "X-Rate-Limit-Remaining": {"999999"}, "X-Rate-Limit-Reset": {reset}},
		gatehouse.Facebook: {"X-App-Usage": {`{"call_count":28,"total_time":25,"total_cputime":25}`}},
	}
	for _, p := range []gatehouse.Platform{gatehouse.X, gatehouse.Facebook} {
		for _, name := range []string{"one", "each"} {
			for _, read := range []bool{true, false} {
				title := string(p) + "/" + name
				header := headers[p]
				if !read {
					title, header = title+"/without headers", http.Header{}
				}
				b.Run(title, func(b *testing.B) {
					budgets := budget.New(budget.Config{})
					before := processorTime()
					defer func() {
						b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
					}()
					b.ReportAllocs()
					b.SetParallelism(32) // of two processors: 64 goroutines
					n := make(chan int, 1)
					n <- 0
					b.RunParallel(func(pb *testing.PB) {
						i := <-n
						n <- i + 1
						c := budget.Call{App: "app", Platform: p, Owner: "person", Service: "s", Operation: "GET /2/users/me"}
						if name == "each" {
							c.Owner += strconv.Itoa(i)
						}
						for pb.Next() {
							t, err := budgets.Admit(c)
							if err != nil {
								b.Error(err)
								return
							}
							t.Sent()
							t.Learn(&c, 200, header)
							t.Settle()
						}
					})
				})
			}
		}
	}
}
