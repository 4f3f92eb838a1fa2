package api_test

import (
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/records"
)

// data is the part of a world that seals and keeps data.
type data struct {
	records *records.Records
	cost    int // what Admit was asked for, in all
	// keeps are the purposes that records may be kept for, services what each may
	// use.
	keeps    map[gatehouse.PurposeName]time.Duration
	services map[gatehouse.ServiceName][]gatehouse.PurposeName
}

func (w *world) setUpData() {
	w.t.Helper()
	w.keeps = map[gatehouse.PurposeName]time.Duration{"publish": 0, "pages": 720 * time.Hour, "read": 0}
	w.services = map[gatehouse.ServiceName][]gatehouse.PurposeName{"scheduler": {"publish", "pages", "read"}, "analytics": {"publish"}}
	var err error
	if w.records, err = records.New(records.Config{
		Store: w.DB.Records(), Vault: w.Vault, Log: w.Log,
		May: func(s gatehouse.ServiceName, p gatehouse.PurposeName) bool {
			_, declared := w.keeps[p]
			return declared && slices.Contains(w.services[s], p)
		},
		Keeps: func() map[gatehouse.PurposeName]time.Duration { return w.keeps },
	}); err != nil {
		w.t.Fatal(err)
	}
}
