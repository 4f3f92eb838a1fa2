package console

import "gatehouse/internal/identity/operator"

// Permission is what a route demands of whoever asks for it.
type Permission = operator.Permission

// The permissions of pages, by the names that rows of the table use. anyone and self
// belong to no role.
const (
	anyone            = operator.Anyone
	self              = operator.Self
	overviewRead      = operator.OverviewRead
	callsRead         = operator.CallsRead
	connectionsRead   = operator.ConnectionsRead
	connectionsRevoke = operator.ConnectionsRevoke
	peopleRead        = operator.PeopleRead
	peopleErase       = operator.PeopleErase
	flowsRead         = operator.FlowsRead
	purposesRead      = operator.PurposesRead
	destinationsRead  = operator.DestinationsRead
	keysRead          = operator.KeysRead
	keysRotate        = operator.KeysRotate
	keysDestroy       = operator.KeysDestroy
	servicesRead      = operator.ServicesRead
	servicesChange    = operator.ServicesChange
	operatorsRead     = operator.OperatorsRead
	operatorsChange   = operator.OperatorsChange
	ownerChange       = operator.OwnerChange
	reviewsRead       = operator.ReviewsRead
	reviewsDecide     = operator.ReviewsDecide
	logRead           = operator.LogRead
	logReveal         = operator.LogReveal
	configRead        = operator.ConfigRead
	healthRead        = operator.HealthRead
	everythingRevoke  = operator.EverythingRevoke
	restoreApprove    = operator.RestoreApprove
	approvalsDecide   = operator.ApprovalsDecide
)

// permissions are all that a route may name: a misspelt one would be a page that
// nobody, or the wrong people, can open.
var permissions = func() map[Permission]bool {
	all := map[Permission]bool{anyone: true, self: true}
	for _, p := range operator.Permissions() {
		all[p] = true
	}
	return all
}()
