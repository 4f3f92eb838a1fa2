package console

import (
	"context"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/identity/operator"
)

// KeysSource tells of keys, and never has one. What it is told to do it does in the
// log's sight.
type KeysSource interface {
	Keys(ctx context.Context) (KeysView, error)
	// Key returns the versions of one key, or one version of it, with what needs them.
	Key(ctx context.Context, name string) (KeyView, error)
	// Moving is how far keys are being moved under newer ones, or what came of it last.
	Moving() KeyMove
	// Move begins to; false says that it is being done already.
	Move(actor string) bool
	// Rotate makes a new version, has moved under it what can be, and returns what to say.
	// The keyring is made anew in the background.
	Rotate(ctx context.Context, actor, name string) (string, error)
	// Destroy has a version destroyed after a wait and returns what to say. It is an
	// operator.NeedApproval where it takes two.
	Destroy(ctx context.Context, by operator.Actor, name string) (string, error)
}

// KeysView is every key there is.
type KeysView struct {
	Root Check
	Keys []KeyRow
	// Unfinished says what is moved still, and what nothing needs any more.
	Unfinished []string
}

// KeyMove is how far keys are being moved under newer ones, or what came of the last time.
// Ended is zero while it runs, and Began before the first.
type KeyMove struct {
	Began, Ended time.Time
	// Keyring says that the keyring is made anew.
	Keyring bool
	// What is being moved now, and how much of it.
	What        string
	Done, Total int64
	// Failed says why it stopped; "" if it did not.
	Failed string
	// People and KeyringKeys are how many of their keys were moved, Unreadable how many did
	// not open.
	People, KeyringKeys, Unreadable int64
}

// KeyRow is one key, or one version of one.
type KeyRow struct {
	// Name has the version after an @, if there are several.
	Name, Kind, State, Owner, Purpose, WrappedBy, Reference string
	// Seen is since when a key that others keep is what it is.
	Created, Changed, Used, DestroyAt, Expires, Seen time.Time
	// Rotates says that a new version can be made here, Destroys that this one can be
	// destroyed as far as its state goes.
	Rotates, Destroys bool
}

// KeyView is all about one key.
type KeyView struct {
	Versions []KeyRow
	// Needed is what needs them, such as "12 keys of people".
	Needed  []string
	History []EntryLine
}

// Keys returns the pages about keys.
func Keys(from KeysSource) Page {
	p := keysPage{from}
	return Page{routes: []route{
		get("/keys", keysRead, p.list),
		stream("/keys/live", keysRead, p.feed),
		post("/keys/move", keysRotate, p.move).demanding(),
		get("/keys/{key}", keysRead, p.one),
		post("/keys/{key}/rotate", keysRotate, p.rotate).demanding(),
		post("/keys/{key}/destroy", keysDestroy, p.destroy).demanding(),
	}}
}

type keysPage struct{ from KeysSource }

func keyHref(name string) string { return "/keys/" + url.PathEscape(name) }

func keyTone(state string) Tone {
	switch state {
	case "active":
		return Good
	case "decrypt-only":
		return Plain
	case "scheduled":
		return Warn
	case "disabled":
		return Warn
	}
	return Off
}

// age is since when a key is what it is.
func (k KeyRow) age() time.Time {
	if k.Created.IsZero() {
		return k.Seen
	}
	return k.Created
}

// keyGroups are the keys in the order of what wraps what.
var keyGroups = []struct{ kind, title, says string }{
	{"root", "Root keys", "Kept outside the database: a key management system or a file. The one in force wraps the domain keys; another is left until they are moved."},
	{"domain", "Domain keys", "One for each kind of thing, in versions. The active one seals; older ones open what they sealed."},
	{"keyring", "Keyring", "The daily key wraps the keyring, and the keyring a key for each person: to erase somebody is to forget theirs."},
	{"system", "Gatehouse's own secrets", "Sealed under the domain key system."},
	{"derived", "Derived", "Made from the domain key derive when they are needed; not stored."},
	{"platform", "Secrets of registrations", "Kept where the configuration's references lead; Gatehouse notes since when each is the same."},
	{"service", "Keys of services", "Each is shown once, when it is made, and kept as a hash."},
}

// keyGroup is the keys of one kind.
type keyGroup struct {
	Title, Says string
	Table       Table
}

