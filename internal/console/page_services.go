package console

import (
	"context"
	"net/url"
	"slices"
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
	// service's, KeyForNone, or "" for all of them; zero life is the usual one.
	MakeKey(ctx context.Context, actor, service, purpose string, life time.Duration) (NewKey, error)
	// RotateKey makes a key's successor and returns it; the key works on for overlap. With
	// again a successor that was never used is revoked, and another takes its place.
	RotateKey(ctx context.Context, actor, service, key string, overlap, life time.Duration, again bool) (NewKey, error)
	// EndKey ends a key that has a successor before its time.
	EndKey(ctx context.Context, actor, service, key string) error
	RevokeKey(ctx context.Context, actor, service, key string) error
	// CutOff ends handles of a service and returns how many; more says that there are
	// others left.
	CutOff(ctx context.Context, actor, service string) (ended int, more bool, err error)
}

// KeyWithoutEnd is the life of a key that has no end.
const KeyWithoutEnd time.Duration = -1

// KeyForNone is the purpose of a key for what belongs to no purpose.
const KeyForNone = "-"

// ServiceLine is a service in the list.
type ServiceLine struct {
	Name     string
	Purposes []string
	Sources  []string
	Disabled bool
	Created  time.Time
	// Keys are how many work, Ending how many of those end soon, and Wide how many open
	// every one of several purposes.
	Keys, Ending, Wide int
	Used               time.Time
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
	// Wide says that it works and opens every one of several purposes.
	Wide bool
	// Successor is the key that takes its place, and Replaces the one whose place it took;
	// "" is none.
	Successor, Replaces string
	// Log is by which name the log knows it.
	Log string
	// State is works, ending, rotating, ended, revoked.
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
	// Replaces is the key whose place it takes, which ends at OldEnds; "" is none.
	Replaces string
	OldEnds  time.Time
}

// Services returns the pages about the parts of the app.
func Services(from ServicesSource) Page {
	p := servicesPage{from}
	return Page{routes: []route{
		get("/services", servicesRead, p.list),
		get("/services/{name}", servicesRead, p.one),
		post("/services/{name}/keys", servicesChange, p.make).demanding(),
		get("/services/{name}/keys/{key}", servicesRead, p.key),
		post("/services/{name}/keys/{key}/rotate", servicesChange, p.rotate).demanding(),
		post("/services/{name}/keys/{key}/again", servicesChange, p.again).demanding(),
		post("/services/{name}/keys/{key}/end", servicesChange, p.end).demanding(),
		post("/services/{name}/keys/{key}/revoke", servicesChange, p.revoke).demanding(),
		post("/services/{name}/cut-off", servicesChange, p.cutOff).demanding(),
	}}
}

type servicesPage struct{ from ServicesSource }

func serviceKeyHref(service, key string) string {
	return serviceHref(service) + "/keys/" + url.PathEscape(key)
}

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
		case s.Wide > 0:
			state = badgeCell(Warn, "wide key")
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

// keyPurposeCell marks a key that opens more than a key need open.
func keyPurposeCell(k ServiceKeyLine) Cell {
	if k.Wide {
		return badgeCell(Warn, keyPurpose(k.Purpose))
	}
	return textCell(keyPurpose(k.Purpose))
}

func serviceKeyBadge(state string) Badge {
	switch state {
	case "works":
		return Badge{Good, state}
	case "ending":
		return Badge{Warn, "ends soon"}
	case "rotating":
		return Badge{Plain, "being replaced"}
	}
	return Badge{Off, state}
}

