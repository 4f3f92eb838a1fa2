package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/console"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// keysSource tells the console of keys as 'gatehouse keys' does.
type keysSource struct {
	*parts
	mover *keyMover
}

// rotated are the domain keys that can be rotated; what is derived is not stored, so
// that it cannot be derived anew.
var rotated = []vault.Domain{vault.Tokens, vault.Personal, vault.System}

func (k keysSource) Keys(ctx context.Context) (console.KeysView, error) {
	view := console.KeysView{Root: rootKeyCheck(k.vault.RootStatus())}
	view.Root.Href = ""
	rows, err := inventory(ctx, k.parts)
	if err != nil {
		return view, err
	}
	for _, r := range rows {
		view.Keys = append(view.Keys, consoleKey(r))
	}
	s, err := k.keys.Status(ctx)
	if err != nil {
		return view, err
	}
	var b bytes.Buffer
	if err := stateOfKeys(k.parts, s).print(&b); err != nil {
		return view, err
	}
	for line := range strings.Lines(b.String()) {
		// The first lines say what is in order, which the tables do.
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "root key "+s.Root+" wraps") && !strings.Contains(line, "the daily key is") {
			view.Unfinished = append(view.Unfinished, strings.ToUpper(line[:1])+line[1:]+".")
		}
	}
	return view, nil
}

func consoleKey(r keyRow) console.KeyRow {
	at := func(text string) time.Time {
		t, _ := time.Parse(time.RFC3339Nano, text) // "" is never
		return t
	}
	row := console.KeyRow{
		Name: nameOf(r), Kind: r.Kind, State: r.State, Owner: r.Owner, Purpose: r.Purpose, WrappedBy: r.WrappedBy, Reference: r.Reference,
		Created: at(r.Created), Changed: at(r.Changed), Used: at(r.Used), DestroyAt: at(r.DestroyAt), Expires: at(r.Expires), Seen: at(r.SeenSince),
	}
	row.Rotates = r.Name == keyringName
	if r.Kind == "domain" {
		row.Rotates = r.State == string(vault.Active) && slices.Contains(rotated, vault.Domain(r.Name))
		row.Destroys = r.State == string(vault.DecryptOnly) || r.State == string(vault.Disabled)
	}
	return row
}

func (k keysSource) Key(ctx context.Context, name string) (console.KeyView, error) {
	var view console.KeyView
	rows, err := inventory(ctx, k.parts)
	if err != nil {
		return view, err
	}
	for _, r := range rows {
		if r.Name != name && nameOf(r) != name {
			continue
		}
		view.Versions = append(view.Versions, consoleKey(r))
		if r.Kind != "domain" || r.State == string(vault.Destroyed) || r.Name == string(vault.Derive) {
			continue
		}
		uses, err := k.keys.Uses(ctx, vault.Domain(r.Name), r.Version)
		if err != nil {
			return view, err
		}
		for _, u := range uses {
			view.Needed = append(view.Needed, nameOf(r)+": "+u.Text())
		}
	}
	if len(view.Versions) == 0 {
		return view, noKey()
	}
	view.History, err = k.history(ctx, name)
	return view, err
}

func noKey() error {
	return wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "There is no such key.")
}

// maxKeyEntries is how many entries of its history the page of a key shows.
const maxKeyEntries = 20

// history finds what the log says of a domain key, by the fact that names it.
func (k keysSource) history(ctx context.Context, name string) ([]console.EntryLine, error) {
	key, version, has := strings.Cut(name, "@")
	facts := map[string]string{"key": key}
	if root, ok := strings.CutPrefix(name, "root/"); ok {
		facts, has = map[string]string{"root": root}, false
	}
	if has {
		facts["version"] = version
	}
	searcher, err := k.searcher(ctx)
	if err != nil {
		return nil, err
	}
	list, err := k.newestLines(ctx, searcher, audit.Query{Facts: facts}, maxKeyEntries)
	return slices.DeleteFunc(list, func(e console.EntryLine) bool { return !strings.HasPrefix(e.Action, "keys.") }), err
}

func (k keysSource) Moving() console.KeyMove { return k.mover.moving() }

func (k keysSource) Move(actor string) bool { return k.mover.move(moveOrder{actor: actor}) }

func (k keysSource) Rotate(ctx context.Context, actor, name string) (string, error) {
	if name == keyringName {
		if !k.mover.move(moveOrder{actor, true}) {
			return "", errMoving
		}
		return "The keyring is being made anew. You need not wait here.", nil
	}
	domain, _, err := keyName(name)
	if err != nil || !slices.Contains(rotated, domain) {
		return "", noKey()
	}
	version, err := k.keys.Rotate(audit.By(ctx, actor), domain)
	if err != nil {
		return "", err
	}
	// Another move that is under way takes the new version into account, or the next does.
	k.mover.move(moveOrder{actor: actor})
	return fmt.Sprintf("%s@%d is active. What can be moved under it is being moved beside calls.", domain, version), nil
}

// keyringName is the keyring's row in the inventory.
const keyringName = "keyring"

var errMoving = wire.Refuse(gatehouse.ErrConflict, "console/moving", "Keys are being moved already; there is one move at a time. The page Keys says how far it is.")

func (k keysSource) Destroy(ctx context.Context, by operator.Actor, name string) (string, error) {
	domain, version, err := keyVersion(name)
	if err != nil {
		return "", noKey()
	}
	s, err := k.keys.Status(ctx)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(s.Domains, func(d vault.DomainKey) bool { return d.Domain == domain && d.Version == version })
	if at < 0 {
		return "", noKey()
	}
	// What would be refused takes nobody's approval.
	row := s.Domains[at]
	uses, err := k.keys.Uses(ctx, domain, version)
	if err != nil {
		return "", err
	}
	if row.State != vault.Active && len(uses) > 0 {
		return "", wire.Refuse(gatehouse.ErrConflict, "keys/needed", uses[0].Text()+" still need this version. Nothing was done.")
	}
	if row.State != vault.DecryptOnly && row.State != vault.Disabled {
		return "", wire.Refuse(gatehouse.ErrConflict, "keys/state", "This version is "+string(row.State)+", so it cannot be destroyed. Nothing was done.")
	}
	proposal := operator.Proposal{
		Act: operator.ActDestroyKey, Target: "version " + name + " of a key, after a wait",
		Digest: operator.Digest(operator.ActDestroyKey, name, row.Root, row.Created.UTC().String()),
	}
	var ends time.Time
	if err := k.operators.Do(ctx, by, proposal, func() (err error) {
		ends, err = k.keys.Schedule(audit.By(ctx, string(by.Account())), domain, version, vault.DefaultWait)
		return err
	}); err != nil {
		return "", err
	}
	return name + " is scheduled for destruction at " + ends.UTC().Format("2 Jan 2006 15:04 UTC") + ".", nil
}