func (p keysPage) list(v *visit) error {
	view, err := p.from.Keys(v.context())
	if err != nil {
		return err
	}
	data := struct {
		Root       Check
		Groups     []keyGroup
		Unfinished []string
		M          keyMoveData
		// Move is where it is begun; "" if whoever looks may not, or there is nothing to move.
		Move string
	}{Root: view.Root, Unfinished: view.Unfinished, M: keyMoveOf(p.from.Moving())}
	if v.may(keysRotate) && len(view.Unfinished) > 0 && !data.M.Running {
		data.Move = "/keys/move"
	}
	for _, g := range keyGroups {
		group := keyGroup{g.title, g.says, keyTable(g.title)}
		for _, k := range view.Keys {
			if k.Kind == g.kind {
				group.Table.Rows = append(group.Table.Rows, keyRow(k))
			}
		}
		group.Table.dropEmpty()
		if len(group.Table.Rows) > 0 {
			data.Groups = append(data.Groups, group)
		}
	}
	return v.show("keys.html", "Keys", data)
}

func keyTable(caption string) Table {
	return Table{Caption: caption, Columns: []Column{{Name: "Key"}, {Name: "State"}, {Name: "Made"}, {Name: "Last used"}, {Name: "Wrapped by", Aside: true}, {Name: "What it does", Aside: true}}}
}

// keyUsedCell is when a key was last used. It is known to the hour: said to the minute, a
// key may seem to be used before it was made.
func keyUsedCell(at time.Time) Cell {
	if time.Since(at) < time.Hour {
		return textCell("within the hour")
	}
	return timeCell(at)
}

func keyRow(k KeyRow) Row {
	used := textCell("–") // not noted for every kind
	if !k.Used.IsZero() {
		used = keyUsedCell(k.Used)
	}
	made := textCell("–")
	if !k.age().IsZero() {
		made = timeCell(k.age())
	}
	return Row{Cells: []Cell{linkCell(k.Name, keyHref(k.Name)), badgeCell(keyTone(k.State), wordOf(k.State)), made, used, textCell(k.WrappedBy), textCell(k.Purpose)}}
}

// keyMoveData is the part of the page that keeps itself up to date.
type keyMoveData struct {
	KeyMove
	Running  bool
	Progress Progress
	Title    string
	Badge    Badge
}

func keyMoveOf(m KeyMove) keyMoveData {
	d := keyMoveData{KeyMove: m, Running: !m.Began.IsZero() && m.Ended.IsZero(), Title: "Moving keys under the newest"}
	if m.Keyring {
		d.Title = "Making the keyring anew"
	}
	d.Progress = Progress{Label: "Beginning", Done: m.Done, Total: m.Total}
	if m.What != "" {
		d.Progress.Label = strings.ToUpper(m.What[:1]) + m.What[1:] + ": " + count(m.Done) + " of " + count(max(m.Done, m.Total))
	}
	switch {
	case d.Running:
		d.Badge = Badge{Plain, "under way"}
	case m.Failed != "":
		d.Badge = Badge{Bad, "stopped"}
	case m.Unreadable > 0:
		d.Badge = Badge{Warn, "not all could be opened"}
	default:
		d.Badge = Badge{Good, "done"}
	}
	return d
}

// moveEvery is how often a move that is watched is looked at.
const moveEvery = time.Second

func (p keysPage) feed(v *visit, to *feed) error {
	for last, first := (keyMoveData{}), true; ; first = false {
		now := keyMoveOf(p.from.Moving())
		if first || now.Running || last.Running || !now.Began.Equal(last.Began) {
			if err := to.send("replace", "keys.html", "move", now); err != nil {
				return err
			}
		}
		last = now
		if err := to.wait(nil, moveEvery); err != nil {
			return err
		}
	}
}

func (p keysPage) move(v *visit, _ *nothing) (*outcome, error) {
	if !p.from.Move(v.actor()) {
		return goTo("/keys").saying("Keys are being moved already; there is one move at a time."), nil
	}
	return goTo("/keys").saying("It has begun. You need not wait here."), nil
}

// keyPart is one version on the page of a key.
type keyPart struct {
	Name  string
	Href  string // of its own page, where there are several
	Badge Badge
	Facts Pairs
}

