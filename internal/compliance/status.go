package compliance

import (
	"context"
	"maps"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// Status says how it stands with one list.
type Status struct {
	App  gatehouse.AppName
	Kind Kind
	// On says whether the configuration has it; what is off expires.
	On bool
	// IDs are held; Oldest is the oldest last delivery among them.
	IDs    int64
	Oldest time.Time
	// State is the job's; Reason why the newest attempt failed, "" if it did not.
	State  State
	Reason string
	Tries  int
	// Started and Ended are of the newest run; Ended is zero while it goes on.
	Started, Ended time.Time
	// Next is when there is something to do: the next run, poll or attempt.
	Next time.Time
	// Jobs, Sent, Found, Ignored and Malformed count what the newest run did: jobs
	// made, identifiers asked about, lines that concern the index, lines that do
	// not, and lines that could not be read.
	Jobs, Sent, Found, Ignored, Malformed int64
	// Waiting are findings that nobody has taken over yet.
	Waiting int64
	// Evicted were dropped for room since the beginning, the newest at EvictedAt.
	Evicted   int64
	EvictedAt time.Time
}

// Status returns how it stands with every list.
func (k *Compliance) Status(ctx context.Context) ([]Status, error) {
	tasks, err := k.config.Store.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	// A list that Run has not seen yet has no row.
	for _, name := range slices.Sorted(maps.Keys(k.apps)) {
		for _, kind := range kinds {
			if !slices.ContainsFunc(tasks, func(t Task) bool { return t.App == name && t.Kind == kind }) {
				tasks = append(tasks, Task{App: name, Kind: kind, State: Idle})
			}
		}
	}
	all := make([]Status, 0, len(tasks))
	for _, t := range tasks {
		held, err := k.config.Store.Held(ctx, t.App, t.Kind)
		if err != nil {
			return nil, err
		}
		waiting, err := k.config.Store.Waiting(ctx, t.App, t.Kind)
		if err != nil {
			return nil, err
		}
		_, on := k.apps[t.App]
		all = append(all, Status{
			App: t.App, Kind: t.Kind, On: on, IDs: held.IDs, Oldest: held.Oldest, State: t.State, Reason: t.Reason, Tries: t.Tries,
			Started: t.Started, Ended: t.Ended, Next: t.Due, Jobs: t.Jobs, Sent: t.Sent, Found: t.Found, Ignored: t.Ignored, Malformed: t.Malformed,
			Waiting: waiting, Evicted: t.Evicted, EvictedAt: t.EvictedAt,
		})
	}
	return all, nil
}

// Start makes a run of every configured list due now; a list that is being asked
// about already goes on. Whatever process runs [Compliance.Run] does the work.
func (k *Compliance) Start(ctx context.Context) error {
	if len(k.apps) == 0 {
		return wire.Refuse(gatehouse.ErrInvalid, "compliance/off", "no app has compliance in the configuration (apps.NAME.compliance)")
	}
	for _, a := range k.apps {
		for _, kind := range kinds {
			if err := k.config.Store.EnsureTask(ctx, a.Name, kind, time.Now()); err != nil {
				return err
			}
		}
	}
	return nil
}
