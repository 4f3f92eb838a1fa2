package config

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
)

var graphVersion = regexp.MustCompile(`^v[0-9]{1,2}\.[0-9]$`)

// graphEnds are the Graph API versions and the day after which each is no longer
// served as itself, from Meta's changelog; the newest has none. A version that is
// not listed is newer than this table, or gone.
var graphEnds = map[string]string{
	"v21.0": "2027-01-21", "v22.0": "2027-05-20", "v23.0": "2027-10-08",
	"v24.0": "2028-02-18", "v25.0": "2028-07-29", "v26.0": "",
}

// versionNotice is how long before a version's end the warning begins.
const versionNotice = 120 * 24 * time.Hour

func (c *Config) validateApp(d *decoder, path string, a App) {
	known := []string{string(gatehouse.X), string(gatehouse.Facebook), string(gatehouse.Instagram), string(gatehouse.Threads), string(gatehouse.OAuth2)}
	if a.Platform == "" {
		if !d.failed(path + ".platform") {
			d.failAt(path+".platform", "is needed: "+strings.Join(known, ", "))
		}
		return
	}
	d.oneOf(path+".platform", string(a.Platform), known...)

	need := func(field string, zero bool, why string) {
		if zero && !d.failed(path+"."+field) {
			d.failAt(path+"."+field, "is needed"+why)
		}
	}
	isX, isOAuth2 := a.Platform == gatehouse.X, a.Platform == gatehouse.OAuth2
	onlyOAuth1 := isX && a.ClientID.IsZero() && !a.ConsumerKey.IsZero()
	if !onlyOAuth1 {
		need("client_id", a.ClientID.IsZero(), "")
		need("client_secret", a.ClientSecret.IsZero() && !a.Public, " (a reference: env:NAME or file:/path)")
	}
	if isX {
		need("consumer_key", a.ConsumerKey.IsZero() && !a.ConsumerSecret.IsZero(), " beside consumer_secret")
		need("consumer_secret", a.ConsumerSecret.IsZero() && !a.ConsumerKey.IsZero(), " beside consumer_key")
	}
	if isOAuth2 {
		need("authorize_url", a.AuthorizeURL == "", "")
		need("token_url", a.TokenURL == "", "")
		need("user_info_url", a.UserInfoURL == "", ": it tells who connected")
		need("user_id_path", a.UserIDPath == "", ": where the user's id stands in the user info, such as id")
	}
	need("client_secret", a.ClientSecret.IsZero() && !a.ClientSecretPrevious.IsZero(), " beside client_secret_previous")
	need("consumer_secret", a.ConsumerSecret.IsZero() && !a.ConsumerSecretPrevious.IsZero(), " beside consumer_secret_previous")
	for _, s := range []struct {
		field     string
		now, then Secret
	}{{"client_secret_previous", a.ClientSecret, a.ClientSecretPrevious}, {"consumer_secret_previous", a.ConsumerSecret, a.ConsumerSecretPrevious}} {
		if !s.then.IsZero() && s.then.Text().Equal(s.now.Text()) && !s.then.Text().IsZero() {
			d.warnAt(path+"."+s.field, "is the secret that is in use: nothing is being replaced")
		}
	}
	if a.Public && !a.ClientSecret.IsZero() {
		d.failAt(path+".public", "a public client has no client_secret")
	}

	// What does not apply is an error: somebody expects it to do something.
	for _, f := range []struct {
		field        string
		set, applies bool
	}{
		{"consumer_key", !a.ConsumerKey.IsZero(), isX},
		{"consumer_secret", !a.ConsumerSecret.IsZero(), isX},
		{"consumer_secret_previous", !a.ConsumerSecretPrevious.IsZero(), isX},
		{"public", a.Public, isX || isOAuth2},
		{"version", a.Version != "", !isX && !isOAuth2},
		{"proof", a.Proof != "", a.Platform == gatehouse.Facebook},
		{"authorize_url", a.AuthorizeURL != "", isOAuth2}, {"token_url", a.TokenURL != "", isOAuth2},
		{"revoke_url", a.RevokeURL != "", isOAuth2}, {"user_info_url", a.UserInfoURL != "", isOAuth2},
		{"user_id_path", a.UserIDPath != "", isOAuth2}, {"scopes", len(a.Scopes) > 0, isOAuth2},
		{"usage", a.Usage != Usage{}, isX},
		{"compliance", a.Compliance != Compliance{}, isX},
	} {
		if f.set && !f.applies && slices.Contains(known, string(a.Platform)) {
			d.failAt(path+"."+f.field, "does not apply to platform "+string(a.Platform))
		}
	}
	d.oneOf(path+".proof", a.Proof, "", "timed", "plain", "off")
	if a.Proof == "off" {
		d.warnAt(path+".proof", "off: a token that leaks can be used by anyone who holds it")
	}
	for _, u := range []struct{ field, value string }{
		{"authorize_url", a.AuthorizeURL}, {"token_url", a.TokenURL}, {"revoke_url", a.RevokeURL}, {"user_info_url", a.UserInfoURL},
	} {
		if u.value != "" {
			if parsed := d.webURL(path+"."+u.field, u.value, true); parsed != nil && parsed.Scheme == "http" && c.Environment == production {
				d.failAt(path+"."+u.field, "http is refused in production")
			}
		}
	}
	d.scopes(path+".scopes", a.Scopes)
	d.graphVersion(path+".version", a.Version)
	if isX && a.Usage != (Usage{}) {
		d.usage(path, a)
	}
	if isX && a.Compliance != (Compliance{}) {
		d.compliance(path, a)
	}
}

