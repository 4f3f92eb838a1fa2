package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/wire"
)

// narrowing returns what a reply is narrowed to by the contract that decided, or
// nil. In report mode replies are passed on whole: it shows what would be
// refused, and breaks nothing.
func (s *Settings) narrowing(d policy.Decision, p platform.Name) *platform.Narrowing {
	fields, bound := d.Contract.Fields()
	if !bound || s.Policy.Mode() == policy.Report {
		return nil
	}
	if made, ok := s.narrowings.Load(d.Contract); ok {
		return made.(*platform.Narrowing)
	}
	made, _ := s.narrowings.LoadOrStore(d.Contract, platform.NewNarrowing(p, fields))
	return made.(*platform.Narrowing)
}

// sameFields reports whether two contracts narrow replies to the same.
func sameFields(a, b *policy.Contract) bool {
	was, bound1 := a.Fields()
	is, bound2 := b.Fields()
	return bound1 == bound2 && slices.Equal(was, is)
}

// narrowed returns a reader of a reply in strict JSON, of which only what n
// declares is passed on; nil declares all.
func narrowed(n *platform.Narrowing, r io.Reader, reply platform.Reply) io.Reader {
	if n == nil {
		return platform.StrictJSON(r)
	}
	return n.Reader(r, reply)
}

// carries reads the headings of the request.
func (c *call) carries(read headings, r *policy.Request) error {
	params, body, fields := read.params, read.body, read.fields
	p := c.at.platform
	if r.Joined = p.Graph(); r.Joined {
		params = params || body
		body = params
	}
	if params {
		r.Params = pathArguments(c.class)
		for i := range c.query {
			if q := &c.query[i]; !stripped[p][q.key] {
				r.Params = appendArgument(r.Params, p, c.class, q.key, q.value)
			}
		}
	}
	if body {
		if err := c.bodyArguments(r); err != nil {
			return err
		}
	}
	return selected(r, p, c.judgedParams(), fields, params)
}

// pathArguments are the parts of a call's path that stand for something.
func pathArguments(class platform.Call) []policy.Argument {
	var out []policy.Argument
	for _, p := range class.Params {
		out = append(out, policy.Argument{Name: p.Name, Text: p.Value, Path: true})
	}
	return out
}

// appendArgument adds a parameter, but for those that are judged by what they
// do: a method that differs is an override, and a batch is judged item by item.
func appendArgument(list []policy.Argument, p platform.Name, class platform.Call, name, value string) []policy.Argument {
	if p.Graph() && (name == "method" || name == "batch" && class.Batch) {
		return list
	}
	return append(list, policy.Argument{
		Name: name, Text: value, Free: platform.Paging(p, name, value), Selects: platform.Selects(p, name),
	})
}

// selected reads the fields that the parameters ask for. On the Graph the
// modifiers of a field expansion are parameters in another place.
func selected(r *policy.Request, p platform.Name, params url.Values, fields, bound bool) error {
	if !fields && !(bound && p.Graph()) {
		return nil
	}
	s, err := platform.Select(p, params)
	if err != nil {
		return classifyError(err)
	}
	for _, f := range s.Fields {
		r.Selected = append(r.Selected, policy.Selected{Path: f.Path, Or: f.Or})
	}
	if bound {
		for _, m := range s.Modifiers {
			r.Params = append(r.Params, policy.Argument{Name: m.Name, Text: m.Argument, Free: platform.Paging(p, m.Name, m.Argument)})
		}
	}
	return nil
}

// bodyArguments reads the body into the question.
func (c *call) bodyArguments(r *policy.Request) error {
	p, b := c.at.platform, &c.body
	switch b.kind {
	case bodyNone:
	case bodyForm:
		for i := range b.params {
			if f := &b.params[i]; !stripped[p][f.key] {
				r.Body = appendArgument(r.Body, p, c.class, f.key, f.value)
			}
		}
	case bodyJSON:
		if len(bytes.TrimSpace(b.bytes)) == 0 {
			return nil
		}
		list, object, err := jsonArguments(b.bytes, stripped[p])
		if r.Body, r.Unjudged = list, !object; err != nil && c.settings.Policy.Mode() == policy.Report {
			r.Unjudged, err = true, nil // reported, like any other body that cannot be judged
		}
		if p.Graph() {
			r.Body = graphMembers(p, list)
		}
		return err
	case bodyMultipart:
		return c.partArguments(r)
	default:
		r.Unjudged = true
	}
	return nil
}

// graphMembers marks the members of a JSON body that are parameters of the kinds
// that appendArgument knows.
func graphMembers(p platform.Name, list []policy.Argument) []policy.Argument {
	out := list[:0]
	for _, a := range list {
		if a.Name == "method" {
			continue
		}
		if a.Kind == policy.IsText || a.Kind == policy.IsNumber {
			a.Free, a.Selects = platform.Paging(p, a.Name, a.Text), platform.Selects(p, a.Name)
		}
		out = append(out, a)
	}
	return out
}

// partArguments reads the parts of a multipart form up to its first file. On X,
// where no call is named by them, they have not been read before.
func (c *call) partArguments(r *policy.Request) error {
	p, b := c.at.platform, &c.body
	if b.parts == nil {
		if err := b.readWholeParts(p, c.gateway.config.Limits.InspectBytes); err != nil {
			return err
		}
	}
	r.Body = b.partArguments(r.Body, p, c.class)
	return nil
}