func (p keysPage) one(v *visit) error {
	name := v.r.PathValue("key")
	k, err := p.from.Key(v.context(), name)
	if err != nil {
		return err
	}
	data := struct {
		Name    string
		Parts   []keyPart
		Needed  []string
		Log     bool
		History Table
		Dangers []Danger
	}{Name: name, Needed: k.Needed, Log: v.may(logRead)}
	for _, r := range k.Versions {
		part := keyPart{Name: r.Name, Badge: Badge{keyTone(r.State), wordOf(r.State)}}
		for _, f := range []struct {
			name string
			cell Cell
			has  bool
		}{
			{"What it does", textCell(r.Purpose), r.Purpose != ""}, {"Who answers for it", textCell(r.Owner), r.Owner != ""},
			{"Made", timeCell(r.Created), !r.Created.IsZero()}, {"The same since", timeCell(r.Seen), !r.Seen.IsZero()}, {"In this state since", timeCell(r.Changed), !r.Changed.IsZero()},
			{"Last used, to the hour", keyUsedCell(r.Used), !r.Used.IsZero()}, {"Ends", timeCell(r.Expires), !r.Expires.IsZero()}, {"Is destroyed", timeCell(r.DestroyAt), !r.DestroyAt.IsZero()},
			{"Wrapped by", textCell(r.WrappedBy), r.WrappedBy != ""}, {"Reference", codeCell(r.Reference), r.Reference != ""},
		} {
			if f.has {
				part.Facts = append(part.Facts, Pair{f.name, f.cell})
			}
		}
		if len(k.Versions) > 1 {
			part.Href = keyHref(r.Name)
		}
		data.Parts = append(data.Parts, part)
		if r.Rotates && v.may(keysRotate) {
			if r.Kind == "keyring" {
				data.Dangers = append(data.Dangers, Danger{
					Title: "Make the keyring anew", Word: "rotate", Button: "Rotate", Action: keyHref(r.Name) + "/rotate",
					Will: []string{
						"A new daily key and new keyring keys are made, and the key of every person is wrapped by them, in small steps beside calls.",
						"The old daily key is destroyed, so that the keys of people who were erased cannot be opened from what storage may still hold of them.",
						"With many people it takes minutes; you need not wait. Interrupted, it goes on by itself. The page Keys shows how far it is.",
					},
				})
				continue
			}
			data.Dangers = append(data.Dangers, Danger{
				Title: "Make a new version", Word: "rotate", Button: "Rotate", Action: keyHref(r.Name) + "/rotate",
				Will: []string{
					"A new version is made and seals from now on.",
					"What older versions sealed stays readable. What can be moved under the new one is moved at once, in small steps beside calls; the page Keys shows how far it is.",
				},
			})
		}
		// One dangerous form on a page: which version it is about is not to be mistaken.
		if r.Destroys && len(k.Versions) == 1 && len(k.Needed) == 0 && v.may(keysDestroy) {
			data.Dangers = append(data.Dangers, Danger{
				Title: "Destroy " + r.Name, Word: "destroy", Button: "Destroy", Action: keyHref(r.Name) + "/destroy",
				Approval: "If somebody else may decide approvals, one of them has to agree first; then send this form again.",
				Will: []string{
					"Nothing needs this version now; should something meanwhile, it is refused.",
					"From now on it opens nothing. After a week it is destroyed for good, and nothing that it sealed can be read again, by anybody.",
					"Until then it can be taken back on the host: gatehouse keys enable " + r.Name,
				},
			})
		}
	}
	data.History = logTable(v, "What the log says of this key, the newest first", k.History)
	data.History.Empty = Empty{Title: "The log says nothing of it", Text: "That a version follows another, is disabled or is destroyed becomes an entry. The first is made with the installation, before there is a log; keys that others keep are theirs to record."}
	return v.show("key.html", name, data)
}

// rotating and destroying are the forms that change a key.
type (
	rotating   struct{}
	destroying struct{}
)

func (*rotating) read(f *form)   { f.typed("rotate") }
func (*destroying) read(f *form) { f.typed("destroy") }

func (p keysPage) rotate(v *visit, _ *rotating) (*outcome, error) {
	said, err := p.from.Rotate(v.context(), v.actor(), v.r.PathValue("key"))
	if err != nil {
		return nil, err
	}
	return goTo("/keys").saying(said), nil
}

func (p keysPage) destroy(v *visit, _ *destroying) (*outcome, error) {
	name, said := v.r.PathValue("key"), ""
	asked, err := v.withApproval(func(by operator.Actor) (err error) {
		said, err = p.from.Destroy(v.context(), by, name)
		return err
	})
	return outcomeOf(asked, err, keyHref(name), said)
}
