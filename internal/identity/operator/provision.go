package operator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// A Profile is what an identity provider that manages accounts says about somebody.
type Profile struct {
	// UserName is what the provider knows the account by here: needed, and one of its
	// kind, whatever its case. ExternalID is the provider's own identifier.
	UserName, ExternalID string
	// Display, Formatted, Given and Family are names; any may be empty.
	Display, Formatted, Given, Family string
	// Email is the account's address; needed.
	Email string
}

// Name is what other operators see.
func (p Profile) Name() string {
	name := strings.TrimSpace(p.Given + " " + p.Family)
	for _, better := range []string{p.Formatted, p.Display} {
		if better != "" {
			name = better
		}
	}
	if name == "" {
		name = p.UserName
	}
	if len(name) > maxName {
		name = strings.TrimSpace(strings.ToValidUTF8(name[:maxName], ""))
	}
	return name
}

// Provisioned is an account that an identity provider manages.
type Provisioned struct {
	ID      AccountID
	Profile Profile
	State   State
	// Reason is why the account is suspended, as in [Account].
	Reason string
	// Since is when the provider's management began, Changed when it last changed
	// something.
	Since, Changed time.Time
	// Refused is when the provider wanted the last owner gone and did not get it; zero
	// for not, or not any more.
	Refused time.Time
	// Made says that the provider made the account.
	Made bool
	// Version counts changes.
	Version int64
}

// Active reports whether the provider may take the person for somebody who works
// here: who has not enrolled yet is.
func (p Provisioned) Active() bool { return p.State == Active || p.State == Invited }

// A ProvisionedKey is what provisioned accounts are looked up by.
type ProvisionedKey int

// The keys.
const (
	ByUserName ProvisionedKey = iota
	ByExternalID
	ByAddress
)

// ProvisionStore keeps what makes an account one that an identity provider manages.
// It is written with the same promises as [Store].
type ProvisionStore interface {
	// AddProvisioned stores an account without grants, in one with its management.
	// A user name, external identifier or address that another has is ErrConflict;
	// more than most are ErrCrowded.
	AddProvisioned(ctx context.Context, r AccountRecord, p Provisioned, most int) error
	// LinkProvisioned puts an account that is not removed under management, once
	// only. With unclaimed, one that anybody has begun to enrol is ErrConflict.
	LinkProvisioned(ctx context.Context, p Provisioned, unclaimed bool, most int) error
	// UnlinkProvisioned ends the management, and the account's membership in groups
	// with the roles that it gave. Without any, it is ErrNotFound.
	UnlinkProvisioned(ctx context.Context, id AccountID) error
	// Provisioned returns one, or ErrNotFound.
	Provisioned(ctx context.Context, id AccountID) (Provisioned, error)
	// ProvisionedBy is Provisioned by a key, in the form by which it is found.
	ProvisionedBy(ctx context.Context, by ProvisionedKey, key string) (Provisioned, error)
	// AllProvisioned returns a part of them, oldest first, and how many there are.
	AllProvisioned(ctx context.Context, skip, most int) ([]Provisioned, int, error)
	// SetProvisioned stores a profile in the place of that of p.Version, and name and
	// address with the account. It is ErrStale if that is not the stored one any more,
	// and ErrAddress if the address would change although it may not: it may while the
	// account is linked to a single sign-on subject, or has neither been enrolled nor
	// been given a role by an operator.
	SetProvisioned(ctx context.Context, p Provisioned, name, emailKey string, at time.Time) error
	// NoteRefused notes that the last owner was to go; the zero time, that they stay.
	NoteRefused(ctx context.Context, id AccountID, at time.Time) error
	// Refused counts the active accounts that were to go and stayed.
	Refused(ctx context.Context) (int, error)
}

// What a ProvisionStore says beside the kinds of failure.
var (
	// ErrStale means that something changed since it was read.
	ErrStale = wire.Refuse(gatehouse.ErrConflict, "scim/changed", "This was changed by another request at the same time. Try again.")
	// ErrAddress means that an identity provider may not change this account's address.
	ErrAddress = wire.WithStatus(wire.Refuse(gatehouse.ErrConflict, "scim/address", "This account's address is changed in Gatehouse's console only: somebody could sign in by a new one."), http.StatusBadRequest)
	// ErrCrowded means that there are as many as are taken.
	ErrCrowded = wire.Refuse(gatehouse.ErrDenied, "scim/crowded", "Gatehouse takes no more of these.")
)

// Refusals of this file.
var (
	errUnprovisioned = wire.Refuse(gatehouse.ErrNotFound, "scim/unknown", "There is no such user, or SCIM does not manage it.")
	errTaken         = wire.Refuse(gatehouse.ErrConflict, "scim/uniqueness", "There is an account with this user name, external identifier or address. If SCIM shall manage it: gatehouse account scim-link.")
	errNotOurs       = wire.Refuse(gatehouse.ErrConflict, "scim/suspended", "This account was not suspended by SCIM. An operator resumes it in Gatehouse.")
)

