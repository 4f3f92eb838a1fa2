package x

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
)

// document is as much of X's OpenAPI document as answering needs.
type document struct {
	OpenAPI    string                                `json:"openapi"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas    map[string]*schema   `json:"schemas"`
		Parameters map[string]parameter `json:"parameters"`
	} `json:"components"`
}

type parameter struct {
	Ref      string `json:"$ref"`
	Name     string `json:"name"`
	In       string `json:"in"`
	Required bool   `json:"required"`
}

type content map[string]struct {
	Schema *schema `json:"schema"`
}

// described is one operation of the document.
type described struct {
	ID          string                `json:"operationId"`
	Parameters  []parameter           `json:"parameters"`
	Security    []map[string][]string `json:"security"`
	Streaming   bool                  `json:"x-twitter-streaming"`
	RequestBody *struct {
		Required bool    `json:"required"`
		Content  content `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content content `json:"content"`
	} `json:"responses"`
}

// securityKinds maps the security schemes of X's document to kinds of
// authentication.
var securityKinds = map[string]authKind{"BearerToken": appOnly, "OAuth2UserToken": oauth2User, "UserToken": oauth1User}

// loadOpenAPI reads X's document and adds every operation that is not built in,
// answered with an example of its response schema.
func (p *Platform) loadOpenAPI(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("parsing %s: %w", path, err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.") || len(d.Paths) == 0 {
		return fmt.Errorf("%s is not an OpenAPI 3 document", path)
	}
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, verb := range slices.Sorted(maps.Keys(d.Paths[path])) {
			method := strings.ToUpper(verb)
			if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) || p.routes.has(method, path) || path == "/2/openapi.json" {
				continue
			}
			var from described
			if err := json.Unmarshal(d.Paths[path][verb], &from); err != nil {
				return fmt.Errorf("parsing %s %s: %w", method, path, err)
			}
			p.routes.add(d.operation(method+" "+path, &from))
		}
	}
	p.openAPI = raw
	return nil
}

// operation makes an operation of the document answer from its schema.
func (d *document) operation(route string, from *described) *operation {
	op := &operation{id: from.ID, route: route}
	for _, requirement := range from.Security {
		for scheme, scopes := range requirement {
			op.auth |= securityKinds[scheme]
			if scheme == "OAuth2UserToken" {
				op.scopes = strings.Join(scopes, " ")
			}
		}
	}
	var required []string
	for _, parameter := range from.Parameters {
		if name, found := strings.CutPrefix(parameter.Ref, "#/components/parameters/"); found {
			parameter = d.Components.Parameters[name]
		}
		if parameter.In != "query" {
			continue
		}
		op.query = append(op.query, parameter.Name)
		if parameter.Required {
			required = append(required, parameter.Name)
		}
	}
	var success *schema
	for _, code := range slices.Sorted(maps.Keys(from.Responses)) {
		if status, err := strconv.Atoi(code); err == nil && status/100 == 2 {
			op.status, success = status, from.Responses[code].Content["application/json"].Schema
			break
		}
	}
	example := d.example(success, from.ID, 0)
	check := func(c *call) error {
		for _, name := range required {
			if c.query.Get(name) == "" {
				return missingParameter(name)
			}
		}
		return d.checkBody(from, c)
	}
	if from.Streaming {
		op.stream = func(p *Platform, c *call, w http.ResponseWriter) error {
			if err := check(c); err != nil {
				return err
			}
			r, err := p.open("sampled")
			if err != nil {
				return err
			}
			line := encode(example)
			return p.keepSending(c, w, r, func(*post) []byte { return nil }, func() []byte { return line })
		}
		return op
	}
	op.handle = func(_ *Platform, c *call) (any, error) {
		if err := check(c); err != nil {
			return nil, err
		}
		return example, nil
	}
	return op
}

// checkBody checks a JSON body against the operation's schema. Bodies of other
// types are taken as they are.
func (d *document) checkBody(from *described, c *call) error {
	if from.RequestBody == nil {
		return nil
	}
	body, takesJSON := from.RequestBody.Content["application/json"]
	if len(c.body) == 0 {
		if from.RequestBody.Required {
			return invalidRequest("", "", "Requests with bodies must have content-type of application/json.")
		}
		return nil
	}
	if !takesJSON || !strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json") {
		return nil
	}
	var value any
	if err := json.Unmarshal(c.body, &value); err != nil {
		return invalidRequest("", "", "The request body is not valid JSON for this operation.")
	}
	if wrong := d.check(body.Schema, value, "$", 0); wrong != "" {
		return invalidRequest("", "", wrong)
	}
	return nil
}

// serveOpenAPI serves the document that the platform was given.
func (p *Platform) serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	if p.openAPI == nil || r.Method != http.MethodGet {
		sendError(w, plainProblem(http.StatusNotFound, "Not Found"))
		return
	}
	send(w, http.StatusOK, jsonType, p.openAPI)
}
