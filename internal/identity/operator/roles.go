package operator

import (
	"slices"
	"time"
)

// A Permission is one kind of thing that an operator may see or do.
type Permission string

// The permissions. Every route of the console names exactly one.
const (
	// Anyone is what needs no account: the pages to sign in, and what they load.
	Anyone Permission = "anyone"
	// Self is what every operator may: their own sessions and factors.
	Self Permission = "self"

	OverviewRead      Permission = "overview.read"
	CallsRead         Permission = "calls.read"
	ConnectionsRead   Permission = "connections.read"
	ConnectionsRevoke Permission = "connections.revoke"
	PeopleRead        Permission = "people.read"
	PeopleErase       Permission = "people.erase"
	FlowsRead         Permission = "flows.read"
	PurposesRead      Permission = "purposes.read"
	DestinationsRead  Permission = "destinations.read"
	KeysRead          Permission = "keys.read"
	KeysRotate        Permission = "keys.rotate"
	KeysDestroy       Permission = "keys.destroy"
	ServicesRead      Permission = "services.read"
	ServicesChange    Permission = "services.change"
	OperatorsRead     Permission = "operators.read"
	OperatorsChange   Permission = "operators.change"
	OwnerChange       Permission = "owner.change"
	ReviewsRead       Permission = "reviews.read"
	ReviewsDecide     Permission = "reviews.decide"
	LogRead           Permission = "log.read"
	// LogReveal opens the sealed fields of entries.
	LogReveal        Permission = "log.reveal"
	ConfigRead       Permission = "config.read"
	HealthRead       Permission = "health.read"
	EverythingRevoke Permission = "everything.revoke"
	RestoreApprove   Permission = "restore.approve"
	ApprovalsDecide  Permission = "approvals.decide"
)

// A Role is a list of permissions with a name.
type Role string

// The roles.
const (
	// Owner may do everything.
	Owner Role = "owner"
	// Security may do everything but say who the operators are.
	Security Role = "security"
	// Operator keeps the app's connections running.
	Operator Role = "operator"
	// Developer sees how the app's services fare, and no person.
	Developer Role = "developer"
	// Auditor sees how everything is kept, changes nothing, and sees no person.
	Auditor Role = "auditor"
)

// permissions is the table of roles.
var permissions = map[Role][]Permission{
	Owner: {
		OverviewRead, CallsRead, ConnectionsRead, ConnectionsRevoke, PeopleRead, PeopleErase, FlowsRead, PurposesRead, DestinationsRead,
		KeysRead, KeysRotate, KeysDestroy, ServicesRead, ServicesChange, OperatorsRead, OperatorsChange, OwnerChange, ReviewsRead, ReviewsDecide,
		LogRead, LogReveal, ConfigRead, HealthRead, EverythingRevoke, RestoreApprove, ApprovalsDecide,
	},
	Security: {
		OverviewRead, CallsRead, ConnectionsRead, ConnectionsRevoke, PeopleRead, PeopleErase, FlowsRead, PurposesRead, DestinationsRead,
		KeysRead, KeysRotate, KeysDestroy, ServicesRead, ServicesChange, OperatorsRead, ReviewsRead, ReviewsDecide,
		LogRead, LogReveal, ConfigRead, HealthRead, EverythingRevoke, RestoreApprove, ApprovalsDecide,
	},
	Operator: {
		OverviewRead, CallsRead, ConnectionsRead, ConnectionsRevoke, PeopleRead, PeopleErase, FlowsRead, PurposesRead, DestinationsRead,
		KeysRead, KeysRotate, ServicesRead, ServicesChange, OperatorsRead, ReviewsRead, LogRead, ConfigRead, HealthRead,
	},
	Developer: {
		OverviewRead, CallsRead, FlowsRead, PurposesRead, DestinationsRead, ServicesRead, LogRead, ConfigRead, HealthRead,
	},
	Auditor: {
		OverviewRead, CallsRead, ConnectionsRead, FlowsRead, PurposesRead, DestinationsRead, KeysRead, ServicesRead, OperatorsRead,
		ReviewsRead, LogRead, ConfigRead, HealthRead,
	},
}

// dangerous are the permissions whose use demands that a factor was shown lately:
// what they allow cannot be taken back, shows what is sealed, or gives access.
var dangerous = []Permission{
	PeopleErase, KeysRotate, KeysDestroy, ServicesChange, OperatorsChange, OwnerChange, ReviewsDecide, LogReveal, EverythingRevoke,
	RestoreApprove, ApprovalsDecide,
}

// Roles returns all roles, from the one that may do most on.
func Roles() []Role { return []Role{Owner, Security, Operator, Developer, Auditor} }

// Permissions returns all permissions that stand in roles.
func Permissions() []Permission { return slices.Clone(permissions[Owner]) }

// Permissions returns what a role allows, nothing for one that does not exist.
func (r Role) Permissions() []Permission { return slices.Clone(permissions[r]) }

// Dangerous reports whether a permission's use demands a recent sign-in.
func (p Permission) Dangerous() bool { return slices.Contains(dangerous, p) }

// May reports whether the account may do something at a time: it is active, and a
// grant that has not ended allows it.
func (a *Account) May(p Permission, at time.Time) bool {
	if p == Anyone {
		return true
	}
	if a == nil || a.State != Active {
		return false
	}
	if p == Self {
		return true
	}
	return slices.ContainsFunc(a.Grants, func(g Grant) bool { return g.live(at) && slices.Contains(permissions[g.Role], p) })
}

// Is reports whether the account has a role at a time.
func (a *Account) Is(r Role, at time.Time) bool {
	return slices.ContainsFunc(a.Grants, func(g Grant) bool { return g.Role == r && g.live(at) })
}

// rolesWith returns the roles that hold a permission.
func rolesWith(p Permission) []Role {
	return slices.DeleteFunc(Roles(), func(r Role) bool { return !slices.Contains(permissions[r], p) })
}
