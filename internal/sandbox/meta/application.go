package meta

import (
	"net/http"
	"slices"
	"strings"
)

func applicationKind() *kind {
	return &kind{
		defaults: []string{"category", "link", "name", "id"},
		fields:   props("name", "namespace", "link", "category"),
		edges: map[string]*edge{
			"subscriptions": {data: listSubscriptions, create: subscribeApp, delete: unsubscribeApp},
		},
	}
}

func businessKind() *kind {
	read := []string{"business_management"}
	return &kind{
		defaults: []string{"id", "name"},
		fields:   with(props("name", "verification_status"), map[string]fieldFunc{"created_time": createdTime}),
		edges: map[string]*edge{
			"system_users":      {list: children("system_users"), read: read},
			"owned_ad_accounts": {list: children("owned_ad_accounts"), read: read},
			"owned_pages":       {list: func(c *call, _ *node, _ args) ([]*node, *failure) { return c.p.assignedPages(), nil }, read: read},
		},
	}
}

func adAccountKind() *kind {
	return &kind{
		defaults: []string{"id", "account_id"},
		fields:   props("name", "account_id", "currency", "account_status", "timezone_name"),
		edges: map[string]*edge{
			"campaigns": {list: children("campaigns"), read: []string{"ads_read", "ads_management"}},
			"insights":  {data: insights([]string{"impressions", "clicks", "spend"}, []string{"day"}), read: []string{"ads_read", "ads_management"}, usage: "ads_insights"},
		},
	}
}

func systemUserKind() *kind {
	assigned := func(c *call, _ *node, _ args) ([]*node, *failure) { return c.p.assignedPages(), nil }
	return &kind{
		defaults: []string{"name", "id"},
		fields:   with(props("name"), map[string]fieldFunc{"created_time": createdTime}),
		edges: map[string]*edge{
			"accounts":       {list: assigned, defaults: []string{"access_token", "category", "category_list", "name", "id", "tasks"}, read: []string{"pages_show_list"}},
			"assigned_pages": {list: assigned, read: []string{"pages_show_list"}},
			"permissions":    permissionsEdge(),
			"businesses":     {list: func(c *call, _ *node, _ args) ([]*node, *failure) { return []*node{c.p.nodes[businessID]}, nil }, read: []string{"business_management"}},
			"access_tokens":  {create: mintSystemToken, delete: dropSystemTokens},
		},
	}
}

// mintSystemToken answers POST /{system-user}/access_tokens: for an app of the
// business, always with a proof, for ever or for sixty days.
func mintSystemToken(c *call, system *node) *reply {
	if c.params.Get("appsecret_proof") == "" {
		return (&failure{status: http.StatusBadRequest, kind: methodException, code: 100, message: "API calls from the server require an appsecret_proof argument"}).reply()
	}
	if c.token.kind != appToken && !c.token.has("business_management") {
		return denied(200, "Requires business_management permission").reply()
	}
	a := c.p.apps[c.params.Get("business_app")]
	if a == nil || a.product != facebook {
		return invalid("The parameter business_app is required").reply()
	}
	scopes := splitScopes(strings.NewReplacer("[", "", "]", "", `"`, "").Replace(c.params.Get("scope")))
	for _, scope := range scopes {
		if !slices.Contains(scopeNames[facebook], scope) {
			return invalid("param scope must be an array of valid permissions").reply()
		}
	}
	t := token{kind: systemToken, app: a, node: system, scopes: scopes, long: true}
	if yes(c.params.Get("set_token_expires_in_60_days")) {
		t.expires = c.p.now().Add(c.p.config.LongTTL)
	}
	return answer(object{{"access_token", c.p.newToken(t).value}})
}

func dropSystemTokens(c *call, system *node) *reply {
	if c.token.kind != appToken && !c.token.has("business_management") {
		return denied(200, "Requires business_management permission").reply()
	}
	for _, t := range c.p.tokens {
		if t.kind == systemToken && t.node == system {
			t.dead = 467
		}
	}
	return success()
}