// usage checks how X's count of posts is asked for.
func (d *decoder) usage(path string, a App) {
	at := path + ".usage"
	if !xNumber.MatchString(a.Usage.AppID) && !d.failed(at+".app_id") {
		d.failAt(at+".app_id", "is needed: the app's number in X's developer console, digits only")
	}
	if a.Usage.Tolerance < 0 || a.Usage.Tolerance > 100 {
		d.failAt(at+".tolerance", "must be between 1 and 100 hundredths")
	}
	if a.ConsumerKey.IsZero() && !d.failed(path+".consumer_key") {
		d.failAt(path+".consumer_key", "is needed beside usage: X tells its count to the app-only bearer")
	}
}

// xNumber is what identifiers of X look like.
var xNumber = regexp.MustCompile(`^[0-9]{1,19}$`)

// compliance checks how X is asked about what was delivered. X wants content gone
// within a day, so asking less often is no choice.
func (d *decoder) compliance(path string, a App) {
	at, c := path+".compliance", a.Compliance.WithDefaults()
	if c.Keep == 0 && !d.failed(at+".keep") {
		d.failAt(at+".keep", "is needed: how long your app holds what it was given, such as 720h")
	}
	if c.Every < 15*time.Minute || c.Every > 24*time.Hour {
		d.failAt(at+".every", "must be between 15m and 24h")
	} else if c.Keep != 0 && c.Keep < c.Every {
		d.failAt(at+".keep", "is shorter than the time between two runs, so that X would not be asked about everything")
	}
	if a.ConsumerKey.IsZero() && !d.failed(path+".consumer_key") {
		d.failAt(path+".consumer_key", "is needed beside compliance: X takes such jobs from the app-only bearer")
	}
}

func (d *decoder) graphVersion(path, version string) {
	if version == "" {
		return
	}
	if !graphVersion.MatchString(version) {
		// Threads has v1.0; its form is the same.
		d.failAt(path, "write a version as v25.0")
		return
	}
	if strings.HasPrefix(version, "v1.") {
		return
	}
	end, known := graphEnds[version]
	if !known {
		d.warnAt(path, "is not a version that this Gatehouse knows: retired, or newer than this program")
		return
	}
	day, err := time.Parse(time.DateOnly, end)
	switch {
	case err != nil: // no end is known
	case time.Now().After(day):
		d.warnAt(path, "was retired on "+end+"; Meta answers with its oldest living version")
	case time.Until(day) < versionNotice:
		d.warnAt(path, "is retired on "+end)
	}
}

func (d *decoder) scopes(path string, scopes []string) {
	for i, s := range scopes {
		at := path + "[" + strconv.Itoa(i) + "]"
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == ',' || r == '"' || r == '\\' || r > '~' }) {
			d.failAt(at, "is not one scope; write a list: [a, b]")
		}
		if slices.Contains(scopes[:i], s) {
			d.failAt(at, "stands in the list twice")
		}
	}
}