// readWholeParts reads the parts of a form of which nothing was read, and refuses
// what may not stand in them.
func (b *body) readWholeParts(p platform.Name, limit int64) error {
	if err := b.readParts(limit); err != nil {
		return err
	}
	if err := b.params.check(credentialNames, "body"); err != nil {
		return err
	}
	return b.params.without(stripped[p]).holdsHandle("the body", false)
}

// partArguments adds the parts that were read.
func (b *body) partArguments(list []policy.Argument, p platform.Name, class platform.Call) []policy.Argument {
	for _, t := range b.parts.text {
		if !stripped[p][t.name] {
			list = appendArgument(list, p, class, t.name, string(t.value))
		}
	}
	if b.parts.file != nil {
		list = append(list, policy.Argument{Name: b.parts.file.FormName(), Kind: policy.IsFile})
	}
	return list
}

// late reports whether a part of this name may not follow a file: it was not
// there when the call was judged.
func (c *call) late(name string) bool {
	c.seen.follows()
	if decides(name) {
		return true
	}
	if c.batch != nil {
		return false // a file of one of its items, which were judged
	}
	params, body, _ := c.decision.Contract.Bounds()
	if c.settings.Policy.Mode() == policy.Report || !body && !(params && c.at.platform.Graph()) {
		return false
	}
	return c.decision.Contract.Call().Body[name].Type != policy.File
}

// The bounds of a JSON body that is judged field by field.
const (
	maxBodyDepth  = 32
	maxBodyFields = 4096
)

// jsonArguments lists the fields of a JSON object with the path to each. It
// reports false for what is no object.
func jsonArguments(b []byte, leaveOut map[string]bool) ([]policy.Argument, bool, error) {
	if b = bytes.TrimLeft(b, " \r\n\t"); b[0] != '{' {
		return nil, false, nil
	}
	f := fieldLister{d: json.NewDecoder(bytes.NewReader(b)), leaveOut: leaveOut}
	f.d.UseNumber()
	if _, err := f.d.Token(); err != nil {
		return nil, false, errNotJSON("is not valid JSON")
	}
	err := f.members("", 1)
	return f.list, true, err
}

// fieldLister walks a JSON text that is known to be valid.
type fieldLister struct {
	d        *json.Decoder
	leaveOut map[string]bool // at the top
	list     []policy.Argument
}

func (f *fieldLister) members(above string, depth int) error {
	seen := map[string]bool{}
	for f.d.More() {
		t, err := f.d.Token()
		name, _ := t.(string)
		if err != nil {
			return errNotJSON("is not valid JSON")
		}
		if seen[name] {
			return wire.Refuse(gatehouse.ErrInvalid, "refuse/duplicate-parameter", "an object in the body has a member twice; servers differ in which one they read")
		}
		seen[name] = true
		// A dot in a name is none between names.
		path := above + strings.ReplaceAll(name, ".", "\x00")
		before := len(f.list)
		if err := f.value(path, false, depth); err != nil {
			return err
		}
		if above == "" && f.leaveOut[name] {
			f.list = f.list[:before] // it is not sent on
		}
	}
	_, err := f.d.Token() // the closing bracket
	if err != nil {
		return errNotJSON("is not valid JSON")
	}
	return nil
}

// value adds one value and what is in it.
func (f *fieldLister) value(path string, in bool, depth int) error {
	if depth > maxBodyDepth || len(f.list) >= maxBodyFields {
		return wire.Refuse(gatehouse.ErrInvalid, "refuse/parameters", "the body is nested too deep or has too many fields to be judged")
	}
	t, err := f.d.Token()
	if err != nil {
		return errNotJSON("is not valid JSON")
	}
	a := policy.Argument{Name: path, In: in}
	at := len(f.list)
	f.list = append(f.list, a)
	switch v := t.(type) {
	case json.Delim:
		if v == '{' {
			f.list[at].Kind = policy.IsObject
			return f.members(path+".", depth+1)
		}
		n := 0
		for ; f.d.More(); n++ {
			if err := f.value(path, true, depth+1); err != nil {
				return err
			}
		}
		f.list[at].Kind, f.list[at].Size = policy.IsList, n
		if _, err := f.d.Token(); err != nil {
			return errNotJSON("is not valid JSON")
		}
		return nil
	case string:
		a.Kind, a.Text = policy.IsText, v
	case json.Number:
		a.Kind, a.Text = policy.IsNumber, v.String()
	case bool:
		a.Kind, a.Text = policy.IsBoolean, map[bool]string{true: "true", false: "false"}[v]
	default:
		a.Kind = policy.IsNull
	}
	f.list[at] = a
	return nil
}

// carries reads the headings of a batch's item.
func (item *batchItem) carries(read headings, r *policy.Request) error {
	params, body, fields := read.params, read.body, read.fields
	bound := params || body
	r.Joined = true
	if bound {
		r.Params = pathArguments(item.class)
		// An id that an earlier result will have cannot be judged: it is what is
		// written, which fits no shape for ids.
		path, _, _ := strings.Cut(item.RelativeURL, "?")
		if decoded, err := url.PathUnescape(path); err != nil || strings.Contains(decoded, "{result=") {
			for i := range r.Params {
				r.Params[i].Text = path
			}
		}
		for name, values := range item.params {
			for _, v := range values {
				r.Params = appendArgument(r.Params, platform.Facebook, item.class, name, v)
			}
		}
		r.Unjudged = item.AttachedFiles != ""
	}
	return selected(r, platform.Facebook, item.params, fields, bound)
}
