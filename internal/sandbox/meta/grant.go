package meta

import (
	"slices"
	"strings"
	"time"
)

// status is what became of a permission that was asked for.
type status string

const (
	granted  status = "granted"
	declined status = "declined"
)

type grantKey struct {
	app    string
	person int
}

// grant is what one person allowed one app. When the person removes the app the
// grant is marked and forgotten, and a later login makes a new one: tokens of
// the old one never come back to life. Guarded by Platform.mu.
type grant struct {
	id     string
	app    *app
	person int
	status map[string]status
	since  time.Time
	// access is until when the app may read the person's data: each login moves
	// it. What calls answer afterwards is not documented, so only debug_token
	// shows it.
	access  time.Time
	removed bool
}

// The permissions that each product knows. Asking for another one is an error,
// as in the dialog.
var scopeNames = map[product][]string{
	facebook: {
		"public_profile", "email", "user_posts", "user_photos", "user_likes", "user_birthday", "user_link", "user_location", "user_videos",
		"pages_show_list", "pages_read_engagement", "pages_read_user_content", "pages_manage_posts", "pages_manage_engagement",
		"pages_manage_metadata", "pages_manage_ads", "pages_messaging", "read_insights", "leads_retrieval", "business_management",
		"ads_read", "ads_management", "instagram_basic", "instagram_content_publish", "instagram_manage_comments",
		"instagram_manage_insights", "instagram_manage_messages", "catalog_management", "whatsapp_business_management",
		"whatsapp_business_messaging", "publish_video",
	},
	instagram: {
		"instagram_business_basic", "instagram_business_content_publish", "instagram_business_manage_messages",
		"instagram_business_manage_comments", "instagram_business_manage_insights",
	},
	threads: {
		"threads_basic", "threads_content_publish", "threads_manage_replies", "threads_read_replies", "threads_manage_insights",
		"threads_keyword_search", "threads_manage_mentions", "threads_delete", "threads_location_tagging", "threads_profile_discovery",
	},
}

func allScopes(on product) []string { return slices.Clone(scopeNames[on]) }

// fixedScope is what every login includes and nobody can decline.
func fixedScope(on product) string {
	switch on {
	case instagram:
		return "instagram_business_basic"
	case threads:
		return "threads_basic"
	default:
		return "public_profile"
	}
}

// splitScopes reads a scope parameter: separated by commas or white space.
func splitScopes(text string) []string {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '+' })
	var all []string
	for _, scope := range fields {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return all
}

// allow records the person's answer and returns the grant.
func (p *Platform) allow(a *app, person int, yes, no []string) *grant {
	key := grantKey{a.AppID, person}
	g := p.grants[key]
	if g == nil {
		g = &grant{id: base62(12), app: a, person: person, status: make(map[string]status), since: p.now()}
		p.grants[key] = g
	}
	g.access = p.now().Add(dataAccess)
	g.status[fixedScope(a.product)] = granted
	for _, scope := range no {
		if scope != fixedScope(a.product) {
			g.status[scope] = declined
		}
	}
	for _, scope := range yes {
		g.status[scope] = granted
	}
	return g
}

// listPermissions answers GET /{user}/permissions.
func (g *grant) listPermissions(only string, state string) []any {
	list := []any{}
	for _, name := range sortedKeys(g.status) {
		if only != "" && only != name || state != "" && state != string(g.status[name]) {
			continue
		}
		list = append(list, object{{"permission", name}, {"status", string(g.status[name])}})
	}
	return list
}

// remove takes the whole app away from the person: every token of the grant is
// dead from now on.
func (p *Platform) remove(g *grant) {
	g.removed = true
	delete(p.grants, grantKey{g.app.AppID, g.person})
}
