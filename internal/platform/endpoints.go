package platform

import "net/url"

// Endpoint is a kind of OAuth endpoint. The gateway answers or translates these;
// it never passes them on as they came, because they take or give credentials.
type Endpoint uint8

// The kinds of OAuth endpoint.
const (
	None              Endpoint = iota // an ordinary call
	Authorize                         // the consent page (belongs in a browser, not here)
	TokenCode                         // exchange of an authorization code
	TokenRefresh                      // exchange of a refresh token, or renewal of a long-lived one
	TokenExtend                       // exchange of a short-lived token for a long-lived one
	TokenApp                          // the app's own token
	TokenOther                        // a token endpoint with a grant type we do not know
	Revoke                            // end of one token or grant
	Invalidate                        // end of an app-only or OAuth 1.0a token
	DebugToken                        // facts about a token
	Permissions                       // what a person granted
	RemovePermissions                 // withdrawal of one or all permissions
	RequestToken                      // OAuth 1.0a, first step
	AccessToken                       // OAuth 1.0a, third step
)

var endpointNames = [...]string{
	"none", "authorize", "token-code", "token-refresh", "token-extend", "token-app", "token-other",
	"revoke", "invalidate", "debug-token", "permissions", "remove-permissions", "request-token", "access-token",
}

// String returns a stable name for logs and tests.
func (e Endpoint) String() string { return endpointNames[e] }

// grants tells the kinds of exchange at a token endpoint apart.
var grants = map[string]Endpoint{
	"":                   TokenCode,
	"authorization_code": TokenCode,
	"refresh_token":      TokenRefresh,
	"client_credentials": TokenApp,
	"fb_exchange_token":  TokenExtend,
	"ig_exchange_token":  TokenExtend,
	"th_exchange_token":  TokenExtend,
	"ig_refresh_token":   TokenRefresh,
	"th_refresh_token":   TokenRefresh,
}

// tokenEndpoint decides by grant_type what a token endpoint is asked for.
// Facebook's exchange of a code needs no grant_type.
func tokenEndpoint(params url.Values) Endpoint {
	if e, ok := grants[params.Get("grant_type")]; ok {
		return e
	}
	return TokenOther
}
