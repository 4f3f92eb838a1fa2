package backup_test

import (
	"runtime"
	"testing"

	"gatehouse/internal/store/storetest"
)

// benchPeople is how many people's keys the database of the benchmark holds.
const benchPeople = 100_000

// What a backup costs, and that it needs no memory to speak of however much there
// is.
func BenchmarkCreate(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		b.Run(engine, func(b *testing.B) {
			dsn, series := storetest.SQLite(b), "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000) SELECT n FROM s"
			if engine == "postgres" {
				dsn, series = storetest.Postgres(b), "SELECT n FROM generate_series(1, 100000) AS n"
			}
			h := newHouse(b, dsn)
			storetest.OpenRaw(b, dsn).Exec(`INSERT INTO vault_person_keys (person, version, state, domain_version, wrapped, created, destroyed)
				SELECT 'PERSON' || n, 1, 'active', 1, $1, 1, 0 FROM (`+series+`) AS people`, make([]byte, 100))
			var before, after runtime.MemStats
			var size int64
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				made := h.backup(b)
				size = made.Bytes
			}
			runtime.ReadMemStats(&after)
			b.SetBytes(size)
			b.ReportMetric(benchPeople*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(after.HeapSys-before.HeapSys)/(1<<20), "MiB-heap-growth")
		})
	}
}

// What a restore of the same costs.
func BenchmarkRestore(b *testing.B) {
	dsn := storetest.SQLite(b)
	h := newHouse(b, dsn)
	storetest.OpenRaw(b, dsn).Exec(`INSERT INTO vault_person_keys (person, version, state, domain_version, wrapped, created, destroyed)
		WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000)
		SELECT 'PERSON' || n, 1, 'active', 1, $1, 1, 0 FROM s`, make([]byte, 100))
	made := h.backup(b)
	for _, engine := range []string{"sqlite", "postgres"} {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				again, err := h.restore(b.Context(), made.Path, empty(b, engine))
				if err != nil {
					b.Fatal(err)
				}
				if err := again.close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(benchPeople*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
