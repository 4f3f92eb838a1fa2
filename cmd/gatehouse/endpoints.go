package main

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/connect"
	"gatehouse/internal/platform"
)

// sandboxPrefix is where the sandbox's one Meta listener serves each of Meta's
// hosts (docs/sandbox.md).
var sandboxPrefix = map[platform.Name]map[platform.Role]string{
	platform.Facebook:  {platform.RoleVideo: "/video", platform.RoleUpload: "/rupload"},
	platform.Instagram: {platform.RoleAPI: "/instagram", platform.RoleToken: "/instagram", platform.RoleConsent: "/instagram", platform.RoleUpload: "/rupload"},
	platform.Threads:   {platform.RoleAPI: "/threads", platform.RoleToken: "/threads", platform.RoleConsent: "/threads"},
}

// base returns the base URL of a platform's host: the real one, or the
// sandbox's if the configuration names one.
func base(cfg *config.Config, p platform.Name, r platform.Role) string {
	switch {
	case p == platform.X && cfg.Sandbox.X != "":
		return strings.TrimSuffix(cfg.Sandbox.X, "/")
	case p != platform.X && cfg.Sandbox.Meta != "":
		return strings.TrimSuffix(cfg.Sandbox.Meta, "/") + sandboxPrefix[p][r]
	}
	return platform.BaseURL(p, r)
}

// endpoints returns where an app registration's platform is, as far as the
// configuration says so; what is zero is the platform's own address.
func endpoints(cfg *config.Config, a config.App) connect.Endpoints {
	p := platform.Name(a.Platform)
	if a.Platform == gatehouse.OAuth2 {
		return connect.Endpoints{Authorize: a.AuthorizeURL, Token: a.TokenURL, Revoke: a.RevokeURL}
	}
	if p == platform.X && cfg.Sandbox.X == "" || p != platform.X && cfg.Sandbox.Meta == "" {
		return connect.Endpoints{}
	}
	api, token, consent := base(cfg, p, platform.RoleAPI), base(cfg, p, platform.RoleToken), base(cfg, p, platform.RoleConsent)
	switch a.Platform {
	case gatehouse.X:
		return connect.Endpoints{
			Authorize: consent + "/i/oauth2/authorize", Token: token + "/2/oauth2/token", Revoke: token + "/2/oauth2/revoke", API: api,
		}
	case gatehouse.Facebook:
		return connect.Endpoints{
			Authorize: consent + "/dialog/oauth", Token: token + "/oauth/access_token", API: api, Video: base(cfg, p, platform.RoleVideo),
		}
	default:
		return connect.Endpoints{Authorize: consent + "/oauth/authorize", Token: token + "/oauth/access_token", API: api}
	}
}

// egressHosts lists every host that Gatehouse may call under a configuration:
// the platforms', or the sandbox's in their place, and those of configured
// OAuth 2.0 providers. Nothing else can be reached.
func egressHosts(cfg *config.Config) []string {
	seen := map[string]bool{}
	add := func(raw string) {
		if u, err := url.Parse(raw); err == nil && u.Host != "" {
			seen[strings.ToLower(u.Host)] = true
		}
	}
	for _, p := range platform.Names() {
		for _, r := range []platform.Role{platform.RoleAPI, platform.RoleToken, platform.RoleVideo, platform.RoleUpload} {
			add(base(cfg, p, r))
		}
	}
	for _, a := range cfg.Apps {
		for _, raw := range []string{a.TokenURL, a.RevokeURL, a.UserInfoURL} {
			add(raw)
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
