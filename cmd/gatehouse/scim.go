package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/console"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/scim"
)

// provisionedGroups are the roles of the groups that an identity provider fills.
func provisionedGroups(cfg *config.Config) map[string]operator.Role {
	roles := cfg.ProvisionedRoles()
	if len(roles) == 0 {
		return nil
	}
	groups := make(map[string]operator.Role, len(roles))
	for group, role := range roles {
		groups[group] = operator.Role(role)
	}
	return groups
}

// scimTokens returns what knows the tokens of identity providers.
func (p *parts) scimTokens() (*scim.Tokens, error) {
	return scim.NewTokens(scim.TokensConfig{Store: p.db.ScimTokens(), Log: p.log, Derive: p.vault.Derive})
}

// newSCIM returns the door for identity providers; nil where there is none.
func (p *parts) newSCIM() (*scim.Server, error) {
	if !p.cfg.Operators.SCIM.Enabled {
		return nil, nil
	}
	at, err := url.Parse(p.cfg.ConsoleURL())
	if err != nil {
		return nil, err
	}
	tokens, err := p.scimTokens()
	if err != nil {
		return nil, err
	}
	return scim.New(scim.Config{
		URL: at, Directory: p.operators, Tokens: tokens, Log: p.log, Sources: p.cfg.Operators.SCIM.Sources, Logger: p.logger,
	})
}

// withSCIM puts the door for identity providers beside the console's pages.
func (p *parts) withSCIM(pages http.Handler) (http.Handler, error) {
	server, err := p.newSCIM()
	if err != nil || server == nil {
		return pages, err
	}
	providers := server.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, scim.Prefix) {
			providers.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	}), nil
}

// scimNeeds is what an identity provider wants and somebody here has to make possible.
func (o overviewSource) scimNeeds(ctx context.Context) []console.Need {
	n, err := o.operators.ProvisionRefused(ctx)
	if err != nil {
		o.logger.LogAttrs(ctx, slog.LevelWarn, "what the identity provider wants could not be read", slog.String("error", err.Error()))
		return nil
	}
	if n == 0 {
		return nil
	}
	return []console.Need{{Tone: console.Bad, Text: "the identity provider says that the last owner has left", Href: "/operators"}}
}

// soonEnds is how long before the last token's end the doctor speaks of it.
const soonEnds = 14 * 24 * time.Hour

// scimFindings says whether identity providers get what they ask for.
func scimFindings(ctx context.Context, p *parts, now time.Time) []finding {
	if !p.cfg.Operators.SCIM.Enabled {
		return nil
	}
	const check, again = "scim", "gatehouse account scim-token create, and give it to the identity provider"
	tokens, err := p.scimTokens()
	if err != nil {
		return []finding{{Check: check, Text: err.Error()}}
	}
	all, err := tokens.List(ctx)
	if err != nil {
		return []finding{{Check: check, Text: err.Error()}}
	}
	live, latest := 0, time.Time{}
	for _, k := range all {
		if k.Live(now) {
			live++
			if k.Until.After(latest) {
				latest = k.Until
			}
		}
	}
	token := finding{Check: check, OK: true, Text: count(live, "token", "tokens") + " for identity providers"}
	switch {
	case live == 0:
		token.OK, token.Text, token.Next = false, "no identity provider has a token: leavers stay", again
	case latest.Sub(now) < soonEnds:
		token.OK, token.Text, token.Next = false, "the last token for identity providers ends at "+when(latest), again
	}
	refused, err := p.operators.ProvisionRefused(ctx)
	switch {
	case err != nil:
		return []finding{token, {Check: check, Text: err.Error()}}
	case refused > 0:
		return []finding{token, {
			Check: check, Text: "the identity provider says that the last owner has left, who stays until there is another",
			Next: "make another owner: gatehouse account grant OPERATOR owner; the provider then asks again, or: gatehouse account suspend OPERATOR",
		}}
	}
	return []finding{token}
}

// scimTokenState is what a token is worth at a time, in a word or two.
func scimTokenState(k scim.Token, now time.Time) string {
	switch {
	case !k.Live(now):
		return "expired"
	case !k.Until.IsZero() && k.Until.Sub(now) < soonEnds:
		return "ends soon"
	}
	return "in use"
}

// errNoSCIM says that a token opens nothing yet.
var errNoSCIM = fmt.Sprintf("this token opens nothing until the configuration says operators.scim.enabled: true; the address is console.url with %sv2", scim.Prefix)
