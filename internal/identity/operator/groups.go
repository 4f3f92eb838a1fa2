package operator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// GroupID is the random, permanent identifier of an identity provider's group here.
type GroupID string

// Group is a group of an identity provider that provisions accounts.
type Group struct {
	ID GroupID
	// Name is what it is called: needed, and one of its kind, whatever its case.
	// ExternalID is the provider's own identifier.
	Name, ExternalID string
	Created, Changed time.Time
	// Members are managed accounts, in order of their identifiers.
	Members []Member
	// Version counts changes.
	Version int64
}

// Member is an account in a group.
type Member struct {
	Account AccountID
	// Role is what the group gave when the account joined; empty for nothing.
	Role Role
}

// GroupChange is what SetGroup does to a group as it was read.
type GroupChange struct {
	// Group has the new name and external identifier, and the version that was read.
	Group  Group
	Add    []Member
	Remove []AccountID
	// Grants are given with the membership, unless the account has the role without
	// end; Drops are taken away if a group gave them, and no other group of the
	// account's gives them.
	Grants []AccountGrant
	Drops  []AccountRole
	// Gone removes the group.
	Gone bool
	At   time.Time
}

// AccountGrant is a grant of an account, AccountRole its role.
type (
	AccountGrant struct {
		Account AccountID
		Grant   GrantRecord
	}
	AccountRole struct {
		Account AccountID
		Role    Role
	}
)

// GroupStore keeps identity providers' groups, with the same promises as [Store].
type GroupStore interface {
	// AddGroup stores one without members. A name or external identifier that another
	// has is ErrConflict, and more than most are ErrCrowded.
	AddGroup(ctx context.Context, g Group, most int) error
	// Group returns one with its members, or ErrNotFound.
	Group(ctx context.Context, id GroupID) (Group, error)
	// GroupBy returns one without its members, by the name in the form by which it is
	// found or by the external identifier.
	GroupBy(ctx context.Context, external bool, key string) (Group, error)
	// Groups returns a part of them without their members, oldest first, and how many
	// there are.
	Groups(ctx context.Context, skip, most int) ([]Group, int, error)
	// SetGroup changes one, all in one. A version that is not the stored one any more
	// is ErrStale, and a member that is not managed is ErrNotFound.
	SetGroup(ctx context.Context, c GroupChange) error
	// GroupGrants returns the roles that groups gave.
	GroupGrants(ctx context.Context) ([]AccountRole, error)
	// DropGroupGrant takes a role away that a group gave.
	DropGroupGrant(ctx context.Context, r AccountRole) error
}

// Refusals of this file.
var (
	errUnknownGroup = wire.Refuse(gatehouse.ErrNotFound, "scim/unknown-group", "There is no such group.")
	errGroupTaken   = wire.Refuse(gatehouse.ErrConflict, "scim/uniqueness", "There is a group with this name or external identifier.")
	errMember       = wire.Refuse(gatehouse.ErrInvalid, "scim/invalid-value", "A member is no user that SCIM manages here.")
)

const (
	// maxGroups is how many groups there are, and maxMembers how many members of one.
	maxGroups  = 200
	maxMembers = 2000
	// actionGroup is the log's name for what happens to a group.
	actionGroup = "scim.group"
)

// HasGroups reports whether groups give anything here.
func (d *Directory) HasGroups() bool { return len(d.config.Groups) > 0 }

// roleOf is what a group gives: by its name, or else by the provider's identifier,
// which some providers write into tokens in the name's place.
func (d *Directory) roleOf(g Group) Role {
	if role := d.config.Groups[g.Name]; role != "" {
		return role
	}
	if g.ExternalID == "" {
		return ""
	}
	return d.config.Groups[g.ExternalID]
}

func (g Group) clean() (Group, error) {
	if g.Name == "" {
		return Group{}, invalidValue("displayName is needed.")
	}
	for name, value := range map[string]string{"displayName": g.Name, "externalId": g.ExternalID} {
		if err := cleanKey(name, value, maxKey); err != nil {
			return Group{}, err
		}
	}
	return g, nil
}

