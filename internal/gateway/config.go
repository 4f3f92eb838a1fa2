package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/wire"
)

// Config says what a Gateway works with. It is copied and never changed; what
// the operator may change while the process runs stands in Settings.
type Config struct {
	// Surface renders errors and writes access lines. Required.
	Surface *wire.Surface
	// Egress carries calls to the platforms. Required; what it does not allow is
	// answered with 502.
	Egress *wire.Egress
	// Log holds intents, outcomes and refusals. Required.
	Log *audit.Log
	// Handles knows services and handles. Required.
	Handles *identity.Directory
	// Connections holds the grants. Required.
	Connections *connect.Connections
	// Budgets know what the platforms still allow. nil means some that are this
	// gateway's alone.
	Budgets *budget.Budgets
	// Settings are the purposes, services and apps to begin with; see
	// [Gateway.Apply]. Required.
	Settings Settings
	// API answers everything under /gatehouse/. nil answers 404.
	API http.Handler
	// Upstream replaces base URLs of the platforms' hosts by role, for the
	// sandbox. What is not named here keeps the real address.
	Upstream map[gatehouse.Platform]map[platform.Role]string
	// NoLegacyHosts refuses requests whose Host header is api.twitter.com. Zero
	// accepts that name; calls go to api.x.com in any case.
	NoLegacyHosts bool
	// Delivered are told, for the apps named, which posts and users a reply of X
	// speaks of, before the bytes that do are passed on. An error keeps them back:
	// the call fails, or the reply breaks off. Apps that are not named cost nothing.
	Delivered map[gatehouse.AppName]func(context.Context, []platform.Reference) error
	// Lineage is told which values of people a JSON reply of any platform, an item
	// of a batch, an object of a stream or an answer of our own delivers: what the app
	// really gets, narrowed and rewritten, before the last bytes that hold them are
	// passed on. An error keeps them back, as one of Delivered does. The slice is the
	// callee's until it returns. nil costs nothing.
	Lineage func(context.Context, Source, []platform.Identity) error
	// Observe is told what each call carried and was answered with, after it. It is
	// called from many goroutines, must not wait, and must keep nothing that it is
	// given. nil costs nothing.
	Observe func(*Observation)
	// Heard is told what each reply of a platform says in its header, and Repeat, before
	// it is, that a call is sent once more. Both are called from many goroutines and
	// keep no header; Heard must not wait. nil costs nothing.
	Heard  func(Heard)
	Repeat func(context.Context, Heard)
	// Posts are told, for the apps named, how many posts a reply of X speaks of, when it
	// was read to its end; of a stream, while it goes on, and whole is false. They are called from many goroutines and must not wait. Apps that are not
	// named cost nothing.
	Posts map[gatehouse.AppName]func(op gatehouse.Operation, posts int64, whole bool)
	// Done is told how each call went, after it, also of those that were refused. It is
	// called from many goroutines, must not wait, and must keep nothing that it is
	// given. nil costs nothing.
	Done func(*Done)
	// Trace says which trace a call belongs to, by the caller's traceparent header as it
	// came ("" for none, or several, and for a caller who is not known). It is asked only if Done is set. nil: no trace.
	Trace func(traceparent string) Trace
	// Limits bound what one process carries. Zero fields take their defaults.
	Limits Limits
	// Logger gets what has no caller to be told: a child connection that could not
	// be stored after the reply had begun. nil drops it.
	Logger *slog.Logger
}

// Limits bound one process.
type Limits struct {
	// InspectBytes bounds what is buffered of a body that must be judged. Zero
	// means 1 MiB.
	InspectBytes int64
	// BodyBytes bounds a request's body. Zero means 32 MiB.
	BodyBytes int64
	// BatchReplyBytes bounds the reply to a Graph batch, which is buffered. Zero
	// means 16 MiB.
	BatchReplyBytes int64
	// Calls bounds the calls under way at once. Zero means 1024.
	Calls int
	// UnheardTime bounds how long a body may take that has to be read to find out
	// who sends it. Zero means 20 seconds.
	UnheardTime time.Duration
	// Streams bounds the open streams. Zero means 64.
	Streams int
	// CallTimeout bounds a call that is no stream, uploads and downloads included.
	// Zero means 5 minutes; a platform's silence ends it sooner (wire.Egress).
	CallTimeout time.Duration
	// StreamCheck is how often an open stream's handle is asked about again. Zero
	// means one second.
	StreamCheck time.Duration
	// UnknownPerSecond bounds refusals of unknown callers that get an entry of
	// their own in the log, and those of each service, which may have twenty
	// seconds' worth at once. Zero means 50.
	UnknownPerSecond int
}

func (l *Limits) fill() {
	def(&l.InspectBytes, 1<<20)
	def(&l.BodyBytes, 32<<20)
	def(&l.BatchReplyBytes, 16<<20)
	def(&l.Calls, 1024)
	def(&l.UnheardTime, 20*time.Second)
	def(&l.Streams, 64)
	def(&l.CallTimeout, 5*time.Minute)
	def(&l.StreamCheck, time.Second)
	def(&l.UnknownPerSecond, 50)
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Settings are what the operator declares and may change at run time.
type Settings struct {
	// Policy judges calls. Required.
	Policy *policy.Set
	// Services are the services of the configuration. A handle whose service is
	// not among them is refused.
	Services map[gatehouse.ServiceName]Service
	// Apps are the app registrations that handles may stand for.
	Apps map[gatehouse.AppName]App

	// narrowings are made of the policy's contracts when they are first needed.
	narrowings *sync.Map
}

// Service is the gateway's view of one service.
type Service struct {
	// Purposes are those that the service may call for.
	Purposes []gatehouse.PurposeName
	// Rate is the number of calls a second. Zero means no limit.
	Rate float64
	// Burst is how many calls may come at once. Zero means one second's worth.
	Burst int
	// Sources are the networks it may call from. None means any.
	Sources []netip.Prefix
	// Accept are the positions in which its handle may stand: bearer, query,
	// form, batch, oauth1. None means all.
	Accept []string
}

func (s Service) limit() rate.Limit {
	if s.Rate <= 0 {
		return rate.Inf
	}
	return rate.Limit(s.Rate)
}

func (s Service) burst() int {
	if s.Burst > 0 {
		return s.Burst
	}
	return max(1, int(s.Rate))
}

func (s Service) accepts(at place) bool {
	return len(s.Accept) == 0 || at == inOperand || slices.Contains(s.Accept, accepts[at])
}

// App is the gateway's view of one app registration.
type App struct {
	Platform gatehouse.Platform
	// ClientID is shown by debug_token, as the platform does.
	ClientID string
	// Version is put before Graph calls that name none. Zero leaves them alone:
	// the platform then takes the version of the app's settings.
	Version string
}

// upstreams builds the table of base URLs.
func (c *Config) upstreams() (map[platform.Name]bases, error) {
	out := map[platform.Name]bases{}
	for _, p := range platform.Names() {
		out[p] = bases{}
		for _, role := range platform.Roles(p) {
			text := platform.BaseURL(p, role)
			if own := c.Upstream[gatehouse.Platform(p)][role]; own != "" {
				text = own
			}
			u, err := url.Parse(text)
			if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
				return nil, fmt.Errorf("upstream of %s (%s) is not a base URL: %w", p, role, gatehouse.ErrInvalid)
			}
			out[p][role] = u
		}
	}
	return out, nil
}
