// Package api owns the app's own interface to Gatehouse, /gatehouse/v1/: begin,
// redeem, hand in, look at and revoke connections, make and revoke handles, fetch
// events, ask whose data went where, have people erased and answer what must be
// done about their data, seal and open data about people, keep it as records, and
// see what the platforms still allow; the audit log for those who may read it.
//
// It promises that a service sees and touches only what it began itself, for
// purposes that it may use; that input is read strictly, with an error that
// names what is wrong and repeats no credential; and that every request and
// reply is as the OpenAPI document, which it serves, says. It must never answer
// a request that a browser could have sent, and never hand out a platform's
// token.
package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/outbox"
	"gatehouse/internal/records"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"

	_ "embed"
)

// Prefix is the path below which everything of this package lies.
const Prefix = "/gatehouse/v1/"

// Purpose is a purpose that a service may use.
type Purpose struct {
	Name gatehouse.PurposeName
	Why  string
	App  gatehouse.AppName
}

// Config is what New needs.
type Config struct {
	Connections *connect.Connections
	Directory   *identity.Directory
	Records     *records.Records
	// Purposes returns what the configuration now in force lets a service do.
	Purposes func(gatehouse.ServiceName) []Purpose
	// Events are what the app is told. Nil means that nobody may fetch them.
	Events *outbox.Outbox
	// EventReader reports whether the configuration now in force lets a service
	// fetch and acknowledge events. Nil means that none may.
	EventReader func(gatehouse.ServiceName) bool
	// Admit takes a number of requests from a service's rate, or refuses them: one
	// for each request, and one more for each further value that it seals or opens.
	// Nil admits all: then a service can fill the log as fast as it asks.
	Admit func(gatehouse.ServiceName, int) error
	// Lineage knows whose data went where. Without Of, nobody may ask.
	Lineage Lineage
	// Duties are what must be done about people's data. Required.
	Duties Duties
	// Budgets know what the platforms still allow. Nil shows nothing.
	Budgets *budget.Budgets
	// Log is where the audit log is read from. Nil means that nobody may read it.
	Log audit.Source
	// Logs returns the audit logs of the nodes that have one of their own. Nil means that
	// there are none.
	Logs func(context.Context) ([]NodeLog, error)
	// LogReader reports whether the configuration now in force lets a service read the
	// log. Nil means that none may.
	LogReader func(gatehouse.ServiceName) bool
	// Search is how the audit log is searched.
	Search LogSearch
	// Shown is told which connections a reply shows to a service, with the ids and names
	// of people, before it is sent, and must have made durable what follows from that;
	// its error is sent in the reply's place. Nil means that nobody wants to know.
	Shown func(context.Context, gatehouse.ServiceName, []connect.Connection) error
	// Health says how Gatehouse is, to anybody. Nil says that it is open.
	Health func() Health
	// Surface renders errors and logs; it is the app listener's.
	Surface *wire.Surface
}

// API answers the app's requests. It is safe for concurrent use.
type API struct {
	connections *connect.Connections
	directory   *identity.Directory
	records     *records.Records
	purposes    func(gatehouse.ServiceName) []Purpose
	events      *outbox.Outbox
	readers     func(gatehouse.ServiceName) bool
	admit       func(gatehouse.ServiceName, int) error
	duties      Duties
	lineage     Lineage
	budgets     *budget.Budgets
	log         audit.Source
	logs        func(context.Context) ([]NodeLog, error)
	logReaders  func(gatehouse.ServiceName) bool
	search      LogSearch
	waiting     atomic.Int64
	ending      chan struct{} // closed by EndStreams
	shown       func(context.Context, gatehouse.ServiceName, []connect.Connection) error
	health      func() Health
	surface     *wire.Surface
}

