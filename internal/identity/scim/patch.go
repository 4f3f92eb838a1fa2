package scim

import (
	"maps"
	"slices"
	"strings"

	"gatehouse/internal/identity/operator"
)

// maxOperations is how many operations one PATCH has, and how many names the values have
// in it that have no path: each is parsed.
const maxOperations = 200

// operation is one of a PATCH (RFC 7644, 3.5.2).
type operation struct {
	remove, add bool
	path        string // empty for none
	value       any
	hasValue    bool
}

// readOperations reads the body of a PATCH. Entra writes the names of operations with a
// capital letter.
func readOperations(body object) ([]operation, error) {
	list, ok := body["operations"].([]any)
	if !ok || len(list) == 0 || len(list) > maxOperations {
		return nil, errSyntax
	}
	out := make([]operation, 0, len(list))
	for _, item := range list {
		o, ok := item.(object)
		if !ok {
			return nil, errSyntax
		}
		name, err := text(o["op"], "op")
		if err != nil {
			return nil, err
		}
		var op operation
		switch strings.ToLower(name) {
		case "add":
			op.add = true
		case "remove":
			op.remove = true
		case "replace":
		default:
			return nil, invalidValue("op must be add, replace or remove.")
		}
		if op.path, err = text(o["path"], "path"); err != nil {
			return nil, err
		}
		op.value, op.hasValue = o["value"]
		if !op.remove && !op.hasValue {
			return nil, invalidValue("An operation that adds or replaces needs a value.")
		}
		if op.remove && op.path == "" {
			return nil, noTarget
		}
		out = append(out, op)
	}
	return out, nil
}

// patchUser applies operations to a user, in order. The result has the activity only if
// an operation says it.
func patchUser(p operator.Provisioned, ops []operation) (operator.Desired, error) {
	d := draft{want: operator.Desired{Profile: p.Profile}}
	for _, op := range ops {
		if err := d.apply(op); err != nil {
			return operator.Desired{}, err
		}
	}
	return d.done(), nil
}

func (d *draft) apply(op operation) error {
	if op.path != "" {
		t, err := parsePath(op.path, schemaUser)
		switch {
		case err != nil:
			return err
		case op.remove:
			return d.unset(t)
		}
		return d.set(t, op.add, true, op.value)
	}
	o, ok := op.value.(object)
	if !ok {
		return invalidValue("Without a path, the value must be an object.")
	}
	if d.named += len(o); d.named > maxOperations {
		return errSyntax
	}
	for _, name := range sortedNames(o) {
		// Entra also writes whole paths as names.
		t, err := parsePath(name, schemaUser)
		if err != nil {
			return err
		}
		if err := d.set(t, op.add, false, o[name]); err != nil {
			return err
		}
	}
	return nil
}

// sortedNames are an object's names in an order that is always the same.
func sortedNames(o object) []string { return slices.Sorted(maps.Keys(o)) }
