package review

// HookTestOnlyBound returns how long an item is taken to be in the evidence at most, and
// how it is written there.
func HookTestOnlyBound(i Item) (int, DocumentItem) { return itemBound(i), i.document() }
