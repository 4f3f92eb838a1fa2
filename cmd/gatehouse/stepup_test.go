package main

import (
	"net/http"
	"path/filepath"
	"testing"

	"gatehouse/internal/store/storetest"
)

// A subject who is erased leaves no second factor behind, and nothing of what was asked
// of them; somebody else keeps theirs.
func TestErasedSubjectLeavesNoFactor(t *testing.T) {
	h := newHouse(t)
	h.start()
	app := h.appOf()
	listening(t, app)
	for _, subject := range []string{"ada", "grace"} {
		setUpFactor(t, app, subject)
	}
	raw := storetest.OpenRaw(t, "sqlite:"+filepath.Join(h.dir, "gatehouse.db"))
	people := func(table string) int {
		_, rows := raw.Query("SELECT DISTINCT person FROM " + table)
		return len(rows)
	}
	tables := []string{"stepup_requests", "stepup_factors", "stepup_recovery", "stepup_people"}
	for _, table := range tables {
		if n := people(table); n != 2 {
			t.Fatalf("%s has rows of %d people", table, n)
		}
	}
	if err := h.api().do(t.Context(), http.MethodPost, "/gatehouse/v1/erasures", map[string]string{"subject": "ada"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		eventually(t, table+" has rows of one", func() bool { return people(table) == 1 })
	}
	var held struct {
		Methods []string `json:"methods"`
	}
	if err := h.api().do(t.Context(), http.MethodGet, "/gatehouse/v1/stepups/factors?subject=grace", nil, &held); err != nil || len(held.Methods) != 1 {
		t.Errorf("grace has %v, %v", held.Methods, err)
	}
}

// listening waits until the app answers.
func listening(t *testing.T, app *demoApp) {
	t.Helper()
	eventually(t, "the app answers", func() bool {
		res, err := http.Get(app.self + "/")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	})
}
