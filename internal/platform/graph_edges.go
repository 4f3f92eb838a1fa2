package platform

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// methods is a set of HTTP methods that a node or edge answers.
type methods uint8

const (
	mGet methods = 1 << iota
	mPost
	mDelete
)

func methodBit(method string) methods {
	switch method {
	case http.MethodGet:
		return mGet
	case http.MethodPost:
		return mPost
	case http.MethodDelete:
		return mDelete
	}
	return 0
}

// graphNode is a kind of node, with the methods that the node itself answers.
type graphNode struct {
	Name    string
	Methods methods
}

// graphEdge is an edge: which methods it answers on any node, which on the nodes
// of Instagram's own host, and which nodes have it (indexes in graphNodes).
type graphEdge struct {
	Name      string
	Methods   methods
	Instagram methods
	Nodes     string
}

// extraEdges are edges that the SDK's objects and specifications leave out, from
// the platforms' reference pages: WhatsApp's Cloud API, insights by metric, and
// what Instagram's host serves beside its node specifications.
var extraEdges = map[Name]map[string]methods{
	Facebook: {
		"account_update": mPost, "assets": mGet | mPost, "block_users": mGet | mPost | mDelete, "calls": mPost,
		"call_permissions": mGet, "conversational_automation": mGet | mPost, "conversation_analytics": mGet,
		"deprecate": mPost, "deregister": mPost, "events": mGet | mPost, "flows": mGet | mPost,
		"groups": mGet | mPost, "marketing_messages": mPost, "media": mGet | mPost, "message_history": mGet,
		"message_qrdls": mGet | mPost | mDelete, "message_templates": mGet | mPost | mDelete,
		"messages": mGet | mPost, "messenger_profile": mGet | mPost | mDelete, "phone_numbers": mGet | mPost,
		"publish": mPost, "register": mPost, "request_code": mPost, "schedules": mGet,
		"settings": mGet | mPost, "subscribed_apps": mGet | mPost | mDelete, "template_analytics": mGet,
		"pricing_analytics": mGet, "thread_control": mPost, "pass_thread_control": mPost,
		"take_thread_control": mPost, "request_thread_control": mPost, "release_thread_control": mPost,
		"verify_code": mPost, "whatsapp_business_encryption": mGet | mPost,
		"whatsapp_business_profile": mGet | mPost, "private_replies": mPost, "uploads": mPost,
		"top_media": mGet, "recent_media": mGet, "subscriptions": mGet | mPost | mDelete,
		"business_discovery": mGet, "mentioned_media": mGet, "mentioned_comment": mGet, "replies": mGet | mPost, "children": mGet, "likes": mGet | mPost | mDelete,
		"comments": mGet | mPost | mDelete, "reactions": mGet | mPost | mDelete, "sharedposts": mGet,
		"published_posts": mGet, "attachments": mGet,
	},
	Instagram: {
		"media": mGet | mPost, "media_publish": mPost, "stories": mGet, "tags": mGet, "live_media": mGet,
		"children": mGet, "comments": mGet | mPost, "replies": mGet | mPost, "insights": mGet,
		"mentions": mPost, "mentioned_media": mGet, "mentioned_comment": mGet, "conversations": mGet,
		"messages": mGet | mPost, "messenger_profile": mGet | mPost | mDelete,
		"subscribed_apps": mGet | mPost | mDelete, "content_publishing_limit": mGet,
		"welcome_message_flows": mGet | mPost | mDelete, "collaborators": mGet,
		"collaboration_invites": mGet | mPost, "message_attachments": mPost, "likes": mGet,
		"business_discovery": mGet, "product_tags": mGet | mPost | mDelete,
	},
	Threads: {
		"threads": mGet | mPost, "threads_publish": mPost, "replies": mGet, "conversation": mGet,
		"pending_replies": mGet, "manage_reply": mPost, "manage_pending_reply": mPost, "repost": mPost,
		"insights": mGet, "threads_insights": mGet, "threads_publishing_limit": mGet, "mentions": mGet,
		"ghost_posts": mGet, "children": mGet, "subscribed_apps": mGet | mPost | mDelete,
	},
}

