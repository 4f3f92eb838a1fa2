package audit

import (
	"context"
	"maps"
)

// factOperator is the fact that names the operator who did something: the random id of
// their account, never a name or an address.
const factOperator = "operator"

// byKey is the key of a context's operator.
type byKey struct{}

// By returns a context in which every entry that is written by [Log.Intent],
// [Log.Record] and [Log.Reduce] carries the fact "operator" with the id of an account,
// so that what an operator does through other packages is theirs in the log. The id
// must be one that means nothing outside the table of accounts.
func By(ctx context.Context, account string) context.Context {
	if account == "" {
		return ctx
	}
	return context.WithValue(ctx, byKey{}, account)
}

// attributed is the entry with who the context says did it, unless it says so itself.
func attributed(ctx context.Context, e Entry) Entry {
	account, _ := ctx.Value(byKey{}).(string)
	if account == "" || e.Facts[factOperator] != "" {
		return e
	}
	facts := map[string]string{factOperator: account}
	maps.Copy(facts, e.Facts)
	e.Facts = facts
	return e
}
