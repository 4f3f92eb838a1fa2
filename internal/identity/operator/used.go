package operator

import "slices"

// Trace is by which entries of the log one sees that a permission was used: those of an
// action, with these facts.
type Trace struct {
	Action string
	Facts  map[string]string
}

func plain(actions ...string) (traces []Trace) {
	for _, a := range actions {
		traces = append(traces, Trace{Action: a})
	}
	return traces
}

// ofAct are the entries by which an act that takes two was asked for, and done.
func ofAct(act Act) []Trace {
	facts := map[string]string{"act": string(act)}
	return []Trace{{actionPropose, facts}, {actionUse, facts}}
}

// traces are those of the permissions whose use is recorded. Reading is not.
var traces = map[Permission][]Trace{
	ConnectionsRevoke: plain("connect.revoke"),
	PeopleErase:       plain("person.erase"),
	KeysRotate:        plain("keys.rotate"),
	KeysDestroy:       slices.Concat(plain("keys.destroy", "keys.schedule"), ofAct(ActDestroyKey)),
	ServicesChange:    plain("service.key.create", "service.key.expire", "service.key.revoke", "handle.revoke"),
	OperatorsChange:   plain(actionInvite, actionGrant, actionRevoke, actionHandOver, actionSuspend, actionResume, actionRemove, "scim.token", "scim.token.revoke"),
	OwnerChange: slices.Concat(ofAct(ActChangeOwner), ofAct(ActScimToken), []Trace{
		{actionGrant, map[string]string{"role": string(Owner)}}, {actionGrant, map[string]string{"role": string(Security)}},
		{actionRevoke, map[string]string{"role": string(Owner)}}, {actionRevoke, map[string]string{"role": string(Security)}},
	}),
	ReviewsDecide:    plain("review.start", "review.import", "review.decide", "review.finish"),
	LogReveal:        plain("audit.reveal"),
	EverythingRevoke: ofAct(ActRevokeEverything),
	RestoreApprove:   ofAct(ActRestore),
	ApprovalsDecide:  plain(actionApprove, actionDecline),
}

// Traces returns by which entries of the log one sees that the permission was used; none
// for one whose use is not recorded, which is reading.
func (p Permission) Traces() []Trace { return slices.Clone(traces[p]) }

// Own returns what an account may by one of its grants and by none of its others that last
// as long.
func (a *Account) Own(g Grant) []Permission {
	var own []Permission
	for _, p := range permissions[g.Role] {
		if !slices.ContainsFunc(a.Grants, func(other Grant) bool {
			return other.Role != g.Role && (other.Until.IsZero() || !g.Until.IsZero() && !other.Until.Before(g.Until)) && slices.Contains(permissions[other.Role], p)
		}) {
			own = append(own, p)
		}
	}
	return own
}
