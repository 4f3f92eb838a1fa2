package gateway

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
)

// Heard is what a reply says in its header, and to which call: what the platform has
// counted. Of a request that is sent once more, Header is empty.
type Heard struct {
	Platform   gatehouse.Platform
	App        gatehouse.AppName
	Operation  gatehouse.Operation
	Person     gatehouse.PersonID
	Connection gatehouse.ConnectionID
	// Began is a time before the call's intent was written.
	Began  time.Time
	Header http.Header
}

// counts reports whether X counts the call in a window of its operation.
func (c *call) counts() bool { return c.at.platform == platform.X && !c.class.Unknown }

func (c *call) heard() Heard {
	return Heard{
		Platform: c.handle.Platform, App: c.handle.App, Operation: gatehouse.Operation(c.class.Operation),
		Person: c.handle.Person, Connection: c.handle.Connection, Began: c.begun,
	}
}

// hear hands on what a reply's header says.
func (c *call) hear(reply *http.Response) {
	if c.gateway.config.Heard == nil || c.at.platform != platform.Facebook && !c.counts() {
		return
	}
	h := c.heard()
	h.Header = reply.Header
	c.gateway.config.Heard(h)
}

// counted sees to it that it is known how often a request is sent. The platform counts
// each time, and the log has one intent: all beyond the first are told before they
// are sent. Net/http sends a request without a body once more when a kept-alive
// connection ends before the answer.
func (c *call) counted(out *http.Request) *http.Request {
	if c.gateway.config.Repeat == nil || !c.counts() {
		return out
	}
	if c.sends++; c.sends > 1 {
		c.gateway.config.Repeat(out.Context(), c.heard())
	}
	if out.Body != nil && out.Body != http.NoBody && out.GetBody == nil {
		return out
	}
	return out.WithContext(c.again(out.Context()))
}

// again returns a context in which each connection that a request gets beyond its
// first is told.
func (c *call) again(ctx context.Context) context.Context {
	connections := 0
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		if connections++; connections > 1 {
			c.gateway.config.Repeat(ctx, c.heard())
		}
	}})
}
