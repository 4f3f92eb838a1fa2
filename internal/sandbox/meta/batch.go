package meta

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBatch is how many items a batch may have; each counts as a call.
const maxBatch = 50

// batchItem is one item as it came.
type batchItem struct {
	Method        string          `json:"method"`
	RelativeURL   string          `json:"relative_url"`
	Name          string          `json:"name"`
	Body          string          `json:"body"`
	AttachedFiles string          `json:"attached_files"`
	DependsOn     string          `json:"depends_on"`
	Omit          *bool           `json:"omit_response_on_success"`
	AccessToken   string          `json:"access_token"`
	Headers       json.RawMessage `json:"headers"`
}

// parseBatch reads the batch parameter.
func parseBatch(text string) ([]batchItem, *failure) {
	var items []batchItem
	if err := json.Unmarshal([]byte(text), &items); err != nil {
		return nil, invalid("param batch must be an array.")
	}
	if len(items) == 0 {
		return nil, invalid("Batch requests must contain at least one request")
	}
	if len(items) > maxBatch {
		return nil, invalid("Too many requests in batch message. Maximum batch size is %d", maxBatch)
	}
	names := make(map[string]bool)
	for i := range items {
		item := &items[i]
		item.Method = strings.ToUpper(item.Method)
		if item.Method == "" {
			item.Method = http.MethodGet
		}
		if item.Name != "" && names[item.Name] {
			return nil, invalid("Batch names must be unique: %s", item.Name)
		}
		names[item.Name] = true
	}
	return items, nil
}

// batch answers POST / with a batch parameter. The items run in order, each as a
// call of its own with its own token, status and errors.
func (p *Platform) batch(c *call) *reply {
	if c.depth > 0 {
		return invalid("Batch requests cannot be nested").reply()
	}
	items, failed := parseBatch(c.params.Get("batch"))
	if failed != nil {
		return failed.reply()
	}
	// The batch's own token need not be there when every item has one; when it
	// is there it has to work.
	if value := c.credential(); value != "" {
		p.mu.Lock()
		_, failed := p.check(value, c.product)
		p.mu.Unlock()
		if failed != nil {
			return failed.reply()
		}
	}
	run := &batchRun{p: p, outer: c, results: make(map[string]*result), referenced: make(map[string]bool)}
	for _, item := range items {
		for _, name := range references(item.RelativeURL + "&" + item.Body) {
			run.referenced[name] = true
		}
		for _, name := range splitScopes(item.DependsOn) {
			run.referenced[name] = true
		}
	}
	headers := c.params.Get("include_headers") != "false" && c.params.Get("include_headers") != "0"
	out := make([]any, len(items))
	for i := range items {
		out[i] = run.item(&items[i], headers)
	}
	r := answer(out)
	r.header.Set("Content-Type", "application/json")
	return r
}

// result is what a named item answered, for the items that refer to it.
type result struct {
	ok   bool
	body []byte
}

type batchRun struct {
	p          *Platform
	outer      *call
	results    map[string]*result
	referenced map[string]bool
}

// item runs one item; nil is an answer that is left out.
func (b *batchRun) item(item *batchItem, headers bool) any {
	for _, name := range splitScopes(item.DependsOn) {
		if r := b.results[name]; r == nil || !r.ok {
			return nil
		}
	}
	relative, ok := b.substitute(item.RelativeURL)
	body, bodyOK := b.substitute(item.Body)
	if !ok || !bodyOK {
		// What it depends on failed or was not named before it.
		return nil
	}
	c, failed := b.call(item, relative, body)
	var r *reply
	if failed != nil {
		r = failed.reply()
	} else {
		r = b.p.do(c)
	}
	text := r.bytes(traceID())
	good := r.status >= 200 && r.status < 300
	if item.Name != "" {
		b.results[item.Name] = &result{ok: good, body: text}
	}
	omit := b.referenced[item.Name] && item.Name != ""
	if item.Omit != nil {
		omit = *item.Omit
	}
	if omit && good {
		return nil
	}
	out := object{{"code", r.status}}
	if headers {
		out.set("headers", itemHeaders(r, c))
	}
	out.set("body", string(text))
	return out
}

// call builds the item's call. A token of its own replaces the batch's.
func (b *batchRun) call(item *batchItem, relative, body string) (*call, *failure) {
	c := &call{
		p: b.p, ctx: b.outer.ctx, product: b.outer.product, method: item.Method, base: b.outer.base,
		params: make(url.Values), depth: b.outer.depth + 1, version: b.outer.version,
	}
	path, query, _ := strings.Cut(relative, "?")
	if at := strings.Index(path, "://"); at >= 0 {
		// A whole address is accepted, and its host ignored.
		_, path, _ = strings.Cut(path[at+3:], "/")
	}
	unescaped, err := url.PathUnescape(path)
	if err != nil {
		return c, syntax("The relative_url cannot be parsed.")
	}
	segments := splitPath(unescaped)
	version, rest, failed := splitVersion(c.product, segments)
	if failed != nil {
		return c, failed
	}
	if len(rest) < len(segments) {
		c.version = version
	}
	c.path = rest
	for _, text := range []string{query, body} {
		values, err := url.ParseQuery(text)
		if err != nil {
			return c, syntax("The parameters of a batch item cannot be parsed.")
		}
		for name, list := range values {
			c.set(name, list)
		}
	}
	if override := strings.ToUpper(c.params.Get("method")); override != "" {
		c.method = override
	}
	if !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodDelete}, c.method) {
		return c, syntax("Unsupported method in a batch item.")
	}
	if item.AttachedFiles != "" {
		c.files = make(map[string]file)
		for _, name := range splitScopes(item.AttachedFiles) {
			if attached, ok := b.outer.files[name]; ok {
				c.files["source"] = attached
			}
		}
	}
	switch {
	case c.params.Get("access_token") != "":
	case item.AccessToken != "":
		c.params.Set("access_token", item.AccessToken)
	default:
		c.bearer = b.outer.credential()
		for _, name := range []string{"appsecret_proof", "appsecret_time"} {
			if !c.params.Has(name) && b.outer.params.Has(name) {
				c.params.Set(name, b.outer.params.Get(name))
			}
		}
	}
	return c, nil
}

func itemHeaders(r *reply, c *call) []any {
	list := []any{}
	add := func(name, value string) { list = append(list, object{{"name", name}, {"value", value}}) }
	add("Access-Control-Allow-Origin", "*")
	add("Cache-Control", "private, no-cache, no-store, must-revalidate")
	add("Content-Type", "text/javascript; charset=UTF-8")
	add("facebook-api-version", c.version)
	for _, name := range sortedKeys(r.header) {
		if name != "Content-Type" {
			add(name, r.header.Get(name))
		}
	}
	return list
}
