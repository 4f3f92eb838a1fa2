package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// batch is a Graph batch: up to fifty calls in one request, each of which may
// carry a handle of its own. Each is judged as a call of its own.
type batch struct {
	items   []batchItem
	members []*member // who calls; the first is the call's own handle
}

// batchItem is one call of a batch, without what the caller put in as
// credentials.
type batchItem struct {
	platform.BatchItem
	class  platform.Call
	by     *member
	params url.Values // of its address and its body
	narrow *platform.Narrowing
	seen   *Observation
}

// member is one handle that takes part in a batch, with what is opened for it.
type member struct {
	owner
	service Service
}

// batchText returns the batch parameter, wherever it stands.
func (c *call) batchText() string {
	for _, in := range []params{c.body.params, c.query} {
		if text, ok := in.get("batch"); ok {
			return text
		}
	}
	return ""
}

// firstItemHandle finds the handle of a batch that carries its handles in its
// items alone.
func (c *call) firstItemHandle() (string, error) {
	text := c.batchText()
	if text == "" || !c.at.likelyGraph() {
		return "", nil
	}
	items, err := platform.ParseBatch(text)
	if err != nil {
		return "", classifyError(err)
	}
	for _, item := range items {
		_, removed, err := item.StripCredentials(platform.Facebook)
		if err != nil {
			return "", classifyError(err)
		}
		if token := removed.Get("access_token"); token != "" {
			return token, nil
		}
	}
	return "", nil
}

// openBatch reads the items, finds out who calls in each, and names each.
func (c *call) openBatch(ctx context.Context) error {
	if !c.class.Batch {
		return nil
	}
	parsed, err := platform.ParseBatch(c.batchText())
	if err != nil {
		return classifyError(err)
	}
	top := &member{owner: c.owner(), service: c.service}
	c.batch = &batch{members: []*member{top}}
	for i, item := range parsed {
		if err := c.openItem(ctx, item); err != nil {
			return inItem(i, err)
		}
	}
	return nil
}

// inItem says which item of a batch a refusal is about.
func inItem(i int, err error) error {
	rule := wire.RuleOf(err)
	if rule == "" {
		return err
	}
	kind := gatehouse.Kind(err)
	if kind == nil {
		return err
	}
	return wire.WithStatus(wire.Refuse(kind, rule, fmt.Sprintf("batch item %d: %s", i, wire.ProblemOf(err).Detail)), wire.StatusOf(err))
}

// openItem judges the form of one item and adds it.
func (c *call) openItem(ctx context.Context, raw platform.BatchItem) error {
	item, removed, err := raw.StripCredentials(c.at.platform)
	if err != nil {
		return classifyError(err)
	}
	by, err := c.itemMember(ctx, removed["access_token"])
	if err != nil {
		return err
	}
	class, err := item.Classify(c.at.platform)
	if err != nil {
		return classifyError(err)
	}
	switch class.Endpoint {
	case platform.None, platform.Permissions:
	default:
		return wire.Refuse(gatehouse.ErrDenied, "refuse/oauth-in-batch", "OAuth endpoints are answered by Gatehouse and must be called by themselves")
	}
	if item.AttachedFiles != "" && c.body.kind != bodyMultipart {
		return wire.Refuse(gatehouse.ErrInvalid, "refuse/batch", "attached_files needs a multipart request")
	}
	if err := checkReferences(item); err != nil {
		return err
	}
	for _, text := range []string{item.RelativeURL, item.Body, item.Name, item.DependsOn, string(item.Headers)} {
		decoded, err := url.QueryUnescape(text)
		if identity.Holds(text) || err == nil && identity.Holds(decoded) {
			return errHandleInside("a batch item")
		}
	}
	params, err := item.Params()
	if err != nil {
		return classifyError(err)
	}
	c.batch.items = append(c.batch.items, batchItem{BatchItem: item, class: class, by: by, params: params})
	return nil
}

// itemMember finds out who calls in an item that carries these tokens: the call's
// own handle when it carries none.
func (c *call) itemMember(ctx context.Context, tokens []string) (*member, error) {
	top := c.batch.members[0]
	switch {
	case len(tokens) > 1:
		return nil, wire.Refuse(gatehouse.ErrInvalid, "refuse/two-credentials", "the item carries its handle twice")
	case len(tokens) == 0 && c.shown.at == inBatch:
		return nil, wire.Unauthenticated("refuse/no-handle", "neither the item nor the batch around it carries a handle")
	case len(tokens) == 0:
		return top, nil
	}
	if !c.service.accepts(inBatch) {
		return nil, wire.Refuse(gatehouse.ErrDenied, "refuse/position", "the configuration does not let this service send handles in batch items")
	}
	for _, m := range c.batch.members {
		if m.text == tokens[0] {
			m.inParam = true
			return m, nil
		}
	}
	h, err := c.gateway.authenticate(ctx, tokens[0])
	if err != nil {
		return nil, err
	}
	if h.ServiceName != c.handle.ServiceName || h.App != c.handle.App || h.Platform != c.handle.Platform {
		return nil, wire.Refuse(gatehouse.ErrDenied, "refuse/batch", "the item's handle belongs to another service or app than the batch's")
	}
	m := &member{owner: owner{handle: h, text: tokens[0], inParam: true}, service: c.service}
	c.batch.members = append(c.batch.members, m)
	return m, nil
}

