package platform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The limits of a batch. Fifty items is Meta's own.
const (
	MaxBatchItems  = 50
	maxBatchLength = 4 << 20
)

// BatchItem is one call of a Graph batch. Each is a call of its own, counted,
// decided and logged as one.
type BatchItem struct {
	Method      string
	RelativeURL string
	Body        string // form-encoded; empty if absent
	Name        string
	DependsOn   string
	// Token is the credential of an access_token member of the item itself.
	Token string
	// AttachedFiles names parts of the multipart form around the batch.
	AttachedFiles string
	// Headers is the item's JSON list of headers as it came; nil if absent.
	Headers json.RawMessage
	// OmitResponse is omit_response_on_success; nil if absent.
	OmitResponse *bool
}

// wireItem is a BatchItem on the wire. The Node SDK writes attachedFiles.
type wireItem struct {
	Method         string          `json:"method"`
	RelativeURL    string          `json:"relative_url"`
	Body           string          `json:"body,omitempty"`
	Name           string          `json:"name,omitempty"`
	DependsOn      string          `json:"depends_on,omitempty"`
	Token          string          `json:"access_token,omitempty"`
	AttachedFiles  string          `json:"attached_files,omitempty"`
	AttachedFiles2 string          `json:"attachedFiles,omitempty"`
	Headers        json.RawMessage `json:"headers,omitempty"`
	OmitResponse   *bool           `json:"omit_response_on_success,omitempty"`
}

var batchMembers = []string{
	"method", "relative_url", "body", "name", "depends_on", "access_token", "attached_files", "attachedFiles",
	"headers", "omit_response_on_success",
}

// ParseBatch parses the JSON of a batch parameter. It is strict, because what it
// misunderstood would be done without having been decided: members that are not
// known, given twice or of another type are errors that name the item.
func ParseBatch(raw string) ([]BatchItem, error) {
	if len(raw) > maxBatchLength {
		return nil, fmt.Errorf("batch: %w", ErrTooLarge)
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(raw), &list); err != nil {
		return nil, fmt.Errorf("batch: %w: it is not a JSON list", ErrSyntax)
	}
	switch {
	case len(list) == 0:
		return nil, fmt.Errorf("batch: %w: it is empty", ErrSyntax)
	case len(list) > MaxBatchItems:
		return nil, fmt.Errorf("batch: %w: more than %d items", ErrTooLarge, MaxBatchItems)
	}
	items := make([]BatchItem, len(list))
	for i, entry := range list {
		item, err := parseItem(entry)
		if err != nil {
			return nil, fmt.Errorf("batch[%d]: %w", i, err)
		}
		items[i] = item
	}
	return items, nil
}

func parseItem(raw json.RawMessage) (BatchItem, error) {
	if err := checkMembers(raw); err != nil {
		return BatchItem{}, err
	}
	var w wireItem
	if err := json.Unmarshal(raw, &w); err != nil {
		return BatchItem{}, fmt.Errorf("%w: a member has the wrong type", ErrSyntax)
	}
	if w.AttachedFiles2 != "" {
		if w.AttachedFiles != "" {
			return BatchItem{}, fmt.Errorf("%w: attached_files is given twice", ErrAmbiguous)
		}
		w.AttachedFiles = w.AttachedFiles2
	}
	if w.Method == "" {
		return BatchItem{}, fmt.Errorf("%w: method is missing", ErrSyntax)
	}
	return BatchItem{
		Method: strings.ToUpper(w.Method), RelativeURL: w.RelativeURL, Body: w.Body, Name: w.Name, DependsOn: w.DependsOn,
		Token: w.Token, AttachedFiles: w.AttachedFiles, Headers: w.Headers, OmitResponse: w.OmitResponse,
	}, nil
}

// checkMembers refuses members that are unknown or given twice. The standard
// decoder takes the last of two and ignores case; the platform may not.
func checkMembers(raw json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%w: it is not an object", ErrSyntax)
	}
	var seen []string
	for d.More() {
		t, _ := d.Token()
		name, _ := t.(string) // anything else is no member either
		if !slices.Contains(batchMembers, name) {
			return fmt.Errorf("%w: it has a member that batches do not have", ErrSyntax)
		}
		if slices.Contains(seen, name) {
			return fmt.Errorf("%w: %s is given twice", ErrAmbiguous, name)
		}
		seen = append(seen, name)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("%w: it is not JSON", ErrSyntax)
		}
	}
	return nil
}

