package console

import (
	"context"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/secret"
)

// ServicesSource tells of the parts of the app, and changes their keys. Actor is the
// account of whoever orders it, for the log.
type ServicesSource interface {
	Services(ctx context.Context) ([]ServiceLine, error)
	Service(ctx context.Context, name string) (ServiceView, error)
	// MakeKey makes a key and returns it: it is not kept. Purpose is one of the
	// service's, KeyForNone, or "" for all of them.
	MakeKey(ctx context.Context, actor, service, purpose string) (NewKey, error)
	RevokeKey(ctx context.Context, actor, service, key string) error
	// CutOff ends handles of a service and returns how many; more says that there are
	// others left.
	CutOff(ctx context.Context, actor, service string) (ended int, more bool, err error)
}

// KeyForNone is the purpose of a key for what belongs to no purpose.
const KeyForNone = "-"

// ServiceLine is a service in the list.
type ServiceLine struct {
	Name     string
	Purposes []string
	Sources  []string
	Disabled bool
	Created  time.Time
	// Keys are how many work, and Ending how many of those end soon.
	Keys, Ending int
	Used         time.Time
}

// ServiceView is all about one.
type ServiceView struct {
	ServiceLine
	Rate, Accept string
	List         []ServiceKeyLine
	// Handles are how many work; MoreHandles says that there are more than were counted.
	Handles     int
	MoreHandles bool
}

// ServiceKeyLine is a key of a service, never the key itself.
type ServiceKeyLine struct {
	ID, Purpose string
	// State is works, ending, ended, revoked.
	State                           string
	Created, Expires, Revoked, Used time.Time
	// From is the network of its last use, and Count how often it was used.
	From  string
	Count int64
}

// NewKey is a key that is shown once.
type NewKey struct {
	ID, Purpose string
	Text        secret.Text
	Expires     time.Time
}

// Services returns the pages about the parts of the app.
func Services(from ServicesSource) Page {
	p := servicesPage{from}
	return Page{routes: []route{
		get("/services", servicesRead, p.list),
		get("/services/{name}", servicesRead, p.one),
		post("/services/{name}/keys", servicesChange, p.make).demanding(),
		get("/services/{name}/keys/{key}", servicesRead, p.key),
		post("/services/{name}/keys/{key}/revoke", servicesChange, p.revoke).demanding(),
		post("/services/{name}/cut-off", servicesChange, p.cutOff).demanding(),
	}}
}

type servicesPage struct{ from ServicesSource }

func serviceHref(name string) string { return "/services/" + url.PathEscape(name) }

func (p servicesPage) list(v *visit) error {
	list, err := p.from.Services(v.context())
	if err != nil {
		return err
	}
	t := Table{Caption: "Services", Columns: []Column{{Name: "Service"}, {Name: "State"}, {Name: "Purposes"}, {Name: "Keys", Number: true}, {Name: "Last use of a key"}, {Name: "Accepted from"}}, Empty: Empty{
		Title: "There is no service", Text: "A service is one part of your app, such as its web server or its scheduler. Add one to the configuration, under services, and reload.", Command: "gatehouse config example",
	}}
	for _, s := range list {
		state := badgeCell(Good, "in use")
		switch {
		case s.Disabled:
			state = badgeCell(Off, "not in the configuration")
		case s.Keys == 0:
			state = badgeCell(Warn, "no key works")
		case s.Ending > 0:
			state = badgeCell(Warn, "a key ends soon")
		}
		t.Rows = append(t.Rows, Row{Cells: []Cell{
			linkCell(s.Name, serviceHref(s.Name)), state, textCell(strings.Join(s.Purposes, ", ")), countCell(int64(s.Keys)), timeCell(s.Used), textCell(anywhere(s.Sources)),
		}})
	}
	return v.show("services.html", "Services", struct{ Table Table }{t})
}

func anywhere(sources []string) string {
	if len(sources) == 0 {
		return "any network"
	}
	return strings.Join(sources, ", ")
}

// keyPurpose is what a key is for, in words.
func keyPurpose(purpose string) string {
	switch purpose {
	case "":
		return "all purposes"
	case KeyForNone:
		return "no purpose: events, duties, the log"
	}
	return purpose
}

func serviceKeyBadge(state string) Badge {
	switch state {
	case "works":
		return Badge{Good, state}
	case "ending":
		return Badge{Warn, "ends soon"}
	}
	return Badge{Off, state}
}

// serviceData is what the page of one service shows.
type serviceData struct {
	S        ServiceView
	Facts    Pairs
	Keys     Table
	Purposes []Option
	Make     string
	Danger   *Danger
}

