package meta

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRendered is how many nodes one call may answer with. Posts lead to pages and
// pages to posts, so a short text can ask for any number of them.
const maxRendered = 5000

// render answers a node with the fields asked for.
func (c *call) render(n *node, sel selection, defaults []string) (object, *failure) {
	c.rendered++
	if c.rendered > maxRendered {
		return nil, &failure{status: http.StatusInternalServerError, kind: oauthException, code: 1, message: "Please reduce the amount of data you're asking for, then retry your request"}
	}
	if len(sel) == 0 {
		if defaults == nil {
			defaults = n.kind.defaults
		}
		sel = make(selection, len(defaults))
		for i, name := range defaults {
			sel[i] = selected{name: name}
		}
	}
	out := make(object, 0, len(sel)+1)
	for _, field := range sel {
		value, failed := c.fieldValue(n, field)
		if failed != nil {
			return nil, failed
		}
		if value != nil {
			out.set(field.key(), value)
		}
	}
	if out.get("id") == nil {
		out.set("id", n.id)
	}
	return out, nil
}

func (c *call) fieldValue(n *node, field selected) (any, *failure) {
	if field.name == "id" {
		return n.id, nil
	}
	if read, ok := n.kind.fields[field.name]; ok {
		value := read(c, n)
		switch value := value.(type) {
		case *node:
			if value == nil {
				return nil, nil
			}
			return c.render(value, field.sub, nil)
		case object:
			if len(field.sub) > 0 {
				return value.only(field.sub), nil
			}
			return value, nil
		}
		return value, nil
	}
	if e, ok := n.kind.edges[field.name]; ok && (e.list != nil || e.data != nil) {
		return c.renderEdge(n, field.name, e, field.sub, args(field.modifiers))
	}
	return nil, invalid("Tried accessing nonexisting field (%s) on node type (%s)", field.name, n.kind.name)
}

// only keeps the members that were asked for.
func (o object) only(sel selection) object {
	var kept object
	for _, field := range sel {
		if value := o.get(field.name); value != nil {
			if inner, ok := value.(object); ok && len(field.sub) > 0 {
				value = inner.only(field.sub)
			}
			kept.set(field.key(), value)
		}
	}
	return kept
}

// The bounds of a page of results.
const (
	defaultLimit = 25
	maxLimit     = 100
)

// renderEdge answers an edge: data, paging, and a summary when asked for.
func (c *call) renderEdge(n *node, name string, e *edge, sub selection, a args) (any, *failure) {
	if failed := c.need(e.read); failed != nil {
		return nil, failed
	}
	c.count(n, e.usage)
	if e.data != nil {
		return e.data(c, n, a)
	}
	all, failed := e.list(c, n, a)
	if failed != nil {
		return nil, failed
	}
	all, failed = between(all, a)
	if failed != nil {
		return nil, failed
	}
	if order := a["order"]; order == "reverse_chronological" && name == "comments" || order == "chronological" && name != "comments" {
		all = slices.Clone(all)
		slices.Reverse(all)
	}
	start, end, failed := pageBounds(all, a)
	if failed != nil {
		return nil, failed
	}
	data := make([]any, 0, end-start)
	for _, child := range all[start:end] {
		rendered, failed := c.render(child, sub, e.defaults)
		if failed != nil {
			return nil, failed
		}
		data = append(data, rendered)
	}
	out := object{{"data", data}}
	if end > start {
		out.set("paging", c.paging(n, name, sub, a, all, start, end))
	}
	if yes(a["summary"]) || strings.Contains(a["summary"], "total_count") {
		summary := object{{"total_count", len(all)}}
		if e.summary != nil {
			summary = e.summary(c, n, all)
		}
		out.set("summary", summary)
	}
	return out, nil
}

func yes(value string) bool { return value == "true" || value == "1" }

