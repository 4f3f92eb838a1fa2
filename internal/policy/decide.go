package policy

import (
	"slices"

	"gatehouse"
)

// The stable identifiers of refusals. What allows is named
// "purpose/NAME/calls[N]" after its place in the configuration.
const (
	RuleNoPurpose         = "refuse/no-purpose"
	RuleUnknownPurpose    = "refuse/unknown-purpose"
	RulePurposeNotAllowed = "refuse/purpose-not-allowed"
	RuleOtherApp          = "refuse/other-app"
	RuleMethodOverride    = "refuse/method-override"
	RuleUnknownOperation  = "refuse/unknown-operation"
	RuleUndeclaredCall    = "refuse/undeclared-call"
	RuleNoOperation       = "refuse/no-operation"
)

// Request is what is asked for.
type Request struct {
	Service gatehouse.ServiceName
	// Allowed are the purposes that the configuration gives to the service.
	Allowed []gatehouse.PurposeName
	// Purpose is the one that the handle was made for.
	Purpose  gatehouse.PurposeName
	Platform gatehouse.Platform
	// App is the registration of the handle's connection.
	App gatehouse.AppName
	// Operations are the call itself, every batch item and every operation that
	// a field expansion implies. All of them must be declared.
	Operations []gatehouse.Operation
	// Unknown is set when any of them is not in the platform's documents.
	Unknown bool
	// Override is the method that the request tries to put in the place of its
	// own; empty when it does not.
	Override string

	// Params, Body and Selected are what the request carries and asks for. They
	// are looked at only where a contract bounds them; see [Set.Contract].
	Params, Body []Argument
	Selected     []Selected
	// Joined is set when the platform reads a parameter alike in query and body.
	Joined bool
	// Unjudged is set when there is a body that could not be read into Body.
	Unjudged bool
}

// Decision is the answer.
type Decision struct {
	Allow bool
	// Rule names what decided: where the call is declared, or a Rule constant.
	Rule string
	// Reason tells a developer what to declare and where. It is empty when the
	// call is declared.
	Reason string
	// Operation is the one that was refused, when one of several was.
	Operation gatehouse.Operation
	// Contract is what the reply is narrowed to; nil when the call declares nothing
	// beside itself, or is not declared.
	Contract *Contract
	// Report is set when the call is allowed only because the mode is report.
	Report bool
}

// Decide judges one request. Who calls and for what is never a matter of mode;
// what no purpose declares is refused in enforce mode and flagged in report mode.
// An allowed request costs no allocation.
func (s *Set) Decide(r Request) Decision {
	if r.Purpose == "" {
		return refuse(RuleNoPurpose, "", "the handle has no purpose; make a handle for one of the service's purposes")
	}
	c := s.purposes[r.Purpose]
	if c == nil {
		return refuse(RuleUnknownPurpose, "", "purpose "+string(r.Purpose)+" is not in the configuration; declare it under purposes, or make a handle for another")
	}
	if !slices.Contains(r.Allowed, r.Purpose) {
		return refuse(RulePurposeNotAllowed, "", "service "+string(r.Service)+" may not act for purpose "+string(r.Purpose)+
			"; add it to services."+string(r.Service)+".purposes")
	}
	if c.purpose.App != r.App {
		return refuse(RuleOtherApp, "", "purpose "+string(r.Purpose)+" belongs to app "+string(c.purpose.App)+
			", and this connection was made with app "+string(r.App))
	}
	// A method override makes the platform do something that the log would not
	// name, so report mode does not allow it either.
	if r.Override != "" {
		return refuse(RuleMethodOverride, "", "the request overrides its method; send it with the method that is meant")
	}
	if len(r.Operations) == 0 {
		return refuse(RuleNoOperation, "", "the request contains no operation")
	}
	if r.Unknown {
		return s.undeclared(RuleUnknownOperation, r.Operations[0], "the platform's documents have no such operation; check method and path")
	}
	var first declared
	for i, op := range r.Operations {
		found, ok := c.rules[op]
		if !ok {
			return s.undeclared(RuleUndeclaredCall, op, "purpose "+string(r.Purpose)+" does not declare "+string(op)+
				`; add "- call: `+string(op)+`" to purposes.`+string(r.Purpose)+".calls")
		}
		switch _, _, narrowed := found.contract.Bounds(); {
		case i == 0:
			first = found
		case narrowed && (first.contract == nil || first.contract.fields == nil):
			// The reply is narrowed by the contract of the call itself. One without
			// would be a way around that of the edge.
			return s.undeclared(RuleUnboundExpansion, op, "the declaration of "+string(op)+" says which fields it may have, and "+string(r.Operations[0])+
				" does not; declare fields for it, too, such as EDGE.id, or call the edge by itself")
		}
	}
	if first.contract != nil {
		if rule, reason := first.contract.judge(&r); rule != "" {
			return s.undeclared(rule, r.Operations[0], reason)
		}
	}
	return Decision{Allow: true, Rule: first.rule, Contract: first.contract}
}

func refuse(rule string, op gatehouse.Operation, reason string) Decision {
	return Decision{Rule: rule, Operation: op, Reason: reason}
}

// undeclared refuses in enforce mode and flags in report mode.
func (s *Set) undeclared(rule string, op gatehouse.Operation, reason string) Decision {
	return Decision{Allow: s.mode == Report, Report: s.mode == Report, Rule: rule, Operation: op, Reason: reason}
}
