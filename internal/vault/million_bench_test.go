package vault_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

// people is how many the benchmark has: a million, or what GATEHOUSE_BENCH_PEOPLE
// says.
func people() int {
	if n, err := strconv.Atoi(os.Getenv("GATEHOUSE_BENCH_PEOPLE")); err == nil {
		return n
	}
	return 1_000_000
}

// crowd is a world with that many people, and some of them.
func crowd(b *testing.B, dsn string) (*world, []gatehouse.PersonID) {
	w, _ := withFile(b, dsn)
	raw := storetest.OpenRaw(b, dsn)
	const together = 500
	var some []gatehouse.PersonID
	var values []any
	var row strings.Builder
	for i := range together {
		fmt.Fprintf(&row, ", ($%d, 1, 'active', 0, $%d, $%d, 1, 0)", 3*i+1, 3*i+2, 3*i+3)
	}
	insert := "INSERT INTO vault_person_keys (person, version, state, domain_version, keyring, wrapped, created, destroyed) VALUES " + row.String()[2:]
	err := w.vault.HookTestOnlyManyPeople(b.Context(), people()/together*together, func(key vault.PersonKey) error {
		if len(some) < 2000 {
			some = append(some, key.Person)
		}
		if values = append(values, string(key.Person), int64(key.Keyring), key.Wrapped); len(values) == 3*together {
			raw.ExecUncounted(insert, values...)
			values = values[:0]
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return w, some
}

// BenchmarkErasure is what one erasure costs among a million people: at once, and
// when the keyring forgets it.
func BenchmarkErasure(b *testing.B) {
	for name, database := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		b.Run(name, func(b *testing.B) {
			w, some := crowd(b, database(b))
			k := w.keys(soon)
			next := 0
			b.Run("erase", func(b *testing.B) {
				for b.Loop() {
					if err := w.vault.DestroyPerson(b.Context(), some[next%len(some)]); err != nil {
						b.Fatal(err)
					}
					next++
				}
			})
			b.Run("forget one", func(b *testing.B) {
				var moved int64
				for b.Loop() {
					b.StopTimer()
					if _, err := k.Rewrap(b.Context(), vault.RewrapOptions{}); err != nil { // what is left
						b.Fatal(err)
					}
					if err := w.vault.DestroyPerson(b.Context(), w.person()); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					done, err := k.Rewrap(b.Context(), vault.RewrapOptions{})
					if err != nil {
						b.Fatal(err)
					}
					moved += done.People
				}
				b.ReportMetric(float64(moved)/float64(b.N), "people/op")
			})
		})
	}
}

// BenchmarkRewrapAll moves the keys of a million people while calls go on, and
// reports what a call's intent and its opened token take meanwhile.
func BenchmarkRewrapAll(b *testing.B) {
	for name, database := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		b.Run(name, func(b *testing.B) {
			w, _ := crowd(b, database(b))
			ada := w.person()
			sealed := w.seal(refOf(ada), token)
			calls := func(ctx context.Context) (took []time.Duration) {
				for ctx.Err() == nil {
					begun := time.Now()
					receipt := w.receipt()
					if _, err := w.vault.Open(b.Context(), receipt, refOf(ada), sealed); err != nil {
						b.Error(err)
					}
					took = append(took, time.Since(begun))
					time.Sleep(time.Millisecond)
				}
				return took
			}
			percentile := func(took []time.Duration, p float64) float64 {
				slices.Sort(took)
				return float64(took[int(p*float64(len(took)-1))].Microseconds())
			}
			for b.Loop() {
				idle, stop := context.WithTimeout(b.Context(), 10*time.Second)
				before := calls(idle)
				stop()
				ctx, stop := context.WithCancel(b.Context())
				during := make(chan []time.Duration, 1)
				go func() { during <- calls(ctx) }()
				begun := time.Now()
				done, err := w.keys().Rewrap(b.Context(), vault.RewrapOptions{Keyring: true})
				if err != nil {
					b.Fatal(err)
				}
				took := time.Since(begun)
				stop()
				meanwhile := <-during
				b.ReportMetric(float64(done.People)/took.Seconds(), "people/s")
				b.ReportMetric(percentile(before, 0.5), "idle-p50-µs")
				b.ReportMetric(percentile(before, 0.99), "idle-p99-µs")
				b.ReportMetric(percentile(meanwhile, 0.5), "during-p50-µs")
				b.ReportMetric(percentile(meanwhile, 0.99), "during-p99-µs")
			}
		})
	}
}