func (p servicesPage) one(v *visit) error {
	s, err := p.from.Service(v.context(), v.r.PathValue("name"))
	if err != nil {
		return err
	}
	data := serviceData{S: s}
	handles := count(int64(s.Handles))
	if s.MoreHandles {
		handles = "more than " + handles
	}
	data.Facts = Pairs{
		{"Purposes", textCell(strings.Join(s.Purposes, ", "))}, {"Accepted from", textCell(anywhere(s.Sources))}, {"Handles that work", textCell(handles)}, {"Created", timeCell(s.Created)},
	}
	if s.Rate != "" {
		data.Facts = append(data.Facts, Pair{"Most requests", textCell(s.Rate)})
	}
	if s.Accept != "" {
		data.Facts = append(data.Facts, Pair{"Handles are accepted in", textCell(s.Accept)})
	}
	data.Keys = Table{Caption: "Keys of the service", Columns: []Column{{Name: "Key"}, {Name: "State"}, {Name: "For"}, {Name: "Made"}, {Name: "Ends"}, {Name: "Last use"}, {Name: "From"}, {Name: "Uses", Number: true}}, Empty: Empty{
		Title: "It has no key", Text: "With a key the service begins connections and makes handles. Make one here, or on the host:", Command: "gatehouse service key create " + s.Name,
	}}
	for _, k := range s.List {
		b := serviceKeyBadge(k.State)
		data.Keys.Rows = append(data.Keys.Rows, Row{Cells: []Cell{
			idCell(k.ID, serviceHref(s.Name)+"/keys/"+url.PathEscape(k.ID)), badgeCell(b.Tone, b.Text), textCell(keyPurpose(k.Purpose)), timeCell(k.Created), untilCell(k.Expires), timeCell(k.Used), textCell(k.From), countCell(k.Count),
		}})
	}
	if v.may(servicesChange) && !s.Disabled {
		data.Make = serviceHref(s.Name) + "/keys"
		for _, purpose := range s.Purposes {
			data.Purposes = append(data.Purposes, Option{Value: purpose, Label: purpose})
		}
		data.Purposes = append(data.Purposes, Option{Value: KeyForNone, Label: keyPurpose(KeyForNone)}, Option{Value: "", Label: keyPurpose("") + " (wider than needed)"})
	}
	if v.may(servicesChange) && s.Handles > 0 {
		data.Danger = &Danger{
			Title: "Cut off its handles", Word: "cut off", Button: "Cut off", Action: serviceHref(s.Name) + "/cut-off",
			Will: []string{
				"Every handle of this service stops working at once, for everybody: calls with one are refused.",
				"Nobody's grant ends. With a key that works the service can make new handles; to stop that, revoke its keys first.",
			},
		}
	}
	return v.show("service.html", s.Name, data)
}

// making is the form that makes a key.
type making struct{ purpose string }

func (c *making) read(f *form) { c.purpose = f.text("purpose", 200) }

func (p servicesPage) make(v *visit, in *making) (*outcome, error) {
	name := v.r.PathValue("name")
	k, err := p.from.MakeKey(v.context(), v.actor(), name, in.purpose)
	if err != nil {
		return nil, err
	}
	return showOnce("service-key-made.html", "New key", struct {
		Service, Back, For, Text string
		K                        NewKey
	}{name, serviceHref(name), keyPurpose(k.Purpose), k.Text.Reveal(), k}), nil
}

func (p servicesPage) key(v *visit) error {
	s, err := p.from.Service(v.context(), v.r.PathValue("name"))
	if err != nil {
		return err
	}
	for _, k := range s.List {
		if k.ID != v.r.PathValue("key") {
			continue
		}
		data := struct {
			Back, Service, ID string
			Badge             Badge
			Facts             Pairs
			Danger            *Danger
		}{Back: serviceHref(s.Name), Service: s.Name, ID: k.ID, Badge: serviceKeyBadge(k.State)}
		data.Facts = Pairs{{"For", textCell(keyPurpose(k.Purpose))}, {"Made", timeCell(k.Created)}, {"Ends", untilCell(k.Expires)}, {"Last use", timeCell(k.Used)}, {"Uses", countCell(k.Count)}}
		if k.From != "" {
			data.Facts = append(data.Facts, Pair{"Last used from", textCell(k.From)})
		}
		if !k.Revoked.IsZero() {
			data.Facts = append(data.Facts, Pair{"Revoked", timeCell(k.Revoked)})
		}
		if v.may(servicesChange) && (k.State == "works" || k.State == "ending") {
			data.Danger = &Danger{
				Title: "Revoke this key", Word: "revoke", Button: "Revoke", Action: serviceHref(s.Name) + "/keys/" + url.PathEscape(k.ID) + "/revoke",
				Will: []string{
					"It is refused from now on, and cannot be taken back. Whatever still uses it stops working: look at its last use.",
					"Handles that were made with it go on; cut them off on the page of the service.",
				},
			}
		}
		return v.show("service-key.html", "Key of "+s.Name, data)
	}
	return errNoSuch("key")
}

func (p servicesPage) revoke(v *visit, _ *revoking) (*outcome, error) {
	name := v.r.PathValue("name")
	if err := p.from.RevokeKey(v.context(), v.actor(), name, v.r.PathValue("key")); err != nil {
		return nil, err
	}
	return goTo(serviceHref(name)).saying("The key is revoked."), nil
}

// cutting is the form that cuts off handles.
type cutting struct{}

func (*cutting) read(f *form) { f.typed("cut off") }

func (p servicesPage) cutOff(v *visit, _ *cutting) (*outcome, error) {
	name := v.r.PathValue("name")
	ended, more, err := p.from.CutOff(v.context(), v.actor(), name)
	if err != nil {
		return nil, err
	}
	said := "Handles that were cut off: " + count(int64(ended)) + "."
	if more {
		said += " There are others left: do the same again."
	}
	return goTo(serviceHref(name)).saying(said), nil
}