// maxProvisioned is how many accounts an identity provider may manage, and maxKey
// bounds what it calls them, in bytes.
const (
	maxProvisioned = 5000
	maxKey         = 255
)

// reasonSCIM is why an account is suspended that an identity provider suspended.
const reasonSCIM = "scim"

// actionLink is the log's name for an account that comes under management, or leaves it.
const actionLink = "scim.link"

// Provisioner is an identity provider that presented a token; the log names the token.
// It may do what this file and groups.go offer it, and nothing else.
func Provisioner(token string) Actor { return Actor{provisioner: token} }

// errProvisioner means that somebody else called what is a provisioner's.
var errProvisioner = fmt.Errorf("provisioning: the actor is none that provisions: %w", gatehouse.ErrDenied)

func (a Actor) provisions() error {
	if a.provisioner == "" {
		return errProvisioner
	}
	return nil
}

// clean returns the profile with its address in the form by which it is found, or says
// what is wrong with it. No error repeats a value.
func (p Profile) clean() (Profile, string, error) {
	p.UserName = strings.TrimSpace(p.UserName)
	for _, f := range []struct {
		name, value string
		most        int
	}{
		{"userName", p.UserName, maxKey},
		{"externalId", p.ExternalID, maxKey},
		{"displayName", p.Display, maxKey}, {"name.formatted", p.Formatted, maxKey},
		{"name.givenName", p.Given, maxKey}, {"name.familyName", p.Family, maxKey},
	} {
		if err := cleanKey(f.name, f.value, f.most); err != nil {
			return Profile{}, "", err
		}
	}
	if p.UserName == "" {
		return Profile{}, "", invalidValue("userName is needed.")
	}
	email, key, err := cleanEmail(p.Email)
	if err != nil {
		return Profile{}, "", invalidValue("An address such as ada@example.com, of at most 200 bytes, is needed: in emails, or as userName.")
	}
	p.Email = email
	return p, key, nil
}

func cleanKey(name, value string, most int) error {
	if len(value) > most || !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return invalidValue(fmt.Sprintf("%s may have %d printable bytes.", name, most))
	}
	return nil
}

func invalidValue(detail string) error {
	return wire.Refuse(gatehouse.ErrInvalid, "scim/invalid-value", detail)
}

// FoldKey is the form by which a user name, or the name of a group, is found.
func FoldKey(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// provisionEntry is entry for a provisioner: it names the token too.
func provisionEntry(action string, by Actor, id AccountID) audit.Entry {
	e := entry(action, by, id)
	if by.provisioner != "" {
		e.Facts["token"] = by.provisioner
	}
	return e
}

// Provision makes an account that its identity provider manages. It is invited: it has
// no role and nothing to sign in with, and whoever may invite operators makes the link
// to enrol ([Directory.Reinvite]). An account that an operator has invited to the same
// address comes under management in its place if nobody has begun to enrol it; any other
// is ErrConflict. One that is not active is suspended from the beginning.
func (d *Directory) Provision(ctx context.Context, by Actor, p Profile, active bool) (Provisioned, error) {
	if err := by.provisions(); err != nil {
		return Provisioned{}, err
	}
	p, key, err := p.clean()
	if err != nil {
		return Provisioned{}, err
	}
	at := d.now()
	made := Provisioned{Profile: p, State: Invited, Since: at, Changed: at, Version: 1}
	switch there, err := d.config.Store.AccountByEmail(ctx, key); {
	case err == nil:
		made.ID, made.State = there.Account.ID, there.Account.State
		// Under the operators' own name until the provider changes it.
		e := provisionEntry(actionLink, by, made.ID)
		e.Facts["change"] = "add"
		err = d.logged(ctx, e, func() error { return taken(d.config.Store.LinkProvisioned(ctx, made, true, maxProvisioned)) })
		if err != nil {
			return Provisioned{}, fmt.Errorf("provisioning an operator: %w", err)
		}
	case !errors.Is(err, gatehouse.ErrNotFound):
		return Provisioned{}, fmt.Errorf("provisioning an operator: %w", err)
	default:
		made.ID, made.Made = AccountID(newID()), true
		r := AccountRecord{
			Account:     Account{ID: made.ID, Name: p.Name(), Email: p.Email, State: Invited, Created: at},
			Environment: d.config.Environment, EmailKey: key, Handle: make([]byte, handleSize),
		}
		_, _ = rand.Read(r.Handle) // never fails
		e := provisionEntry(actionInvite, by, made.ID)
		err := d.logged(ctx, e, func() error { return taken(d.config.Store.AddProvisioned(ctx, r, made, maxProvisioned)) })
		if err != nil {
			return Provisioned{}, fmt.Errorf("provisioning an operator: %w", err)
		}
	}
	if !active {
		// Until this is written the account cannot be enrolled all the same: it has no link.
		if err := d.leave(ctx, by, made.ID, d.suspendProvisioned); err != nil {
			return Provisioned{}, err
		}
	}
	return d.Provisioned(ctx, made.ID)
}

// taken says what a conflict of names is about.
func taken(err error) error {
	if errors.Is(err, gatehouse.ErrConflict) && wire.RuleOf(err) == "" {
		return errTaken
	}
	return err
}

// Provisioned returns an account that an identity provider manages, or ErrNotFound.
func (d *Directory) Provisioned(ctx context.Context, id AccountID) (Provisioned, error) {
	return provisioned(d.config.Store.Provisioned(ctx, id))
}

// ProvisionedBy is Provisioned by what the provider knows the account by.
func (d *Directory) ProvisionedBy(ctx context.Context, by ProvisionedKey, value string) (Provisioned, error) {
	if by != ByExternalID {
		value = FoldKey(value)
	}
	return provisioned(d.config.Store.ProvisionedBy(ctx, by, value))
}

func provisioned(p Provisioned, err error) (Provisioned, error) {
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Provisioned{}, errUnprovisioned
	}
	if err != nil {
		return Provisioned{}, fmt.Errorf("reading a provisioned operator: %w", err)
	}
	return p, nil
}

