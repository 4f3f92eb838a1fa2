package connecttest

import (
	"context"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/notice"
)

// App stands for the app that is told of notices and asked to delete its copies.
// Its fields are guarded by Mu.
type App struct {
	Mu sync.Mutex
	// Told are the notices it was told of, each once, in their order.
	Told []notice.Forwarded
	// Asked are the subjects and platforms' ids of each duty that it was asked to
	// fulfil, as the event would name them.
	Asked map[string][]string
	// Deaf has it hear nothing: events are durable and not delivered.
	Deaf bool
	// Rechecked are the people whose grants are to be looked at.
	Rechecked []gatehouse.PersonID
	// Fail, if not nil, is asked before each step and may fail it.
	Fail func(step string) error
}

func (a *App) fail(step string) error {
	a.Mu.Lock()
	f := a.Fail
	a.Mu.Unlock()
	if f == nil {
		return nil
	}
	return f(step)
}

// Duties opens a register of duties whose steps are carried out on the world's
// connections, and what takes platforms' notices in. A deadline of 0 is the
// platforms' own.
func (w *World) Duties(deadline time.Duration) (*cases.Cases, *notice.Notices, *App) {
	w.T.Helper()
	app := &App{Asked: map[string][]string{}}
	duties := must[*cases.Cases](w.T, "duties")(cases.New(cases.Config{
		Store: w.DB.Cases(), Log: w.Log, Deadline: func(gatehouse.Platform) time.Duration { return deadline },
		Steps: cases.Steps{
			Revoke: func(ctx context.Context, d cases.Duty) (bool, error) {
				if err := app.fail("revoke"); err != nil {
					return false, err
				}
				return w.Connections.EndPerson(ctx, d.Person, "a duty: "+string(d.Kind))
			},
			Ask: func(ctx context.Context, d cases.Duty) error {
				if err := app.fail("ask"); err != nil {
					return err
				}
				known, err := w.Connections.Known(ctx, d.Person)
				if err != nil {
					return err
				}
				var names []string
				for _, s := range known.Subjects() {
					names = append(names, string(s))
				}
				for _, c := range known.Connections {
					names = append(names, c.PlatformUser)
				}
				app.Mu.Lock()
				defer app.Mu.Unlock()
				app.Asked[d.ID] = names
				return nil
			},
			Heard: func(context.Context, cases.Duty) (bool, error) {
				app.Mu.Lock()
				defer app.Mu.Unlock()
				return !app.Deaf, nil
			},
			Shred: func(ctx context.Context, d cases.Duty) error {
				if err := app.fail("shred"); err != nil {
					return err
				}
				return w.Connections.ErasePerson(ctx, d.Person)
			},
		},
	}))
	notices := must[*notice.Notices](w.T, "notices")(notice.New(notice.Config{
		Store: w.DB.Notices(), Connections: w.Connections, Cases: duties, Log: w.Log,
		Forward: func(_ context.Context, f notice.Forwarded) error {
			if err := app.fail("forward"); err != nil {
				return err
			}
			app.Mu.Lock()
			defer app.Mu.Unlock()
			for _, told := range app.Told {
				if told.ID == f.ID {
					return nil
				}
			}
			app.Told = append(app.Told, f)
			return nil
		},
		Recheck: func(_ context.Context, _ gatehouse.AppName, person gatehouse.PersonID) error {
			app.Mu.Lock()
			defer app.Mu.Unlock()
			app.Rechecked = append(app.Rechecked, person)
			return nil
		},
		StatusURL: func(code string) string {
			return w.PublicURL + "/_gatehouse/deletion/" + code
		},
	}))
	return duties, notices, app
}

// UserOf returns what the platform calls the person of a connection.
func (w *World) UserOf(id gatehouse.ConnectionID) string {
	w.T.Helper()
	return must[connect.Connection](w.T, "connection")(w.Connections.Get(w.T.Context(), id)).PlatformUser
}

// DeliverX has the sandbox's X deliver webhooks until the test ends.
func (w *World) DeliverX() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.X.Run(ctx) // it ends with ctx
	}()
	w.T.Cleanup(func() {
		stop()
		<-done
	})
}
