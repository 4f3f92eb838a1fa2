package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"

	"golang.org/x/sync/errgroup"
)

// refreshing measures refreshes of real grants: by callers whose token has
// expired, as many at once, and by the timer, which keeps to its pace.
func refreshing(ctx context.Context, out io.Writer, r *registry, p *platformX, ids []gatehouse.ConnectionID) error {
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| engine\t| asked by\t| at once\t| refreshes\t| refreshes/s\t| CPU/refresh\t| X's CPU/refresh\t|")
	fmt.Fprintln(t, "|"+strings.Repeat(" ---\t|", 7))
	line := func(by, atOnce string, f func() error) error {
		own, its, start := processCPU(os.Getpid()), processCPU(p.pid), time.Now()
		if err := f(); err != nil {
			return err
		}
		n, took := len(ids), time.Since(start)
		own, its = processCPU(os.Getpid())-own, processCPU(p.pid)-its
		fmt.Fprintf(t, "| %s\t| %s\t| %s\t| %d\t| %.0f\t| %s\t| %s\t|\n", r.engine, by, atOnce, n, float64(n)/took.Seconds(),
			micro(own/time.Duration(n)), micro(its/time.Duration(n)))
		return nil
	}
	for _, atOnce := range []int{1, 8, 64} {
		progress("%s: refreshing, %d at once", r.engine, atOnce)
		if err := change(ctx, r.db, ids, makeExpired); err != nil {
			return err
		}
		if err := line("calls", fmt.Sprint(atOnce), func() error { return r.callAll(ctx, ids, atOnce) }); err != nil {
			return err
		}
	}
	progress("%s: a wave", r.engine)
	if err := change(ctx, r.db, ids, makeDue); err != nil {
		return err
	}
	if err := line("the timer", "up to 64", func() error { return r.conns.Tend(ctx) }); err != nil {
		return err
	}
	left, err := r.db.Connect().Due(ctx, "", time.Now(), time.Now().Add(-time.Hour), 1)
	if err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("after a wave %d are due", len(left)))
	}
	return t.Flush()
}

// callAll asks for each connection's credential, which renews an expired token.
func (r *registry) callAll(ctx context.Context, ids []gatehouse.ConnectionID, atOnce int) error {
	receipt, err := r.log.Intent(ctx, audit.Entry{Action: "call", Service: "bench"})
	if err != nil {
		return err
	}
	var next atomic.Int64
	var group errgroup.Group
	for range atOnce {
		group.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(ids)); i = next.Add(1) - 1 {
				if _, err := r.conns.Credential(ctx, receipt, ids[i]); err != nil {
					return fmt.Errorf("a refresh: %w", err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// spreading prints when tokens that were just obtained come due again, as the
// product planned it, and what that makes of most tokens obtained in one second.
func spreading(ctx context.Context, out io.Writer, r *registry, ids []gatehouse.ConnectionID, most int) error {
	var ages []time.Duration
	for _, id := range ids {
		rec, err := r.db.Connect().Connection(ctx, id)
		if err != nil {
			return err
		}
		ages = append(ages, rec.RenewAt.Sub(rec.Obtained))
	}
	slices.Sort(ages)
	first, last := ages[0], ages[len(ages)-1]
	perMinute := map[int]int{}
	busiest := 0
	for _, age := range ages {
		minute := int(age / time.Minute)
		perMinute[minute]++
		busiest = max(busiest, perMinute[minute])
	}
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| minute after the last renewal\t| of those renewed\t|  \t|\n| ---\t| ---\t| ---\t|")
	for minute := int(first / time.Minute); minute <= int(last/time.Minute); minute++ {
		share := float64(perMinute[minute]) / float64(len(ages))
		fmt.Fprintf(t, "| %d\t| %.1f %%\t| %s\t|\n", minute, 100*share, strings.Repeat("#", int(200*share)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	window := (last - first).Seconds()
	peak := float64(busiest) / float64(len(ages)) / 60 * float64(most)
	_, err := fmt.Fprintf(out, "\nObserved window: %s, from %s to %s after a renewal (%d tokens of two hours). %d tokens obtained in one second would come due at %.0f a second in the busiest minute; evenly over the window it would be %.0f. What is more than the timer's pace above waits, and is renewed by the call that needs it once it has expired.\n",
		(last - first).Round(time.Second), first.Round(time.Second), last.Round(time.Second), len(ages), most, peak, float64(most)/window)
	return err
}