// AddGroup makes a group.
func (d *Directory) AddGroup(ctx context.Context, by Actor, name, externalID string, members []AccountID) (Group, error) {
	if err := by.provisions(); err != nil {
		return Group{}, err
	}
	at := d.now()
	g, err := Group{ID: GroupID(newID()), Name: name, ExternalID: externalID, Created: at, Changed: at, Version: 1}.clean()
	if err != nil {
		return Group{}, err
	}
	e := provisionEntry(actionGroup, by, "")
	e.Facts["group"], e.Facts["change"] = string(g.ID), "add"
	err = d.logged(ctx, e, func() error { return groupTaken(d.config.Store.AddGroup(ctx, g, maxGroups)) })
	if err != nil {
		return Group{}, fmt.Errorf("adding a group: %w", err)
	}
	if len(members) == 0 {
		return g, nil
	}
	return d.ChangeGroup(ctx, by, g.ID, func(g Group) (Group, []AccountID, error) { return g, members, nil })
}

func groupTaken(err error) error {
	if errors.Is(err, gatehouse.ErrConflict) && wire.RuleOf(err) == "" {
		return errGroupTaken
	}
	return err
}

// Group returns a group with its members, or ErrNotFound.
func (d *Directory) Group(ctx context.Context, id GroupID) (Group, error) {
	return group(d.config.Store.Group(ctx, id))
}

// GroupBy returns a group without its members by its name, or by its external
// identifier.
func (d *Directory) GroupBy(ctx context.Context, external bool, value string) (Group, error) {
	if !external {
		value = FoldKey(value)
	}
	return group(d.config.Store.GroupBy(ctx, external, value))
}

func group(g Group, err error) (Group, error) {
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Group{}, errUnknownGroup
	}
	if err != nil {
		return Group{}, fmt.Errorf("reading a group: %w", err)
	}
	return g, nil
}

// Groups returns a part of the groups without their members, oldest first, and how many
// there are.
func (d *Directory) Groups(ctx context.Context, skip, most int) ([]Group, int, error) {
	list, total, err := d.config.Store.Groups(ctx, skip, most)
	if err != nil {
		return nil, 0, fmt.Errorf("listing groups: %w", err)
	}
	return list, total, nil
}

// ChangeGroup gives a group the name and members that change says. Who joins gets the
// role that the configuration gives the group, and who leaves loses it unless somebody
// else gave it too. Who was a member before keeps what they have: a role that an operator
// took away meanwhile does not come back, unless the configuration gives the group
// another one now.
func (d *Directory) ChangeGroup(ctx context.Context, by Actor, id GroupID, change func(Group) (Group, []AccountID, error)) (Group, error) {
	if err := by.provisions(); err != nil {
		return Group{}, err
	}
	for try := 1; ; try++ {
		before, err := d.Group(ctx, id)
		if err != nil {
			return Group{}, err
		}
		next, members, err := change(before)
		if err != nil {
			return Group{}, err
		}
		if next, err = next.clean(); err != nil {
			return Group{}, err
		}
		err = d.setGroup(ctx, by, before, next, members)
		if errors.Is(err, ErrStale) && try < reprovisionTries {
			continue
		}
		if err != nil {
			return Group{}, fmt.Errorf("changing a group: %w", err)
		}
		return d.Group(ctx, id)
	}
}

// RemoveGroup removes a group: its members lose what it gave.
func (d *Directory) RemoveGroup(ctx context.Context, by Actor, id GroupID) error {
	if err := by.provisions(); err != nil {
		return err
	}
	for try := 1; ; try++ {
		g, err := d.Group(ctx, id)
		if err != nil {
			return err
		}
		c := GroupChange{Group: g, Gone: true, At: d.now()}
		for _, m := range g.Members {
			c.leave(m)
		}
		err = d.writeGroup(ctx, by, c, "remove")
		if errors.Is(err, ErrStale) && try < reprovisionTries {
			continue
		}
		if err != nil {
			return fmt.Errorf("removing a group: %w", err)
		}
		return nil
	}
}

