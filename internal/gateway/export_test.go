package gateway

import (
	"context"

	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// ReplaceAnswerTestOnly replaces how an OAuth endpoint is answered, until restore.
func ReplaceAnswerTestOnly(e platform.Endpoint, f func()) (restore func()) {
	old := endpoints[e]
	endpoints[e] = func(*call, context.Context) error { f(); return nil }
	return func() { endpoints[e] = old }
}

// JSONArgumentsTestOnly lists the fields of a body as the policy judges them.
func JSONArgumentsTestOnly(b []byte) ([]policy.Argument, bool, error) {
	return jsonArguments(b, map[string]bool{"access_token": true})
}
