package meta

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
)

// The bounds on what a caller may send. Uploads on the upload hosts have one of
// their own.
const (
	maxBody   = 64 << 20
	maxMemory = 8 << 20
)

// call is one Graph call: a request, or one item of a batch.
type call struct {
	p       *Platform
	ctx     context.Context
	product product
	method  string
	version string
	path    []string
	// params are query and body together; a body parameter wins over a query
	// parameter of the same name.
	params url.Values
	// base is scheme, host and prefix that the call came to; links that lead
	// back begin with it.
	base        string
	files       map[string]file
	ifNoneMatch string
	// bearer is the token of the Authorization header.
	bearer string
	token  *token
	// usage collects the business use cases that the call counts against.
	usage map[string]string
	// depth bounds batches within batches.
	depth int
	// rendered counts the nodes answered so far.
	rendered int
}

// file is an uploaded part.
type file struct {
	name string
	kind string
	data []byte
}

// read takes parameters, files and the bearer token from the request.
func (c *call) read(w http.ResponseWriter, r *http.Request, h host) *failure {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return syntax("The query string cannot be parsed.")
	}
	for name, values := range query {
		c.set(name, values)
	}
	scheme, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "oauth") {
		c.bearer = strings.TrimSpace(credential)
	}
	if h.upload != "rupload" && r.Body != nil && r.Method != http.MethodGet && r.Method != http.MethodHead {
		if failed := c.readBody(w, r); failed != nil {
			return failed
		}
	}
	// The override works in the query and in the body; it is an old convenience
	// for clients that know only GET and POST.
	if override := strings.ToUpper(c.params.Get("method")); override != "" {
		switch override {
		case http.MethodGet, http.MethodPost, http.MethodDelete:
			c.method = override
		default:
			return syntax("Unsupported method override.")
		}
	}
	if c.method == http.MethodPut || c.method == http.MethodPatch {
		return syntax("Unsupported method.")
	}
	return nil
}

// set keeps the last of several values, as PHP does, except for list parameters
// in PHP's own notation: name[]=a&name[]=b.
func (c *call) set(name string, values []string) {
	if len(values) == 0 {
		return
	}
	if bare, _, ok := strings.Cut(name, "["); ok && strings.HasSuffix(name, "]") && bare != "" {
		var list []string
		if old := c.params.Get(bare); strings.HasPrefix(old, "[") {
			// A list built by an earlier name[i]; anything else is replaced.
			_ = json.Unmarshal([]byte(old), &list)
		}
		text, err := json.Marshal(append(list, values...))
		if err == nil {
			c.params.Set(bare, string(text))
		}
		return
	}
	c.params.Set(name, values[len(values)-1])
}

func (c *call) readBody(w http.ResponseWriter, r *http.Request) *failure {
	kind, details, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = "application/x-www-form-urlencoded"
	}
	body := http.MaxBytesReader(w, r.Body, maxBody)
	if strings.HasPrefix(kind, "multipart/") {
		return c.readMultipart(multipart.NewReader(body, details["boundary"]))
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return &failure{status: http.StatusRequestEntityTooLarge, kind: oauthException, code: 1, message: "The request body is too large or was cut off."}
	}
	if kind == "application/json" {
		return c.readJSON(raw)
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return syntax("The form body cannot be parsed.")
	}
	for name, values := range form {
		c.set(name, values)
	}
	return nil
}

// readJSON takes a JSON object's members as parameters; what is not a string
// keeps its JSON text, which is how Graph takes nested values in a form, too.
func (c *call) readJSON(raw []byte) *failure {
	if strings.TrimSpace(string(raw)) == "" {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return syntax("The JSON body cannot be parsed as an object.")
	}
	for name, value := range members {
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			text = string(value)
		}
		c.params.Set(name, text)
	}
	return nil
}

func (c *call) readMultipart(parts *multipart.Reader) *failure {
	cut := syntax("The multipart body cannot be parsed.")
	form, err := parts.ReadForm(maxMemory)
	if err != nil {
		return cut
	}
	defer func() {
		// Temporary files only; nothing depends on their removal.
		_ = form.RemoveAll()
	}()
	for name, values := range form.Value {
		c.set(name, values)
	}
	c.files = make(map[string]file, len(form.File))
	for name, headers := range form.File {
		opened, err := headers[0].Open()
		if err != nil {
			return cut
		}
		data, err := io.ReadAll(opened)
		_ = opened.Close()
		if err != nil {
			return cut
		}
		c.files[name] = file{name: headers[0].Filename, kind: headers[0].Header.Get("Content-Type"), data: data}
	}
	return nil
}

// credential is the token that the call carries. A parameter wins over the
// header; which one Meta prefers is not documented.
func (c *call) credential() string {
	if value := c.params.Get("access_token"); value != "" {
		return value
	}
	return c.bearer
}
