package scim

import "gatehouse/internal/identity/operator"

// HookTestOnlyFilter reads a filter on users.
func HookTestOnlyFilter(s string) (attribute, value string, err error) {
	e, err := parseFilter(s, schemaUser)
	return e.attribute, e.value, err
}

// HookTestOnlyPatch applies the body of a PATCH to a user.
func HookTestOnlyPatch(p operator.Provisioned, body []byte) (operator.Desired, error) {
	o, err := parseObject(body)
	if err != nil {
		return operator.Desired{}, err
	}
	ops, err := readOperations(o)
	if err != nil {
		return operator.Desired{}, err
	}
	return patchUser(p, ops)
}

// HookTestOnlyUser reads the body of a whole user.
func HookTestOnlyUser(body []byte) (operator.Desired, error) {
	o, err := parseObject(body)
	if err != nil {
		return operator.Desired{}, err
	}
	return readUser(o)
}

// HookTestOnlyPatchGroup applies the body of a PATCH to a group.
func HookTestOnlyPatchGroup(g operator.Group, body []byte) (operator.Group, []operator.AccountID, error) {
	o, err := parseObject(body)
	if err != nil {
		return operator.Group{}, nil, err
	}
	ops, err := readOperations(o)
	if err != nil {
		return operator.Group{}, nil, err
	}
	r := rosterOf(g)
	for _, op := range ops {
		if err := r.apply(op); err != nil {
			return operator.Group{}, nil, err
		}
	}
	return r.done()
}
