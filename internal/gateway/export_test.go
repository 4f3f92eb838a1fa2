package gateway

import (
	"context"

	"gatehouse/internal/platform"
)

// ReplaceAnswerTestOnly replaces how an OAuth endpoint is answered, until restore.
func ReplaceAnswerTestOnly(e platform.Endpoint, f func()) (restore func()) {
	old := endpoints[e]
	endpoints[e] = func(*call, context.Context) error { f(); return nil }
	return func() { endpoints[e] = old }
}