// serviceData is what the page of one service shows.
type serviceData struct {
	S        ServiceView
	Facts    Pairs
	Keys     Table
	Purposes []Option
	Lives    []Option
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
	data.Keys = Table{Caption: "Keys of the service", Columns: []Column{{Name: "Key"}, {Name: "State"}, {Name: "Purpose"}, {Name: "Made"}, {Name: "Ends"}, {Name: "Last use"}, {Name: "From"}, {Name: "Uses", Number: true}}, Empty: Empty{
		Title: "It has no key", Text: "With a key the service begins connections and makes handles. Make one here, or on the host:", Command: "gatehouse service key create " + s.Name,
	}}
	for _, k := range s.List {
		b := serviceKeyBadge(k.State)
		data.Keys.Rows = append(data.Keys.Rows, Row{Cells: []Cell{
			idCell(k.ID, serviceKeyHref(s.Name, k.ID)), badgeCell(b.Tone, b.Text), keyPurposeCell(k), timeCell(k.Created), untilCell(k.Expires), timeCell(k.Used), textCell(k.From), countCell(k.Count),
		}})
	}
	if v.may(servicesChange) && !s.Disabled {
		data.Make, data.Lives = serviceHref(s.Name)+"/keys", lifeOptions("", "As configured")
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

// spans are what can be chosen for how long something lasts, by the form's words.
var spans = []struct {
	word, label string
	span        time.Duration
}{
	{"1h", "1 hour", time.Hour}, {"24h", "1 day", 24 * time.Hour}, {"168h", "7 days", 7 * 24 * time.Hour}, {"720h", "30 days", 30 * 24 * time.Hour},
	{"2160h", "90 days", 90 * 24 * time.Hour}, {"8760h", "1 year", 365 * 24 * time.Hour}, {"none", "No end: a review will ask about it", KeyWithoutEnd},
}

// overlapOptions are the spans for which an old key may work beside its successor.
func overlapOptions() []Option {
	var out []Option
	for _, s := range spans[:4] {
		out = append(out, Option{Value: s.word, Label: s.label, Selected: s.word == "24h"})
	}
	return out
}

// lifeOptions are how long a key may live; the first is what is usual.
func lifeOptions(word, usual string) []Option {
	out := []Option{{Value: word, Label: usual}}
	for _, s := range spans[2:] {
		out = append(out, Option{Value: s.word, Label: s.label})
	}
	return out
}

// span takes one of the spans of a form; "" is zero.
func (f *form) span(name string) time.Duration {
	word := f.text(name, 10)
	for _, s := range spans {
		if s.word == word {
			return s.span
		}
	}
	if word != "" {
		f.refuse(name, "is none of what can be chosen")
	}
	return 0
}

// making is the form that makes a key.
type making struct {
	purpose string
	life    time.Duration
}

func (c *making) read(f *form) { c.purpose, c.life = f.text("purpose", 200), f.span("life") }

func (p servicesPage) make(v *visit, in *making) (*outcome, error) {
	name := v.r.PathValue("name")
	k, err := p.from.MakeKey(v.context(), v.actor(), name, in.purpose, in.life)
	if err != nil {
		return nil, err
	}
	return madeKey(name, k), nil
}

// madeKey is the page that shows a new key, once.
func madeKey(service string, k NewKey) *outcome {
	data := struct {
		Service, Back, For, Text, Old string
		K                             NewKey
	}{service, serviceHref(service), keyPurpose(k.Purpose), k.Text.Reveal(), "", k}
	if k.Replaces != "" {
		data.Old = serviceKeyHref(service, k.Replaces)
		data.Back = data.Old
	}
	return showOnce("service-key-made.html", "New key", data)
}

// serviceKeyData is what the page of one key shows.
type serviceKeyData struct {
	Back, Service, ID string
	Badge             Badge
	Facts             Pairs
	Log               string
	// Steps are how far its replacement is; Rotate is where one begins.
	Steps           []Step
	Rotate          string
	Overlaps, Lives []Option
	Dangers         []Danger
}

func (p servicesPage) key(v *visit) error {
	s, err := p.from.Service(v.context(), v.r.PathValue("name"))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.List, func(k ServiceKeyLine) bool { return k.ID == v.r.PathValue("key") })
	if i < 0 {
		return errNoSuch("key")
	}
	k, at := s.List[i], serviceKeyHref(s.Name, s.List[i].ID)
	data := serviceKeyData{Back: serviceHref(s.Name), Service: s.Name, ID: k.ID, Badge: serviceKeyBadge(k.State)}
	data.Facts = Pairs{{"Purpose", keyPurposeCell(k)}, {"Made", timeCell(k.Created)}, {"Ends", untilCell(k.Expires)}, {"Last use", timeCell(k.Used)}, {"Uses", countCell(k.Count)}}
	if k.From != "" {
		data.Facts = append(data.Facts, Pair{"Last used from", textCell(k.From)})
	}
	if !k.Revoked.IsZero() {
		data.Facts = append(data.Facts, Pair{"Revoked", timeCell(k.Revoked)})
	}
	if k.Replaces != "" {
		data.Facts = append(data.Facts, Pair{"Takes the place of", idCell(k.Replaces, serviceKeyHref(s.Name, k.Replaces))})
	}
	if k.Successor != "" {
		data.Facts = append(data.Facts, Pair{"Its place is taken by", idCell(k.Successor, serviceKeyHref(s.Name, k.Successor))})
	}
	if k.Log != "" {
		data.Log = v.reach("/log?" + url.Values{"fact": {"key=" + k.Log}}.Encode())
	}
	live := k.State == "works" || k.State == "ending" || k.State == "rotating"
	var next *ServiceKeyLine
	if j := slices.IndexFunc(s.List, func(n ServiceKeyLine) bool { return n.ID == k.Successor && k.Successor != "" }); j >= 0 {
		next = &s.List[j]
		data.Steps = rotationSteps(k, *next)
	}
	if !v.may(servicesChange) {
		return v.show("service-key.html", "Key of "+s.Name, data)
	}
	replaceable := next == nil || !next.Revoked.IsZero() // what was revoked takes nobody's place
	if live && replaceable && !s.Disabled {
		data.Rotate, data.Overlaps, data.Lives = at+"/rotate", overlapOptions(), lifeOptions("", "As long as this one was made for")
	}
	if next != nil && !replaceable {
		if live {
			d := Danger{Title: "Finish early", Word: "finish", Button: "End the old key", Action: at + "/end", Will: []string{"This key is refused from now on, and cannot be taken back. Whatever still uses it stops working."}}
			if next.Used.IsZero() {
				d.Will = append(d.Will, "Nothing has used the new key yet: hand it out first.")
			}
			data.Dangers = append(data.Dangers, d)
		}
		if next.Used.IsZero() && !s.Disabled && k.Revoked.IsZero() {
			data.Dangers = append(data.Dangers, Danger{
				Title: "Nobody has the new key?", Word: "again", Button: "Make it again", Action: at + "/again",
				Will: []string{"The new key, which was never used, is revoked, and another takes its place. It is shown once."},
			})
		}
	}
	// Beside a successor, to finish is what a revocation would be.
	if live && replaceable {
		data.Dangers = append(data.Dangers, Danger{
			Title: "Revoke this key", Word: "revoke", Button: "Revoke", Action: at + "/revoke",
			Will: []string{
				"It is refused from now on, and cannot be taken back. Whatever still uses it stops working: look at its last use.",
				"Handles that were made with it go on; cut them off on the page of the service.",
			},
		})
	}
	return v.show("service-key.html", "Key of "+s.Name, data)
}

// rotationSteps say how far the replacement of a key is.
func rotationSteps(old, next ServiceKeyLine) []Step {
	steps := []Step{{State: "done", Text: "The new key was made", At: next.Created}}
	ended := old.State == "ended" || old.State == "revoked"
	switch {
	case !next.Revoked.IsZero():
		return append(steps, Step{State: "failed", Text: "The new key was revoked", At: next.Revoked})
	case !next.Used.IsZero():
		steps = append(steps, Step{State: "done", Text: "The new key is in use; last", At: next.Used})
	case ended:
		steps = append(steps, Step{State: "failed", Text: "The new key was never used", Note: "If nobody has it, make it again."})
	default:
		steps = append(steps, Step{State: "now", Text: "The new key is handed out", Note: "It was not used yet. Put it where the service reads its secrets, and restart the service."})
	}
	quiet := Step{State: "waiting", Text: "The old key is not used any more; last used", At: old.Used}
	if old.Used.IsZero() {
		quiet.Text = "The old key is not used any more"
	}
	switch {
	case ended || !next.Used.IsZero() && old.Used.Before(next.Created):
		quiet.State = "done"
	case !next.Used.IsZero():
		quiet.State, quiet.Note = "now", "Something used the old key since the new one was made: look where it still stands."
	}
	last := Step{State: "waiting", Text: "The old key ends", At: old.Expires}
	if ended {
		last.State, last.Text = "done", "The old key ended"
		if !old.Revoked.IsZero() {
			last.At = old.Revoked
		}
	}
	return append(steps, quiet, last)
}

// rotatingKey is the form that begins the replacement of a key.
type rotatingKey struct{ overlap, life time.Duration }

func (c *rotatingKey) read(f *form) {
	c.overlap, c.life = f.span("overlap"), f.span("life")
	if c.overlap <= 0 {
		f.refuse("overlap", "is missing")
	}
}

func (p servicesPage) rotate(v *visit, in *rotatingKey) (*outcome, error) {
	name := v.r.PathValue("name")
	k, err := p.from.RotateKey(v.context(), v.actor(), name, v.r.PathValue("key"), in.overlap, in.life, false)
	if err != nil {
		return nil, err
	}
	return madeKey(name, k), nil
}

// remaking is the form that replaces a successor that nobody has.
type remaking struct{}

func (*remaking) read(f *form) { f.typed("again") }

// againOverlap is how long the old key works beside a successor that was made again; an
// earlier end stays.
const againOverlap = 24 * time.Hour

func (p servicesPage) again(v *visit, _ *remaking) (*outcome, error) {
	name := v.r.PathValue("name")
	k, err := p.from.RotateKey(v.context(), v.actor(), name, v.r.PathValue("key"), againOverlap, 0, true)
	if err != nil {
		return nil, err
	}
	return madeKey(name, k), nil
}

// endingKey is the form that ends a key that has a successor.
type endingKey struct{}

func (*endingKey) read(f *form) { f.typed("finish") }

func (p servicesPage) end(v *visit, _ *endingKey) (*outcome, error) {
	name, key := v.r.PathValue("name"), v.r.PathValue("key")
	if err := p.from.EndKey(v.context(), v.actor(), name, key); err != nil {
		return nil, err
	}
	return goTo(serviceKeyHref(name, key)).saying("The old key has ended."), nil
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
