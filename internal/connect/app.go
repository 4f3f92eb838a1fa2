package connect

import (
	"fmt"
	"net/url"
	"strings"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
)

// App is one app registration at a platform: what the platform knows the
// operator's app by, and where that platform's endpoints are.
type App struct {
	Name     gatehouse.AppName
	Platform gatehouse.Platform
	// ClientID and ClientSecret are the OAuth 2.0 credentials.
	ClientID     string
	ClientSecret secret.Text
	// ConsumerKey and ConsumerSecret are X's OAuth 1.0a credentials; empty when
	// the app does not use OAuth 1.0a.
	ConsumerKey    string
	ConsumerSecret secret.Text
	// PreviousSecrets and PreviousConsumerSecrets are those that the platform may
	// still sign with while it is given new ones. They verify; nothing that we send
	// uses them.
	PreviousSecrets         []secret.Text
	PreviousConsumerSecrets []secret.Text
	// Public says that the platform registered the app as a public client: it
	// sends its id and no secret.
	Public bool
	// Proof is how calls to the Facebook Graph API are proved: "timed" (also
	// the meaning of ""), "plain" or "off".
	Proof string
	// Version is the Graph API version, such as "v25.0"; "" means the one this
	// build was written for.
	Version string
	// Endpoints replace the platform's own, one by one; a zero field keeps it.
	Endpoints Endpoints
	// Scopes are asked for in addition to what the purposes need.
	Scopes []string
	// UserInfo is where a generic OAuth 2.0 provider says who the person is;
	// UserIDPath and UserNamePath are the dotted paths of the members of its
	// reply ("data.id"). UserIDPath "" means "id".
	UserInfo, UserIDPath, UserNamePath string
}

// Endpoints are a platform's addresses.
type Endpoints struct {
	Authorize string // the consent page
	Token     string // code and refresh-token exchange
	Revoke    string // RFC 7009 revocation; "" when there is none
	API       string // base of the API, without a version
	Video     string // base of a second API host for videos
	Upload    string // base of a third one for resumable uploads
}

// defaultVersion is the Graph API version this build was written for.
const defaultVersion = "v25.0"

// withDefaults fills the zero endpoints with the platform's own.
func (a App) withDefaults() App {
	if a.Version == "" {
		a.Version = defaultVersion
	}
	if a.Proof == "" {
		a.Proof = "timed"
	}
	host := func(r platform.Role, path string) string {
		return platform.BaseURL(platform.Name(a.Platform), r) + path
	}
	var own Endpoints
	switch a.Platform {
	case gatehouse.X:
		own = Endpoints{
			Authorize: host(platform.RoleConsent, "/i/oauth2/authorize"), Token: host(platform.RoleAPI, "/2/oauth2/token"),
			Revoke: host(platform.RoleAPI, "/2/oauth2/revoke"), API: host(platform.RoleAPI, ""),
		}
	case gatehouse.Facebook:
		own = Endpoints{
			Authorize: host(platform.RoleConsent, "/"+a.Version+"/dialog/oauth"),
			Token:     host(platform.RoleAPI, "/"+a.Version+"/oauth/access_token"),
			API:       host(platform.RoleAPI, ""), Video: host(platform.RoleVideo, ""), Upload: host(platform.RoleUpload, ""),
		}
	case gatehouse.Instagram, gatehouse.Threads:
		own = Endpoints{
			Authorize: host(platform.RoleConsent, "/oauth/authorize"),
			Token:     host(platform.RoleToken, "/oauth/access_token"), API: host(platform.RoleAPI, ""),
			Upload: host(platform.RoleUpload, ""),
		}
	}
	fill := func(have *string, def string) {
		if *have == "" {
			*have = def
		}
		*have = strings.TrimSuffix(*have, "/")
	}
	fill(&a.Endpoints.Authorize, own.Authorize)
	fill(&a.Endpoints.Token, own.Token)
	fill(&a.Endpoints.Revoke, own.Revoke)
	fill(&a.Endpoints.API, own.API)
	fill(&a.Endpoints.Video, own.Video)
	fill(&a.Endpoints.Upload, own.Upload)
	return a
}

// validate reports what is wrong with an app, naming the field and never a
// secret.
func (a App) validate() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("app %q: %s: %w", a.Name, fmt.Sprintf(format, args...), gatehouse.ErrInvalid)
	}
	switch a.Platform {
	case gatehouse.X, gatehouse.Facebook, gatehouse.Instagram, gatehouse.Threads, gatehouse.OAuth2:
	default:
		return invalid("unknown platform %q", a.Platform)
	}
	if a.Name == "" || strings.ContainsAny(string(a.Name), "/?#% ") {
		return invalid("the name must be one plain path segment")
	}
	if a.ClientID == "" && a.ConsumerKey == "" {
		return invalid("client_id is missing")
	}
	if a.ClientID != "" && !a.Public && a.ClientSecret.IsZero() {
		return invalid("client_secret is missing (a client without one is declared with public: true)")
	}
	if (a.ConsumerKey == "") != a.ConsumerSecret.IsZero() {
		return invalid("consumer_key and consumer_secret go together")
	}
	switch a.Proof {
	case "timed", "plain", "off":
	default:
		return invalid("proof must be timed, plain or off")
	}
	for name, endpoint := range map[string]string{
		"authorize": a.Endpoints.Authorize, "token": a.Endpoints.Token,
		"revoke": a.Endpoints.Revoke, "api": a.Endpoints.API, "user_info": a.UserInfo,
		"video": a.Endpoints.Video, "upload": a.Endpoints.Upload,
	} {
		if endpoint == "" {
			if name == "authorize" || name == "token" || (name == "user_info" && a.Platform == gatehouse.OAuth2) {
				return invalid("%s is missing", name)
			}
			continue
		}
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.User != nil || u.Fragment != "" ||
			(u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
			return invalid("%s must be an https address (http only on loopback)", name)
		}
	}
	return nil
}
