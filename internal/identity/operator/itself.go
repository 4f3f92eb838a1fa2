package operator

// Itself is Gatehouse, where it does what was decided before: a right that was not
// confirmed in an access review ends.
func Itself() Actor { return Actor{system: true} }