// AllProvisioned returns a part of the accounts that identity providers manage, oldest
// first, and how many there are.
func (d *Directory) AllProvisioned(ctx context.Context, skip, most int) ([]Provisioned, int, error) {
	list, total, err := d.config.Store.AllProvisioned(ctx, skip, most)
	if err != nil {
		return nil, 0, fmt.Errorf("listing provisioned operators: %w", err)
	}
	return list, total, nil
}

// ProvisionRefused counts the accounts that an identity provider wanted gone and that
// stayed, since nobody else would have been an owner.
func (d *Directory) ProvisionRefused(ctx context.Context) (int, error) {
	return d.config.Store.Refused(ctx)
}

// A Desired is what an identity provider wants an account to be.
type Desired struct {
	Profile Profile
	// Active says whether the person works here; nil, that nothing is said about it.
	Active *bool
}

// reprovisionTries is how often a change is computed anew because something else
// changed the account meanwhile.
const reprovisionTries = 3

// Reprovision changes a managed account to what change makes of it. What takes access
// away is done first, whatever else is wrong with the change, and what gives it last.
func (d *Directory) Reprovision(ctx context.Context, by Actor, id AccountID, change func(Provisioned) (Desired, error)) (Provisioned, error) {
	if err := by.provisions(); err != nil {
		return Provisioned{}, err
	}
	for try := 1; ; try++ {
		p, err := d.Provisioned(ctx, id)
		if err != nil {
			return Provisioned{}, err
		}
		want, err := change(p)
		if err != nil {
			return Provisioned{}, err
		}
		err = d.reprovision(ctx, by, p, want)
		if errors.Is(err, ErrStale) && try < reprovisionTries {
			continue
		}
		if err != nil {
			return Provisioned{}, fmt.Errorf("changing a provisioned operator: %w", err)
		}
		return d.Provisioned(ctx, id)
	}
}

func (d *Directory) reprovision(ctx context.Context, by Actor, p Provisioned, want Desired) error {
	if want.Active != nil && !*want.Active {
		if err := d.leave(ctx, by, p.ID, d.suspendProvisioned); err != nil {
			return err
		}
	}
	resume := want.Active != nil && *want.Active && p.State == Suspended
	if resume && p.Reason != reasonSCIM {
		return errNotOurs
	}
	profile, key, err := want.Profile.clean()
	if err != nil {
		return err
	}
	if profile != p.Profile {
		next := p
		next.Profile = profile
		e := provisionEntry(actionFactor, by, p.ID)
		e.Facts["factor"], e.Facts["change"] = "profile", "set"
		err := d.logged(ctx, e, func() error { return taken(d.config.Store.SetProvisioned(ctx, next, profile.Name(), key, d.now())) })
		if err != nil {
			return err
		}
	}
	if want.Active == nil || !*want.Active {
		return nil
	}
	if resume {
		if err := d.resumeProvisioned(ctx, by, p.ID); err != nil {
			return err
		}
	}
	return d.stays(ctx, p)
}

// stays forgets that an account was to go.
func (d *Directory) stays(ctx context.Context, p Provisioned) error {
	if p.Refused.IsZero() {
		return nil
	}
	return d.config.Store.NoteRefused(ctx, p.ID, time.Time{})
}

