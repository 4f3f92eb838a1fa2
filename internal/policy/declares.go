package policy

// Declares reports whether a parameter, or a field of the body with the path to
// it, stands under one of the contract's headings. On nil it is false.
func (c *Contract) Declares(name string) bool {
	if c == nil {
		return false
	}
	return c.params[name] != nil || c.body[name] != nil
}
