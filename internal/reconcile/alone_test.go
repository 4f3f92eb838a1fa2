package reconcile_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/reconcile"
	"gatehouse/internal/store/storetest"
)

// childVariable holds the database that a process of TestTheDeadGiveWay compares.
const childVariable = "GATEHOUSE_TEST_RECONCILE"

// slow is a store whose Moment takes as long as it is told, and which may not be reached
// to extend a lease.
type slow struct {
	reconcile.Store
	moment func(context.Context)
	extend func() error
}

func (s slow) Moment(ctx context.Context) (reconcile.Moment, error) {
	s.moment(ctx)
	if err := ctx.Err(); err != nil {
		return reconcile.Moment{}, err
	}
	return s.Store.Moment(ctx)
}

func (s slow) ExtendReconcile(ctx context.Context, was, until time.Time) (bool, error) {
	if s.extend != nil {
		if err := s.extend(); err != nil {
			return false, err
		}
	}
	return s.Store.ExtendReconcile(ctx, was, until)
}

// A second process leaves the work to the first, and says so.
func TestOneComparesAtATime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		s := r.db.Reconcile()
		now := time.Now()
		until := now.Add(time.Minute)
		if ok, _, err := s.TakeReconcile(r.ctx, now, until); !ok || err != nil {
			t.Fatal(ok, err)
		}
		_, err := r.open(s).All(r.ctx)
		if !errors.Is(err, reconcile.ErrBusy) || !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("while another one compares: %v", err)
		}
		if again := until.Add(time.Second).UTC().Format("15:04:05Z"); err == nil || !strings.Contains(err.Error(), again) {
			t.Errorf("%v does not say that this is possible again at %s", err, again)
		}
		if err := s.FreeReconcile(r.ctx, until); err != nil {
			t.Fatal(err)
		}
		r.all()
		r.all()
	})
}

// A process that is killed while it compares keeps others from it for a minute at most.
func TestTheDeadGiveWay(t *testing.T) {
	if dsn := os.Getenv(childVariable); dsn != "" {
		// Without the log, which one process writes: it is not come to.
		r := &rig{t: t, ctx: t.Context(), db: storetest.Open(t, dsn), index: audit.NewIndexHash([]byte("the key of a test"))}
		_, err := r.open(slow{Store: r.db.Reconcile(), moment: func(ctx context.Context) {
			fmt.Println("comparing")
			<-ctx.Done()
		}}).All(r.ctx)
		t.Fatalf("nobody killed this process: %v", err)
	}
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		cmd := exec.Command(os.Args[0], "-test.run=^TestTheDeadGiveWay$")
		cmd.Env = append(os.Environ(), childVariable+"="+dsn)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if line != "comparing\n" {
			t.Fatalf("the process says %q (%v)", line, err)
		}
		s := r.db.Reconcile()
		if _, err := r.open(s).All(r.ctx); !errors.Is(err, reconcile.ErrBusy) {
			t.Errorf("right after its death: %v", err)
		}
		now := time.Now()
		ok, held, err := s.TakeReconcile(r.ctx, now, now.Add(time.Minute))
		if ok || err != nil || held.After(now.Add(time.Minute)) {
			t.Fatalf("held until %s at %s (%v, %v)", held, now, ok, err)
		}
		// When that has passed.
		if ok, _, err := s.TakeReconcile(r.ctx, held, held.Add(time.Minute)); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := s.FreeReconcile(r.ctx, held.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		r.all()
	})
}

// Who compares for longer than its lease keeps it, also if it could not say so once.
func TestTheLivingGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storetest.SQLite(t))
		s := r.db.Reconcile()
		asked := 0
		_, err := r.open(slow{Store: s, moment: func(context.Context) {
			for range 10 {
				time.Sleep(time.Minute)
				if _, err := r.open(s).All(r.ctx); !errors.Is(err, reconcile.ErrBusy) {
					t.Errorf("while another one compares: %v", err)
				}
			}
		}, extend: func() error {
			if asked++; asked%3 == 0 {
				return gatehouse.ErrUnavailable
			}
			return nil
		}}).All(r.ctx)
		if err != nil {
			t.Error(err)
		}
		r.all() // at once: nothing is held any more
	})
}

// Who could not keep its lease stops, and the next is not hindered.
func TestTheOvertakenStop(t *testing.T) {
	for name, extend := range map[string]func() error{"another has it": nil, "not reached": func() error { return gatehouse.ErrUnavailable }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, storetest.SQLite(t))
				s := r.db.Reconcile()
				var taken time.Time
				_, err := r.open(slow{Store: s, extend: extend, moment: func(ctx context.Context) {
					if extend == nil {
						now := time.Now().Add(time.Hour) // by whose clock it is long over
						taken = now.Add(time.Minute)
						if ok, _, err := s.TakeReconcile(r.ctx, now, taken); !ok || err != nil {
							t.Error(ok, err)
						}
					}
					<-ctx.Done()
				}}).All(r.ctx)
				if !errors.Is(err, gatehouse.ErrConflict) || !strings.Contains(err.Error(), "held up") {
					t.Errorf("comparing: %v", err)
				}
				if done, err := s.ReconcileDone(r.ctx); err != nil || !done.IsZero() {
					t.Errorf("compared at %s (%v)", done, err)
				}
				if extend == nil {
					if ok, err := s.ExtendReconcile(r.ctx, taken, taken.Add(time.Minute)); !ok || err != nil {
						t.Errorf("the lease of the other: %v, %v", ok, err)
					}
					return
				}
				r.all()
			})
		})
	}
}
