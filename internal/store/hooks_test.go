package store

import "testing"

// testOnlyPostgres is set by the external tests: package storetest imports this
// one, so it cannot be named here.
var testOnlyPostgres func(testing.TB) string

// SetPostgres gives the tests inside the package an empty PostgreSQL database.
func SetPostgres(f func(testing.TB) string) { testOnlyPostgres = f }

func openTempPostgres(t *testing.T) *DB {
	t.Helper()
	return openNew(t, testOnlyPostgres(t))
}
