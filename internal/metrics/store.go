package metrics

import (
	"context"
	"time"

	"gatehouse"
)

// Store counts what stands in the database. Each method reads; none takes longer
// because of how much was done in the past.
type Store interface {
	// CountConnections counts connections by registration and state.
	CountConnections(ctx context.Context) ([]ConnectionCount, error)
	// CountDuties counts the duties that are not closed, by kind.
	CountDuties(ctx context.Context, now time.Time) ([]DutyCount, error)
	// CountEvents counts the events that wait and those that are dead letters.
	CountEvents(ctx context.Context) (EventCount, error)
}

// ConnectionCount is how many connections of one registration are in one state.
type ConnectionCount struct {
	App    gatehouse.AppName
	Status string
	Count  int64
}

// DutyCount is how many duties of one kind are open, and how many of those overdue.
type DutyCount struct {
	Kind          string
	Open, Overdue int64
	// Nearest is the next deadline; zero when there is none to come.
	Nearest time.Time
}

// EventCount is how many events there are that the app has not got.
type EventCount struct {
	Waiting, Dead int64
	// Oldest is when the one was put that has been waiting longest; zero when none waits.
	Oldest time.Time
}

// connectionStates are those of package connect, so that each has a figure also while
// no connection is in it.
var connectionStates = []string{"pending", "healthy", "renewing", "in_doubt", "reconnect_needed", "revoked", "erased"}

// dutyKinds are those of package cases.
var dutyKinds = []string{"deauthorized", "deletion_requested", "erasure", "content_removed"}

// StoreLooks reads what a Store counts. names are asked each time: those of the
// configuration in force.
func StoreLooks(s Store, apps func() []gatehouse.AppName) []Look {
	return []Look{
		{
			Name: "connections", Sets: []string{Connections}, Every: time.Minute,
			At: func(ctx context.Context) ([]Reading, error) {
				counts, err := s.CountConnections(ctx)
				return connectionReadings(counts, set(apps())), err
			},
		},
		{
			Name: "duties", Sets: []string{DutiesOpen, DutiesOverdue, DutyDeadline}, Every: 30 * time.Second,
			At: func(ctx context.Context) ([]Reading, error) {
				counts, err := s.CountDuties(ctx, time.Now())
				return dutyReadings(counts), err
			},
		},
		{
			Name: "events", Sets: []string{Events, EventOldest}, Every: 30 * time.Second,
			At: func(ctx context.Context) ([]Reading, error) {
				c, err := s.CountEvents(ctx)
				list := []Reading{{Events, []string{"waiting"}, float64(c.Waiting)}, {Events, []string{"dead"}, float64(c.Dead)}}
				if !c.Oldest.IsZero() {
					list = append(list, Reading{EventOldest, nil, seconds(c.Oldest)})
				}
				return list, err
			},
		},
	}
}

// connectionReadings has every state of every registration, and of connections whose
// registration left the configuration what they come to.
func connectionReadings(counts []ConnectionCount, apps map[gatehouse.AppName]bool) []Reading {
	n := map[[2]string]int64{}
	for app := range apps {
		for _, status := range connectionStates {
			n[[2]string{string(app), status}] = 0
		}
	}
	for _, c := range counts {
		n[[2]string{known(apps, c.App), c.Status}] += c.Count
	}
	list := make([]Reading, 0, len(n))
	for key, count := range n {
		list = append(list, Reading{Connections, []string{key[0], key[1]}, float64(count)})
	}
	return list
}

func dutyReadings(counts []DutyCount) []Reading {
	open, overdue := map[string]int64{}, map[string]int64{}
	for _, kind := range dutyKinds {
		open[kind], overdue[kind] = 0, 0
	}
	var nearest time.Time
	for _, c := range counts {
		open[c.Kind], overdue[c.Kind] = c.Open, c.Overdue
		if !c.Nearest.IsZero() && (nearest.IsZero() || c.Nearest.Before(nearest)) {
			nearest = c.Nearest
		}
	}
	var list []Reading
	for kind := range open {
		list = append(list, Reading{DutiesOpen, []string{kind}, float64(open[kind])}, Reading{DutiesOverdue, []string{kind}, float64(overdue[kind])})
	}
	if !nearest.IsZero() {
		list = append(list, Reading{DutyDeadline, nil, seconds(nearest)})
	}
	return list
}

// seconds is a time as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// Seconds is a time as the figures that end in _timestamp_seconds have it.
func Seconds(t time.Time) float64 { return seconds(t) }