// extraPaths are the documented paths of two segments below a node.
var extraPaths = map[Name]map[string]methods{
	Facebook: {
		"permissions/{permission}":   mDelete,
		"insights/{metric}":          mGet,
		"accounts/test-users":        mGet | mPost,
		"insights/{metric}/{period}": mGet,
	},
}

// root is an operation that stands at the top of the Graph, on no node.
type root struct {
	methods  methods
	endpoint Endpoint
	role     Role
}

// roots are the operations without a node, by platform.
var roots = map[Name]map[string]root{
	Facebook: {
		"oauth/access_token": {mGet | mPost, TokenCode, RoleToken},
		"oauth/revoke":       {mGet | mPost, Revoke, RoleToken},
		"debug_token":        {mGet, DebugToken, RoleAPI},
		"search":             {mGet, None, RoleAPI},
		"pages/search":       {mGet, None, RoleAPI},
		"ads_archive":        {mGet, None, RoleAPI},
		"ig_hashtag_search":  {mGet, None, RoleAPI},
		"instagram_oembed":   {mGet, None, RoleAPI},
		"oembed_page":        {mGet, None, RoleAPI},
		"oembed_post":        {mGet, None, RoleAPI},
		"oembed_video":       {mGet, None, RoleAPI},
		"video-upload/{id}":  {mGet | mPost, None, RoleUpload},
		"ig-api-upload/{id}": {mGet | mPost, None, RoleUpload},
		"upload:{session}":   {mGet | mPost, None, RoleAPI},
	},
	Instagram: {
		"oauth/access_token":   {mPost, TokenCode, RoleToken},
		"access_token":         {mGet | mPost, TokenExtend, RoleAPI},
		"refresh_access_token": {mGet | mPost, TokenRefresh, RoleAPI},
		"ig-api-upload/{id}":   {mGet | mPost, None, RoleUpload},
	},
	Threads: {
		"oauth/access_token":   {mGet | mPost, TokenCode, RoleToken},
		"access_token":         {mGet | mPost, TokenExtend, RoleAPI},
		"refresh_access_token": {mGet | mPost, TokenRefresh, RoleAPI},
		"debug_token":          {mGet, DebugToken, RoleAPI},
		"keyword_search":       {mGet, None, RoleAPI},
		"location_search":      {mGet, None, RoleAPI},
		"profile_lookup":       {mGet, None, RoleAPI},
		"profile_posts":        {mGet, None, RoleAPI},
		"oembed":               {mGet, None, RoleAPI},
	},
}

// nodeMethods are the methods that nodes themselves answer.
var nodeMethods = map[Name]methods{
	Facebook: mGet | mPost | mDelete, Instagram: mGet | mPost | mDelete, Threads: mGet | mDelete,
}

// edgeMethods returns the methods that an edge answers on p, or 0.
func edgeMethods(p Name, name string) methods {
	m := extraEdges[p][name]
	if p == Threads {
		return m
	}
	i, ok := slices.BinarySearchFunc(graphEdges, name, func(e graphEdge, n string) int { return strings.Compare(e.Name, n) })
	if !ok {
		return m
	}
	if p == Instagram {
		return m | graphEdges[i].Instagram
	}
	return m | graphEdges[i].Methods
}

// edgeFold reports whether name is an edge or root word of p in another case.
func edgeFold(p Name, name string) bool {
	lower := strings.ToLower(name)
	if lower == name {
		return false
	}
	_, isRoot := roots[p][lower]
	return lower == "me" || isRoot || edgeMethods(p, lower) != 0
}

// EdgeNodes returns the kinds of node that have the edge, for a page or an error
// that explains it. Edges that are known from reference pages only have none.
func EdgeNodes(edge string) []string {
	i, ok := slices.BinarySearchFunc(graphEdges, edge, func(e graphEdge, n string) int { return strings.Compare(e.Name, n) })
	if !ok {
		return nil
	}
	var out []string
	for s := range strings.FieldsSeq(graphEdges[i].Nodes) {
		if n, err := strconv.Atoi(s); err == nil && n < len(graphNodes) {
			out = append(out, graphNodes[n].Name)
		}
	}
	return out
}
