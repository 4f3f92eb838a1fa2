package platform

import (
	"slices"
	"strings"
)

// xScopes are those of X's documentation and of its OpenAPI document, which
// differ by a few.
var xScopes = strings.Fields(`block.read block.write bookmark.read bookmark.write broadcast.read broadcast.write
	dm.read dm.write follows.read follows.write like.read like.write list.read list.write media.write mute.read
	mute.write offline.access space.read timeline.read tweet.moderate.write tweet.read tweet.write users.email users.read`)

// KnownScopes lists the scopes that p offers, sorted. Nil means that no complete
// list is published, as with Meta's permissions, and any may be right.
func KnownScopes(p Name) []string {
	if p == X {
		return slices.Clone(xScopes)
	}
	return nil
}

// Scopes returns the scopes that p's documents demand for an operation, sorted.
// Meta documents none by operation.
func Scopes(p Name, operation string) []string {
	if p != X {
		return nil
	}
	method, path, ok := strings.Cut(operation, " ")
	if !ok || !strings.HasPrefix(path, "/") {
		return nil
	}
	if leaf := findX(method, strings.Split(path[1:], "/")); leaf != nil {
		return slices.Clone(leaf.scopes)
	}
	return nil
}
