package connect

import "slices"

// ReturnList is a list of addresses to which a browser may be sent, as it is written in
// the configuration. The zero list has none.
type ReturnList struct{ rules []returnRule }

// NewReturnList reads the entries: each an address, exactly, or everything below a path
// that ends in "/*". https, or http on loopback.
func NewReturnList(entries []string) (ReturnList, error) {
	var l ReturnList
	for _, e := range entries {
		rule, err := parseReturnRule(e)
		if err != nil {
			return ReturnList{}, err
		}
		l.rules = append(l.rules, rule)
	}
	return l, nil
}

// Allows reports whether a browser may be sent to an address.
func (l ReturnList) Allows(address string) bool {
	u, err := parseReturn(address)
	return err == nil && slices.ContainsFunc(l.rules, func(r returnRule) bool { return r.allows(u) })
}