// FormatBatch writes items as the batch parameter.
func FormatBatch(items []BatchItem) (string, error) {
	list := make([]wireItem, len(items))
	for i, item := range items {
		list[i] = wireItem{
			Method: item.Method, RelativeURL: item.RelativeURL, Body: item.Body, Name: item.Name, DependsOn: item.DependsOn,
			Token: item.Token, AttachedFiles: item.AttachedFiles, Headers: item.Headers, OmitResponse: item.OmitResponse,
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(list); err != nil {
		return "", fmt.Errorf("formatting a batch: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// Params returns the parameters of an item, in its address and its body: Graph
// reads both alike.
func (b BatchItem) Params() (url.Values, error) {
	_, rawQuery, _ := strings.Cut(b.RelativeURL, "?")
	params, err := ParseParams(rawQuery)
	if err != nil {
		return nil, fmt.Errorf("relative_url: %w", err)
	}
	form, err := ParseParams(b.Body)
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	for k, values := range form {
		params[k] = append(params[k], values...)
	}
	return params, nil
}

// Classify names the operation of an item. References to earlier results may
// stand for an id, and nowhere else in the path.
func (b BatchItem) Classify(p Name) (Call, error) {
	path, _, _ := strings.Cut(b.RelativeURL, "?")
	path = "/" + strings.TrimPrefix(path, "/") // an absolute URL has an empty segment
	query, err := b.Params()
	if err != nil {
		return Call{}, err
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if unescaped, err := url.PathUnescape(s); err == nil && resultReference(unescaped) {
			segments[i] = "0" // any id: the value is an id of the earlier result
		}
	}
	call, err := Classify(p, b.Method, strings.Join(segments, "/"), query)
	if err != nil {
		return Call{}, err
	}
	if call.Batch || call.Pattern == "/" {
		return unknown(b.Method), nil // a batch within a batch
	}
	return call, nil
}

// StripCredentials returns the item without any credential, and the credentials
// it held by parameter name.
func (b BatchItem) StripCredentials(p Name) (BatchItem, url.Values, error) {
	removed := url.Values{}
	if b.Token != "" {
		removed.Add("access_token", b.Token)
		b.Token = ""
	}
	path, rawQuery, hasQuery := strings.Cut(b.RelativeURL, "?")
	query, fromQuery, err := StripParams(p, rawQuery)
	if err != nil {
		return BatchItem{}, nil, fmt.Errorf("%w: the query of relative_url", err)
	}
	body, fromBody, err := StripParams(p, b.Body)
	if err != nil {
		return BatchItem{}, nil, fmt.Errorf("%w: body", err)
	}
	b.Body = body
	if hasQuery {
		b.RelativeURL = path
		if query != "" {
			b.RelativeURL += "?" + query
		}
	}
	for _, found := range []url.Values{fromQuery, fromBody} {
		for k, values := range found {
			removed[k] = append(removed[k], values...)
		}
	}
	if credentialHeader(b.Headers) {
		return BatchItem{}, nil, fmt.Errorf("%w: headers of a batch item may not carry credentials or override the method", ErrSyntax)
	}
	return b, removed, nil
}

// credentialHeader reports whether an item's headers could carry a credential or
// change the method. Items need neither, so they are refused, not rewritten.
func credentialHeader(raw json.RawMessage) bool {
	lower := strings.ToLower(string(raw))
	if strings.Contains(lower, `\u`) {
		return true
	}
	for _, name := range append(CredentialHeaders(), "method-override", "x-http-method", "access_token") {
		if strings.Contains(lower, strings.ToLower(name)) {
			return true
		}
	}
	return false
}

// resultReference reports whether s is a whole JSONPath reference to ids of an
// earlier item's result, such as "{result=friends:$.data.*.id}". Only members
// named id may stand for an id: text that people write could spell a path.
func resultReference(s string) bool {
	inner, ok := strings.CutPrefix(s, "{result=")
	inner, closed := strings.CutSuffix(inner, "}")
	_, path, colon := strings.Cut(inner, ":")
	if !ok || !closed || !colon || strings.ContainsAny(inner, "{}/?#%\\") || !strings.HasPrefix(path, "$") {
		return false
	}
	last := path[strings.LastIndexByte(path, '.')+1:]
	return last == "id" || strings.HasSuffix(last, "_id")
}
