package budget

import (
	"time"

	"gatehouse"
)

// The periods of fair shares. Within one, a service that took its part of what is
// left waits; so a window of 15 minutes is divided five times, and what one service
// leaves the others get in time. A day is divided by the hour, since what asks once
// an hour is still there.
const (
	shortPeriod = 3 * time.Minute
	dayPeriod   = time.Hour
)

// seat is one service at a pool.
type seat struct {
	service       gatehouse.ServiceName
	connection    gatehouse.ConnectionID // the last it called with
	taken         int                    // in this period
	asked, before bool                   // in this period, in the one before
}

// turn begins the next period when its time has come.
func (p *pool) turn(now time.Time) {
	length := shortPeriod
	if p.key.kind == kindDay || p.short.length == dayLength {
		length = dayPeriod
	}
	passed := now.Sub(p.period)
	if passed >= 0 && passed < length {
		return
	}
	for i := range p.seats {
		s := &p.seats[i]
		s.before = s.asked && passed > 0 && passed < 2*length
		s.asked, s.taken = false, 0
	}
	p.period = now
}

// periodEnd is when the present period ends.
func (p *pool) periodEnd() time.Time {
	if p.key.kind == kindDay || p.short.length == dayLength {
		return p.period.Add(dayPeriod)
	}
	return p.period.Add(shortPeriod)
}

// seat returns the service's seat, with the period turned.
func (p *pool) seat(c *Call, now time.Time) *seat {
	p.turn(now)
	for i := range p.seats {
		if s := &p.seats[i]; s.service == c.Service {
			if s.connection != c.Connection {
				s.connection = c.Connection
			}
			s.asked = true
			return s
		}
	}
	p.seats = append(p.seats, seat{service: c.Service, connection: c.Connection, asked: true})
	return &p.seats[len(p.seats)-1]
}

// checkShare refuses a service that has had its part of a scarce pool. Free is what
// is left, until when the pool stays as it is.
func (p *pool) checkShare(c *Call, free int, scarce bool, until, now time.Time) *Refusal {
	if c.Background || c.Service == "" {
		return nil
	}
	mine := p.seat(c, now)
	if !scarce || free < 0 || len(p.seats) < 2 {
		return nil
	}
	active, all := 0, free
	for i := range p.seats {
		if s := &p.seats[i]; s.asked || s.before {
			active++
			all += s.taken
		}
	}
	if active < 2 || mine.taken*active < all {
		return nil
	}
	if end := p.periodEnd(); end.Before(until) {
		until = end
	}
	return p.refuse(c, RuleShare, until, now)
}
