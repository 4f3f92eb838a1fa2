package gateway

import (
	"context"
	"log/slog"
	"net/http"

	"gatehouse/internal/platform"
)

// interpret notes what an error of the platform says.
func (c *call) interpret(ctx context.Context, status int, h http.Header, body []byte) {
	c.interpretFor(ctx, c.owner(), status, h, body)
}

// interpretFor notes what an error says of the owner's grant: a token that the
// platform refused for good is renewed before the next call, if it can be, and
// otherwise the grant is marked, so that the next call is refused here with the
// reason instead of being sent.
func (c *call) interpretFor(ctx context.Context, o owner, status int, h http.Header, body []byte) {
	outcome := platform.Interpret(c.at.platform, status, h, body[:min(len(body), 8<<10)])
	c.said = outcome.Kind.String()
	if outcome.Cause != "" {
		c.said += "/" + outcome.Cause
	}
	if o.asked != nil {
		c.gateway.config.Budgets.Refused(o.asked, outcome)
	}
	if outcome.Kind != platform.OutcomeTokenDead || o.credential == nil {
		return
	}
	if err := c.gateway.config.Connections.TokenRefused(context.WithoutCancel(ctx), o.credential, outcome.Cause); err != nil {
		c.gateway.log.ErrorContext(ctx, "a dead grant could not be marked", slog.String("platform", string(c.at.platform)), slog.Any("error", err))
	}
}
