package console

// Permission is what a route demands of whoever asks for it.
type Permission string

// The permissions of pages. anyone and self belong to no role.
const (
	anyone            Permission = "anyone"
	self              Permission = "self"
	overviewRead      Permission = "overview.read"
	callsRead         Permission = "calls.read"
	connectionsRead   Permission = "connections.read"
	connectionsRevoke Permission = "connections.revoke"
	peopleRead        Permission = "people.read"
	peopleErase       Permission = "people.erase"
	flowsRead         Permission = "flows.read"
	purposesRead      Permission = "purposes.read"
	destinationsRead  Permission = "destinations.read"
	keysRead          Permission = "keys.read"
	keysRotate        Permission = "keys.rotate"
	keysDestroy       Permission = "keys.destroy"
	servicesRead      Permission = "services.read"
	servicesChange    Permission = "services.change"
	operatorsRead     Permission = "operators.read"
	operatorsChange   Permission = "operators.change"
	ownerChange       Permission = "owner.change"
	reviewsRead       Permission = "reviews.read"
	reviewsDecide     Permission = "reviews.decide"
	logRead           Permission = "log.read"
	logReveal         Permission = "log.reveal"
	configRead        Permission = "config.read"
	healthRead        Permission = "health.read"
	everythingRevoke  Permission = "everything.revoke"
	restoreApprove    Permission = "restore.approve"
	approvalsDecide   Permission = "approvals.decide"
)

// permissions are all that a route may name: a misspelt one would be a page that
// nobody, or the wrong people, can open.
var permissions = map[Permission]bool{
	anyone: true, self: true, overviewRead: true, callsRead: true, connectionsRead: true, connectionsRevoke: true,
	peopleRead: true, peopleErase: true, flowsRead: true, purposesRead: true, destinationsRead: true,
	keysRead: true, keysRotate: true, keysDestroy: true, servicesRead: true, servicesChange: true,
	operatorsRead: true, operatorsChange: true, ownerChange: true, reviewsRead: true, reviewsDecide: true,
	logRead: true, logReveal: true, configRead: true, healthRead: true, everythingRevoke: true,
	restoreApprove: true, approvalsDecide: true,
}