func (c *Config) validatePurpose(d *decoder, path string, p Purpose) {
	if strings.TrimSpace(p.Why) == "" && !d.failed(path+".why") {
		d.failAt(path+".why", "is needed: one sentence that a person who asks would understand")
	}
	app, known := c.Apps[p.App]
	switch {
	case p.App == "" && len(p.Scopes)+len(p.Calls) > 0 && !d.failed(path+".app"):
		d.failAt(path+".app", "is needed where there are scopes or calls: one of the names under apps")
	case p.App != "" && !known:
		text := "there is no app of this name"
		if near := nearest(string(p.App), names(c.Apps)); near != "" {
			text += "; did you mean " + near + "?"
		}
		d.failAt(path+".app", text)
	}
	d.scopes(path+".scopes", p.Scopes)
	if app.Platform == gatehouse.OAuth2 && len(p.Calls) > 0 {
		d.failAt(path+".calls", "the gateway has no calls for platform oauth2; connections of it are for your own use of their tokens' purposes only")
		return
	}
	seen := map[gatehouse.Operation]int{}
	for i := range p.Calls {
		call := &p.Calls[i]
		at := path + ".calls[" + strconv.Itoa(i) + "]"
		if call.Call == "" {
			if !d.failed(at) {
				d.failAt(at+".call", "is needed, such as GET /2/users/me")
			}
			continue
		}
		if app.Platform != "" {
			d.operation(at+".call", platform.Name(app.Platform), call)
		}
		if first, twice := seen[call.Operation]; twice && call.Operation != "" {
			d.failAt(at+".call", "is the same call as calls["+strconv.Itoa(first)+"]")
		}
		seen[call.Operation] = i
		c.callContract(d, at, platform.Name(app.Platform), call, app.Compliance.Keep != 0)
	}
	c.warnScopes(d, path, app, p)
	if len(p.Calls) == 0 && known && app.Platform != gatehouse.OAuth2 && !d.failed(path+".calls") {
		d.warnAt(path, "declares no calls, so it allows none")
	}
}

// askedOfX are asked of every person who connects at X: without them Gatehouse
// could not tell who connected, nor renew the grant.
var askedOfX = []string{"tweet.read", "users.read", "offline.access"}

// warnScopes names scopes that the platform does not offer, and those that a
// declared call demands and the purpose does not ask for: the person would be
// asked in vain, or the call fail later. It is no error, because the platforms'
// documents contradict themselves here and there.
func (c *Config) warnScopes(d *decoder, path string, app App, p Purpose) {
	name := platform.Name(app.Platform)
	if offered := platform.KnownScopes(name); offered != nil {
		for i, s := range p.Scopes {
			if slices.Contains(offered, s) {
				continue
			}
			text := "is not a scope that " + string(name) + " documents"
			if near := nearest(s, offered); near != "" {
				text += "; did you mean " + near + "?"
			}
			d.warnAt(path+".scopes["+strconv.Itoa(i)+"]", text)
		}
	}
	if app.ClientID.IsZero() {
		return // OAuth 1.0a has no scopes
	}
	for i, call := range p.Calls {
		for _, s := range platform.Scopes(name, string(call.Operation)) {
			if !slices.Contains(p.Scopes, s) && !(name == platform.X && slices.Contains(askedOfX, s)) {
				d.warnAt(path+".calls["+strconv.Itoa(i)+"].call", "demands the scope "+s+", which the purpose does not ask for")
			}
		}
	}
}

// operation finds the platform's own name of a declared call.
func (d *decoder) operation(path string, p platform.Name, call *Call) {
	if !slices.Contains(platform.Names(), p) {
		return
	}
	name, err := platform.NormalizeCall(p, call.Call)
	if err == nil {
		call.Operation = gatehouse.Operation(name)
		return
	}
	text := err.Error()
	if errors.Is(err, platform.ErrUnknownOperation) {
		text = strings.TrimPrefix(text, platform.ErrUnknownOperation.Error()+": ")
	}
	d.failAt(path, text)
}
