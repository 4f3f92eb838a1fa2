package factor

import "context"

type knownKey struct{}

// Known says that a password is one of somebody who has shown before who they are: in a
// session, or in a browser in which they have signed in. Hashing it waits for no
// stranger's, however many of these there are, but for one that is running if there is a
// turn for one only.
func Known(ctx context.Context) context.Context { return context.WithValue(ctx, knownKey{}, true) }

// IsKnown reports whether [Known] was said.
func IsKnown(ctx context.Context) bool { return ctx.Value(knownKey{}) != nil }