// New returns the API.
func New(c Config) (*API, error) {
	if c.Connections == nil || c.Directory == nil || c.Records == nil || c.Purposes == nil || c.Surface == nil {
		return nil, errors.New("api: Config lacks connections, directory, records, purposes or surface")
	}
	if c.Duties.Cases == nil || c.Duties.May == nil || c.Duties.Erase == nil {
		return nil, errors.New("api: Config.Duties lacks cases, may or erase")
	}
	if c.Admit == nil {
		c.Admit = func(gatehouse.ServiceName, int) error { return nil }
	}
	if c.EventReader == nil {
		c.EventReader = func(gatehouse.ServiceName) bool { return false }
	}
	if c.LogReader == nil {
		c.LogReader = func(gatehouse.ServiceName) bool { return false }
	}
	if c.Logs == nil {
		c.Logs = func(context.Context) ([]NodeLog, error) { return nil, nil }
	}
	if c.Shown == nil {
		c.Shown = func(context.Context, gatehouse.ServiceName, []connect.Connection) error { return nil }
	}
	if c.Health == nil {
		c.Health = func() Health { return Health{Status: Open} }
	}
	return &API{
		connections: c.Connections, directory: c.Directory, records: c.Records, purposes: c.Purposes, events: c.Events, readers: c.EventReader,
		admit: c.Admit, duties: c.Duties, lineage: c.Lineage, budgets: c.Budgets, log: c.Log, logs: c.Logs, logReaders: c.LogReader, search: c.Search, shown: c.Shown, health: c.Health, surface: c.Surface,
		ending: make(chan struct{}),
	}, nil
}

// caller is the service that a request was authenticated as.
type caller struct {
	identity.Caller
	purposes []Purpose // that the key may be used for
}

// may returns the service's purpose of that name.
func (c caller) may(name gatehouse.PurposeName) (Purpose, bool) {
	i := slices.IndexFunc(c.purposes, func(p Purpose) bool { return p.Name == name })
	if i < 0 {
		return Purpose{}, false
	}
	return c.purposes[i], true
}

// handler answers an authenticated request.
type handler func(a *API, w http.ResponseWriter, r *http.Request, c caller) error

// access is what a route demands of a key.
type access int

const (
	keyed access = iota // any key; the handler looks at purposes
	open                // none
	// wide: it is about more than one purpose, so that a key bound to one of them
	// does not do.
	wide
)

// route is one operation. The table below is compared with the OpenAPI document
// by a test, both ways.
type route struct {
	method, path string
	access       access
	handle       handler
}

var routes = []route{
	{"GET", "/gatehouse/v1/openapi.json", open, (*API).document},
	{"GET", HealthPath, open, (*API).showHealth},
	{"GET", "/gatehouse/v1/me", keyed, (*API).me},
	{"POST", "/gatehouse/v1/connections", keyed, (*API).begin},
	{"GET", "/gatehouse/v1/connections", keyed, (*API).listConnections},
	{"POST", "/gatehouse/v1/connections/redeem", keyed, (*API).redeem},
	{"POST", "/gatehouse/v1/connections/import", keyed, (*API).importConnection},
	{"GET", "/gatehouse/v1/connections/{id}", keyed, (*API).showConnection},
	{"DELETE", "/gatehouse/v1/connections/{id}", keyed, (*API).revokeConnection},
	{"POST", "/gatehouse/v1/handles", keyed, (*API).makeHandle},
	{"GET", "/gatehouse/v1/handles", keyed, (*API).listHandles},
	{"DELETE", "/gatehouse/v1/handles/{id}", keyed, (*API).revokeHandle},
	{"GET", "/gatehouse/v1/limits", keyed, (*API).limits},
	{"POST", "/gatehouse/v1/erasures", wide, (*API).erase},
	{"GET", "/gatehouse/v1/duties", wide, (*API).listDuties},
	{"GET", "/gatehouse/v1/duties/{id}", wide, (*API).showDuty},
	{"POST", "/gatehouse/v1/duties/{id}/done", wide, (*API).answerDuty},
	{"GET", "/gatehouse/v1/events", wide, (*API).listEvents},
	{"POST", "/gatehouse/v1/events/{id}/ack", wide, (*API).acknowledgeEvent},
	{"GET", "/gatehouse/v1/lineage/persons/{person}", wide, (*API).lineageOfPerson},
	{"GET", "/gatehouse/v1/lineage/destinations/{host}", wide, (*API).lineageOfDestination},
	{"GET", "/gatehouse/v1/lineage/services/{service}", wide, (*API).lineageOfService},
	{"GET", "/gatehouse/v1/lineage/handles/{id}", wide, (*API).lineageOfHandle},
	{"GET", "/gatehouse/v1/lineage/purposes/{purpose}", wide, (*API).lineageOfPurpose},
	{"GET", "/gatehouse/v1/lineage/flows", wide, (*API).lineageFlows},
	{"GET", "/gatehouse/v1/lineage/status", wide, (*API).lineageStatus},
	{"GET", logPath + "entries", wide, (*API).searchLog},
	{"GET", logPath + "tail", wide, (*API).tailLog},
	{"GET", logPath + "checkpoint", wide, (*API).logCheckpoint},
	{"GET", logPath + "tile/{path...}", wide, (*API).logTile},
	{"GET", logPath + "{node}/{path...}", wide, (*API).nodeLog},
	{"GET", Prefix + "logs", wide, (*API).listLogs},
	{"POST", "/gatehouse/v1/seal", keyed, (*API).seal},
	{"POST", "/gatehouse/v1/open", keyed, (*API).openSealed},
	{"GET", "/gatehouse/v1/records", keyed, (*API).listRecords},
	{"PUT", "/gatehouse/v1/records/{purpose}/{label}", keyed, (*API).putRecord},
	{"GET", "/gatehouse/v1/records/{purpose}/{label}", keyed, (*API).getRecord},
	{"DELETE", "/gatehouse/v1/records/{purpose}/{label}", keyed, (*API).deleteRecord},
}