// leave takes access away from an account, in a way that the last owner is kept. That
// they were to go is noted then, for whoever looks after this Gatehouse.
func (d *Directory) leave(ctx context.Context, by Actor, id AccountID, how func(context.Context, Actor, AccountRecord) error) error {
	r, err := d.record(ctx, id)
	if err != nil {
		return err
	}
	err = how(ctx, by, r)
	if errors.Is(err, ErrLast) {
		if err := d.config.Store.NoteRefused(ctx, id, d.now()); err != nil {
			return err
		}
		return wire.Refuse(gatehouse.ErrConflict, wire.RuleOf(ErrLast), "This is the last owner of this Gatehouse, who stays. Make another owner there first.")
	}
	return err
}

// suspendProvisioned is suspend by an identity provider. It also holds an invited
// account, whose link ends, and takes over what was suspended for being idle: the
// provider's word that somebody has left must be seen by who would resume it.
func (d *Directory) suspendProvisioned(ctx context.Context, by Actor, r AccountRecord) error {
	at := d.now()
	change := StateChange{From: []State{Active, Invited}, To: Suspended, Reason: reasonSCIM, At: at, Keep: Owner, Decider: r.Account.May(ApprovalsDecide, at)}
	switch {
	case r.Account.State == Suspended && r.Account.Reason == reasonIdle:
		change.From, change.Because = []State{Suspended}, reasonIdle
	case r.Account.State == Suspended:
		return nil
	}
	e := provisionEntry(actionSuspend, by, r.Account.ID)
	e.Facts["reason"] = reasonSCIM
	deed := deedOf(deedSuspend, string(r.Account.ID))
	deed.Reason = reasonSCIM
	return d.reduced(ctx, e, deed, func() error { return d.stateRefusal(d.config.Store.SetState(ctx, r.Account.ID, change)) })
}

// resumeProvisioned undoes suspendProvisioned.
func (d *Directory) resumeProvisioned(ctx context.Context, by Actor, id AccountID) error {
	r, err := d.record(ctx, id)
	if err != nil {
		return err
	}
	return d.logged(ctx, provisionEntry(actionResume, by, id), func() error {
		return d.stateRefusal(d.config.Store.SetState(ctx, id, StateChange{From: []State{Suspended}, Because: reasonSCIM, To: resumed(r), At: d.now()}))
	})
}

// resumed is the state that a suspended account goes back to: who never enrolled has
// nothing to sign in with, and is invited still.
func resumed(r AccountRecord) State {
	if r.Account.LastSeen.IsZero() {
		return Invited
	}
	return Active
}

// Deprovision removes a managed account for good, as [Directory.Remove] does for the
// host.
func (d *Directory) Deprovision(ctx context.Context, by Actor, id AccountID) error {
	if err := by.provisions(); err != nil {
		return err
	}
	if _, err := d.Provisioned(ctx, id); err != nil {
		return err
	}
	return d.leave(ctx, by, id, d.remove)
}

// Manage puts an account that was made here under its identity provider's management,
// with its address as the user name. From then on the provider suspends, resumes and
// removes it.
func (d *Directory) Manage(ctx context.Context, by Actor, id AccountID) error {
	if _, err := d.authorise(ctx, by, OperatorsChange, true); err != nil {
		return err
	}
	r, err := d.record(ctx, id)
	if err != nil {
		return err
	}
	if r.EmailKey == "" {
		return wire.Refuse(gatehouse.ErrConflict, "scim/no-address", "The account has no address yet, by which a provider could find it.")
	}
	if decides(r.Account) {
		if err := d.authoriseOwner(ctx, by, "scim", "", r); err != nil {
			return err
		}
	}
	at := d.now()
	p := Provisioned{ID: id, Profile: Profile{UserName: r.Account.Email, Display: r.Account.Name, Email: r.Account.Email}, Since: at, Changed: at, Version: 1}
	e := entry(actionLink, by, id)
	e.Facts["change"] = "add"
	return d.logged(ctx, e, func() error { return taken(d.config.Store.LinkProvisioned(ctx, p, false, maxProvisioned)) })
}

// Unmanage ends an identity provider's management of an account: its roles by groups
// go, and everything else stays as it is.
func (d *Directory) Unmanage(ctx context.Context, by Actor, id AccountID) error {
	if _, err := d.authorise(ctx, by, OperatorsChange, true); err != nil {
		return err
	}
	e := entry(actionLink, by, id)
	e.Facts["change"] = "remove"
	return d.logged(ctx, e, func() error {
		if err := d.config.Store.UnlinkProvisioned(ctx, id); errors.Is(err, gatehouse.ErrNotFound) {
			return errUnprovisioned
		} else if err != nil {
			return err
		}
		return nil
	})
}
