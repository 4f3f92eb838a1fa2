package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
)

// crowd opens live pages and keeps which are open.
type crowd struct {
	t      *testing.T
	places *livePlaces
	open   []string
	stuck  bool // pages do not end when they are told to
}

func (c *crowd) take(account, session string) error {
	name := fmt.Sprintf("%s/%s", account, session)
	ctx, leave, err := c.places.take(c.t.Context(), operator.AccountID(account), operator.SessionID(name), func(time.Time) {})
	if err != nil {
		return err
	}
	c.open = append(c.open, name)
	go func() {
		<-ctx.Done()
		if !c.stuck && errors.Is(context.Cause(ctx), errDisplaced) {
			i := slices.Index(c.open, name)
			c.open = slices.Delete(c.open, i, i+1)
			leave()
		}
	}()
	return nil
}

func (c *crowd) count(account string) (n int) {
	for _, name := range c.open {
		if name[:len(account)] == account {
			n++
		}
	}
	return n
}

// One account, or one browser, takes so many places and nobody else's; nobody new is
// refused.
func TestLivePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{t: t, places: newLivePlaces(20)}
		for range 10 {
			must(t, c.take("ada", "1"))
			synctest.Wait()
		}
		if c.count("ada") != sessionStreams {
			t.Errorf("one browser has %d", c.count("ada"))
		}
		for i := range 30 {
			must(t, c.take("ada", fmt.Sprint(i)))
			synctest.Wait()
		}
		if c.count("ada") != accountStreams {
			t.Errorf("one account has %d", c.count("ada"))
		}
		// All places are taken: those who have the most give way.
		for i := range 6 {
			must(t, c.take("bob", fmt.Sprint(i)))
			must(t, c.take("cy", fmt.Sprint(i)))
			synctest.Wait()
		}
		must(t, c.take("dan", "1"))
		synctest.Wait()
		if c.count("ada") != 7 || c.count("bob") != 6 || c.count("cy") != 6 || c.count("dan") != 1 || len(c.open) != 20 {
			t.Errorf("open are %q", c.open)
		}
		must(t, c.take("dan", "2"))
		synctest.Wait()
		if c.count("ada") != 6 || c.count("dan") != 2 {
			t.Errorf("open are %q", c.open)
		}
	})
}

// Pages that do not end keep their places, and there are no more than that.
func TestLivePagesThatDoNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{t: t, places: newLivePlaces(1), stuck: true}
		must(t, c.take("ada", "1"))
		began := time.Now()
		if err := c.take("bob", "1"); !errors.Is(err, gatehouse.ErrLimited) || time.Since(began) != giveWay {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		c.places.open[0].end(nil)
	})
}

// A live page takes a page's place only until it is known who asks, and has its own time.
func TestLivePagesTakeNoPagesPlace(t *testing.T) {
	var other reply
	var d *desk
	page := Page{routes: []route{stream("/things/live", healthRead, func(v *visit, _ *feed) error {
		if end, ok := v.context().Deadline(); !ok || time.Until(end) < v.console.limits.Time {
			t.Error("it has a page's time")
		}
		other = d.get("/account")
		return nil
	})}}
	h := newHouse(t, func(c *Config) { c.Limits.Requests = 1 }, page)
	d = h.join("Ada", operator.Auditor)
	if r := d.get("/things/live"); r.status != http.StatusOK || other.status != http.StatusOK {
		t.Errorf("%d, and a page beside it %d", r.status, other.status)
	}
}