// Handler returns the handler for everything below Prefix.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	byPath := map[string]map[string]route{}
	for _, rt := range routes {
		if byPath[rt.path] == nil {
			byPath[rt.path] = map[string]route{}
		}
		byPath[rt.path][rt.method] = rt
	}
	for path, methods := range byPath {
		mux.Handle(path, a.surface.Handler(path, func(w http.ResponseWriter, r *http.Request) error {
			return a.serve(w, r, methods)
		}))
	}
	mux.Handle(Prefix, a.surface.Handler(Prefix, func(http.ResponseWriter, *http.Request) error {
		return wire.Refuse(gatehouse.ErrNotFound, "api/unknown-path", "The paths of this API are in "+Prefix+"openapi.json.")
	}))
	return mux
}

// serve refuses browsers, authenticates, and hands over.
func (a *API) serve(w http.ResponseWriter, r *http.Request, methods map[string]route) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Cookie"} {
		if len(r.Header[name]) > 0 {
			return wire.Refuse(gatehouse.ErrDenied, "api/browser", "This API is for the app's server. A request with "+name+" came from a browser, where a service key must never be.")
		}
	}
	rt, ok := methods[r.Method]
	if !ok {
		allowed := make([]string, 0, len(methods))
		for method := range methods {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "api/method", "This path offers "+strings.Join(allowed, ", ")+"."), http.StatusMethodNotAllowed)
	}
	wire.Annotate(w, wire.Note{Operation: rt.method + " " + rt.path})
	var c caller
	if rt.access != open {
		known, err := a.authenticate(r)
		if err != nil {
			return err
		}
		c = caller{Caller: known, purposes: slices.DeleteFunc(slices.Clone(a.purposes(known.Name)), func(p Purpose) bool { return known.For(p.Name) != nil })}
		wire.Annotate(w, wire.Note{Service: string(known.Name)})
		if err := a.admit(known.Name, 1); err != nil {
			return err
		}
		if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			a.directory.KeyUsed(known.Key.ID, from.Addr())
		}
		if rt.access == wide {
			if err := known.Wide(); err != nil {
				return err
			}
		}
	}
	return rt.handle(a, w, r, c)
}

// authenticate finds the service by its key, which is accepted in one place
// only.
func (a *API) authenticate(r *http.Request) (identity.Caller, error) {
	headers := r.Header["Authorization"]
	if len(headers) != 1 {
		return identity.Caller{}, wire.Unauthenticated("api/key-missing", "Send the service key once, as Authorization: Bearer gth_svc_….")
	}
	scheme, key, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return identity.Caller{}, wire.Unauthenticated("api/key-missing", "Send the service key as Authorization: Bearer gth_svc_….")
	}
	return a.directory.AuthenticateService(r.Context(), secret.New(key))
}

//go:embed openapi.json
var openapi []byte

// Document returns the OpenAPI document that describes this API.
func Document() []byte { return slices.Clone(openapi) }

func (a *API) document(w http.ResponseWriter, r *http.Request, _ caller) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(openapi)
	return err
}