func (d *Directory) setGroup(ctx context.Context, by Actor, before, next Group, members []AccountID) error {
	wanted := map[AccountID]bool{}
	for _, m := range members {
		wanted[m] = true
	}
	if len(wanted) > maxMembers {
		return ErrCrowded
	}
	c := GroupChange{Group: next, At: d.now()}
	role := d.roleOf(next)
	for _, m := range before.Members {
		switch {
		case !wanted[m.Account]:
			c.leave(m)
		case m.Role == role:
			delete(wanted, m.Account)
		default:
			c.leave(m)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		c.Add = append(c.Add, Member{id, role})
		if role == "" {
			continue
		}
		sealed, err := d.sealGrant(ctx, id, Grant{Role: role})
		if err != nil {
			return err
		}
		c.Grants = append(c.Grants, AccountGrant{id, sealed})
	}
	if len(c.Add) == 0 && len(c.Remove) == 0 && before.Name == next.Name && before.ExternalID == next.ExternalID {
		return nil
	}
	return d.writeGroup(ctx, by, c, "set")
}

// leave makes a member leave.
func (c *GroupChange) leave(m Member) {
	c.Remove = append(c.Remove, m.Account)
	if m.Role != "" {
		c.Drops = append(c.Drops, AccountRole(m))
	}
}

// writeGroup writes a change of a group. Each role that it gives or takes has an entry of
// its own, and what it gives is in the log before. What only takes away is done even if
// the log cannot be written.
func (d *Directory) writeGroup(ctx context.Context, by Actor, c GroupChange, what string) error {
	var unlogged error
	var finish []func(error)
	begin := func(e audit.Entry, gives bool) (err error) {
		var receipt audit.Receipt
		e.Verdict = verdictAllow
		if gives {
			receipt, err = d.config.Log.Intent(ctx, e)
		} else if receipt, err = d.config.Log.Reduce(ctx, e); err != nil {
			unlogged, err = err, nil
		}
		if err != nil {
			return fmt.Errorf("recording %s: %w", e.Action, err)
		}
		if receipt.ID() != "" {
			finish = append(finish, func(err error) { _ = d.finish(receipt, e, err) })
		}
		return nil
	}
	role := func(action string, id AccountID, role Role) audit.Entry {
		e := provisionEntry(action, by, id)
		e.Facts["role"], e.Facts["group"] = string(role), string(c.Group.ID)
		return e
	}
	all := provisionEntry(actionGroup, by, "")
	all.Facts["group"], all.Facts["change"] = string(c.Group.ID), what
	all.Facts["joined"], all.Facts["left"] = strconv.Itoa(len(c.Add)), strconv.Itoa(len(c.Remove))
	err := func() error {
		if err := begin(all, len(c.Grants) > 0); err != nil {
			return err
		}
		for _, drop := range c.Drops {
			if err := begin(role(actionRevoke, drop.Account, drop.Role), false); err != nil {
				return err
			}
		}
		for _, g := range c.Grants {
			if err := begin(role(actionGrant, g.Account, g.Grant.Grant.Role), true); err != nil {
				return err
			}
		}
		err := groupTaken(d.config.Store.SetGroup(ctx, c))
		if errors.Is(err, gatehouse.ErrNotFound) {
			return errMember
		}
		return err
	}()
	for _, f := range finish {
		f(err)
	}
	if err == nil && unlogged != nil {
		return fmt.Errorf("a group was changed, but that was not recorded: %w", unlogged)
	}
	return err
}

// tendGroups takes away what groups gave and the configuration does not give any more.
// It gives nothing: that takes the provider, who has shown its token.
func (d *Directory) tendGroups(ctx context.Context) error {
	given, err := d.config.Store.GroupGrants(ctx)
	if err != nil {
		return fmt.Errorf("looking for roles by groups: %w", err)
	}
	if len(given) == 0 {
		return nil
	}
	groups, _, err := d.Groups(ctx, 0, maxGroups)
	if err != nil {
		return err
	}
	upheld := map[AccountRole]bool{}
	for _, g := range groups {
		full, err := d.Group(ctx, g.ID)
		if errors.Is(err, gatehouse.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, m := range full.Members {
			if m.Role != "" && m.Role == d.roleOf(full) {
				upheld[AccountRole(m)] = true
			}
		}
	}
	for _, g := range given {
		if upheld[g] {
			continue
		}
		e := entry(actionRevoke, Actor{system: true}, g.Account)
		e.Facts["role"] = string(g.Role)
		err := d.reduced(ctx, e, deedOf(deedGrant, pair(g.Account, string(g.Role))), func() error { return d.config.Store.DropGroupGrant(ctx, g) })
		if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
			return fmt.Errorf("ending a role by a group: %w", err)
		}
	}
	return nil
}
