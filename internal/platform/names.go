package platform

import (
	"slices"
	"strings"
)

// The names of fields that the generated lists leave out, from the platforms'
// reference pages: what every edge may have beside its nodes, and Threads, which
// Meta's SDK does not cover.
const (
	moreGraphNames = "summary total_count can_like has_liked value values period title end_time success cursors data url " +
		"height width is_silhouette count total_value breakdowns dimension_keys results dimension_values metric "
	threadsNames = "id media_product_type media_type media_url permalink owner username text timestamp shortcode thumbnail_url " +
		"children is_quote_post quoted_post reposted_post alt_text link_attachment_url gif_url has_replies is_reply " +
		"is_reply_owned_by_me root_post replied_to hide_status reply_audience name threads_profile_picture_url " +
		"threads_biography is_verified topic_tag poll_attachment location_id location quota_usage config quota_total " +
		"quota_duration reply_quota_usage reply_config description link status error_message "
)

// fieldNames are the names of fields that a platform's documents have.
var fieldNames = func() map[Name]map[string]bool {
	set := func(lists ...string) map[string]bool {
		names := map[string]bool{}
		for _, list := range lists {
			for name := range strings.FieldsSeq(list) {
				names[name] = true
			}
		}
		return names
	}
	graph := set(graphFieldNames, moreGraphNames)
	for _, e := range graphEdges {
		graph[e.Name] = true
	}
	for name := range extraEdges[Facebook] {
		graph[name] = true
	}
	for name := range extraEdges[Instagram] {
		graph[name] = true
	}
	// X's document says post where its replies, and most clients, say tweet.
	x := set(xFieldNames)
	for name := range set(xFieldNames) {
		x[strings.ReplaceAll(name, "post", "tweet")] = true
	}
	for name := range set("includes tweets media users polls places topics lists spaces errors meta referenced_tweets") {
		x[name] = true
	}
	return map[Name]map[string]bool{X: x, Facebook: graph, Instagram: graph, Threads: set(threadsNames, moreGraphNames)}
}()

// UnknownField returns the first part of a field's path that no document of the
// platform names, or "".
func UnknownField(p Name, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		if !fieldNames[p][name] {
			return name
		}
	}
	return ""
}

// FieldNames lists the names of fields that a platform's documents have, sorted.
func FieldNames(p Name) []string {
	names := make([]string, 0, len(fieldNames[p]))
	for name := range fieldNames[p] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// QueryParams returns the query parameters of an operation of X with their types
// (number, boolean, list or text), and whether its document describes them. The
// Graph's are described nowhere as a whole.
func QueryParams(operation string) (map[string]string, bool) {
	leaf := findOperation(operation)
	if leaf == nil || leaf.ID == "" {
		return nil, false
	}
	params := map[string]string{}
	for entry := range strings.FieldsSeq(xQueryParams[operation]) {
		name, letter, _ := strings.Cut(entry, ":")
		kind := map[string]string{"n": "number", "b": "boolean", "l": "list"}[letter]
		if kind == "" {
			kind = "text"
		}
		params[name] = kind
		if rest, ok := strings.CutPrefix(name, "post."); ok {
			params["tweet."+rest] = kind
		}
	}
	return params, true
}

// commonParams are the parameters that the Graph documents for all calls: fields,
// paging and modifiers, the form of the reply.
const commonParams = "fields limit after before offset since until summary order filter metadata date_format locale format pretty " +
	"return_ssl_resources include_headers suppress_http_code debug ids "

// GraphParams returns the names of the parameters that an operation of the Graph
// API takes, in its query or its body, on whatever kind of node; and whether the
// documents describe it. Threads is not described.
func GraphParams(p Name, operation string) (map[string]bool, bool) {
	method, path, _ := strings.Cut(operation, " ")
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if p == Threads || !p.Graph() || len(parts) > 2 || parts[0] != "{id}" && parts[0] != "me" {
		return nil, false
	}
	key := method
	if len(parts) == 2 {
		key += " " + parts[1]
	}
	list, ok := graphParamNames[key]
	if !ok {
		return nil, false
	}
	names := map[string]bool{}
	for name := range strings.FieldsSeq(list + " " + commonParams) {
		names[name] = true
	}
	return names, true
}

// findOperation finds an operation of X by its normal form.
func findOperation(operation string) *xLeaf {
	method, path, ok := strings.Cut(operation, " ")
	if !ok || !strings.HasPrefix(path, "/") {
		return nil
	}
	return findX(method, strings.Split(path[1:], "/"))
}