// reference is what of Graph's JSONPath references is passed on: an id from an
// earlier result. Anything else could put a token from one reply into a text that
// the next item publishes.
var reference = regexp.MustCompile(`^\{result=[A-Za-z0-9_-]{1,64}:\$(\.[A-Za-z0-9_*]{1,64}|\[[0-9*]{1,6}\]){0,8}\.([a-z_]*_)?id\}$`)

// likeReference is what a lenient reader might take for a reference.
var likeReference = regexp.MustCompile(`(?i)\{\s*"?result"?\s*=`)

func checkReferences(item platform.BatchItem) error {
	refused := wire.Refuse(gatehouse.ErrDenied, "refuse/batch-reference",
		"an item may take ids from an earlier result ({result=name:$.data.*.id}) and nothing else")
	if strings.Contains(string(item.Headers), "result=") {
		return refused
	}
	for _, text := range []string{item.RelativeURL, item.Body} {
		decoded, err := url.QueryUnescape(text)
		if err != nil {
			return wire.Refuse(gatehouse.ErrInvalid, "refuse/batch", "relative_url or body is not valid percent-encoded text")
		}
		// A reader that takes another spelling for a reference must find none.
		if len(likeReference.FindAllStringIndex(decoded, -1)) != strings.Count(decoded, "{result=") {
			return refused
		}
		// Whatever was encoded twice stays encoded for the platform, too.
		for rest := decoded; ; {
			i := strings.Index(rest, "result=")
			if i < 0 {
				break
			}
			if i == 0 || rest[i-1] != '{' {
				rest = rest[i+len("result="):]
				continue
			}
			end := strings.IndexByte(rest[i:], '}')
			if end < 0 || !reference.MatchString(rest[i-1:i+end+1]) {
				return refused
			}
			rest = rest[i+end+1:]
		}
	}
	return nil
}

// decide asks the policy about every item, each for the handle that it carries.
func (b *batch) decide(c *call) error {
	for i := range b.items {
		item := &b.items[i]
		operations := []gatehouse.Operation{gatehouse.Operation(item.class.Operation)}
		for _, op := range item.class.Implied {
			operations = append(operations, gatehouse.Operation(op))
		}
		d, seen, err := c.ask(item.by.handle, item.by.service, operations, item.class.Unknown, item.class.Override, item.class.Endpoint, item.carries)
		item.narrow, item.seen = c.settings.narrowing(d, c.at.platform), seen
		if i == 0 || d.Report || err != nil {
			c.decision = d
		}
		if err != nil {
			if c.decision.Operation == "" {
				c.decision.Operation = operations[0]
			}
			return inItem(i, err)
		}
	}
	return nil
}

// facts are what the log says of a batch beside its operation.
func (b *batch) facts() map[string]string {
	var names []string
	for _, item := range b.items {
		if !slices.Contains(names, item.class.Operation) {
			names = append(names, item.class.Operation)
		}
	}
	return map[string]string{"items": number(len(b.items)), "operations": strings.Join(names, ", ")}
}

// begin makes the intents of the other handles durable; the call's own is.
func (b *batch) begin(ctx context.Context, c *call) error {
	b.members[0].receipt = c.receipt
	for _, m := range b.members[1:] {
		e := c.entry(m.handle, c.class.Operation, verdictAllow, c.decision.Rule)
		e.Facts = b.facts()
		receipt, err := c.gateway.config.Log.Intent(context.WithoutCancel(ctx), e)
		if err != nil {
			return errLogClosed(err)
		}
		m.receipt = receipt
		c.gateway.config.Handles.Used(m.handle.ID)
	}
	return nil
}

// end records the outcomes of the other handles.
func (b *batch) end(c *call, verdict string) {
	for _, m := range b.members[1:] {
		if m.receipt.Valid() {
			e := outcome(c.entry(m.handle, c.class.Operation, verdict, ""))
			e.Status = c.status
			c.gateway.config.Log.Outcome(m.receipt, e)
		}
	}
}

// authorize opens the credentials and returns the batch parameter for the
// platform: items of other handles get their own token and proof, items of the
// call's own handle use those of the request around them.
func (b *batch) authorize(ctx context.Context, c *call) (string, error) {
	b.members[0].credential = c.credential // what is known of it is set when it is sent
	for _, m := range b.members[1:] {
		var err error
		if m.credential, err = c.gateway.config.Connections.Credential(ctx, m.receipt, m.handle.Connection); err != nil {
			return "", err
		}
	}
	out := make([]platform.BatchItem, len(b.items))
	for i, item := range b.items {
		out[i] = item.BatchItem
		if item.by == b.members[0] {
			continue
		}
		values := url.Values{}
		if err := item.by.credential.BatchItem(values); err != nil {
			return "", err
		}
		item.by.known = carried("Bearer "+values.Get("access_token"), values.Encode(), item.by.text)
		if item.Method == http.MethodPost {
			out[i].Body = joinQuery(item.Body, values.Encode(), "")
		} else {
			out[i].RelativeURL = joinQuery(item.RelativeURL, values.Encode(), "?")
		}
	}
	text, err := platform.FormatBatch(out)
	if err != nil {
		return "", errors.Join(gatehouse.ErrInvalid, err)
	}
	return text, nil
}

// joinQuery appends parameters to a form, or to an address when mark is "?".
func joinQuery(to, extra, mark string) string {
	switch {
	case to == "":
		return extra
	case mark != "" && !strings.Contains(to, mark):
		return to + mark + extra
	case strings.HasSuffix(to, "&") || mark != "" && strings.HasSuffix(to, mark):
		return to + extra
	}
	return to + "&" + extra
}