// cursor names a place in a list by position and node, so that it survives new
// entries in front of it.
func cursor(at int, n *node) string {
	return base64.RawURLEncoding.EncodeToString([]byte("QVFI" + strconv.Itoa(at) + ":" + n.id))
}

// position finds a cursor's place in the list as it is now.
func position(all []*node, text string) (int, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	place, id, ok := strings.Cut(strings.TrimPrefix(string(raw), "QVFI"), ":")
	at, bad := strconv.Atoi(place)
	if err != nil || !ok || bad != nil || at < 0 || !strings.HasPrefix(string(raw), "QVFI") {
		return 0, false
	}
	if i := slices.IndexFunc(all, func(n *node) bool { return n.id == id }); i >= 0 {
		return i, true
	}
	// The entry itself was deleted: go on where it stood.
	return min(at, len(all)), true
}

// pageBounds turns limit, after, before and offset into a range of the list.
func pageBounds(all []*node, a args) (start, end int, failed *failure) {
	limit := defaultLimit
	if text := a["limit"]; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, 0, invalid("param limit must be non-negative")
		}
		limit = min(n, maxLimit)
	}
	end = len(all)
	switch {
	case a["after"] != "":
		at, ok := position(all, a["after"])
		if !ok {
			return 0, 0, invalid("param after: Invalid cursors values")
		}
		start = min(at+1, len(all))
	case a["before"] != "":
		at, ok := position(all, a["before"])
		if !ok {
			return 0, 0, invalid("param before: Invalid cursors values")
		}
		end = at
		start = max(0, end-limit)
	case a["offset"] != "":
		n, err := strconv.Atoi(a["offset"])
		if err != nil || n < 0 {
			return 0, 0, invalid("param offset must be non-negative")
		}
		start = min(n, len(all))
	}
	return start, min(end, start+limit), nil
}

// between applies since and until, which are Unix times or dates.
func between(all []*node, a args) ([]*node, *failure) {
	since, failed := when("since", a["since"])
	if failed != nil {
		return nil, failed
	}
	until, failed := when("until", a["until"])
	if failed != nil {
		return nil, failed
	}
	if since.IsZero() && until.IsZero() {
		return all, nil
	}
	var kept []*node
	for _, n := range all {
		if (since.IsZero() || !n.created.Before(since)) && (until.IsZero() || !n.created.After(until)) {
			kept = append(kept, n)
		}
	}
	return kept, nil
}

func when(name, text string) (time.Time, *failure) {
	if text == "" {
		return time.Time{}, nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05-0700", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, invalid("param %s must be a valid unix timestamp or a string that can be parsed by strtotime()", name)
}

// paging builds cursors and links. The links are complete and carry the token in
// clear, as the real ones do, whatever way the token came in.
func (c *call) paging(n *node, name string, sub selection, a args, all []*node, start, end int) object {
	before, after := cursor(start, all[start]), cursor(end-1, all[end-1])
	out := object{{"cursors", object{{"before", before}, {"after", after}}}}
	link := func(direction, cursor string) string {
		var b strings.Builder
		b.WriteString(c.base + "/" + c.version + "/" + n.id + "/" + name)
		b.WriteString("?access_token=" + url.QueryEscape(c.token.value) + "&pretty=0")
		if len(sub) > 0 {
			b.WriteString("&fields=" + url.QueryEscape(sub.String()))
		}
		for _, key := range sortedKeys(a) {
			if key != "after" && key != "before" && key != "offset" && key != "limit" && a[key] != "" {
				b.WriteString("&" + key + "=" + url.QueryEscape(a[key]))
			}
		}
		limit := a["limit"]
		if limit == "" {
			limit = strconv.Itoa(defaultLimit)
		}
		b.WriteString("&limit=" + limit + "&" + direction + "=" + url.QueryEscape(cursor))
		return b.String()
	}
	if start > 0 {
		out.set("previous", link("before", before))
	}
	if end < len(all) {
		out.set("next", link("after", after))
	}
	return out
}
