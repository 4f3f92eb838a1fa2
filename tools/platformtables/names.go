package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// words renders a sorted list of names as one string constant's declaration.
func words(b *bytes.Buffer, comment, name string, set map[string]bool) {
	list := make([]string, 0, len(set))
	for w := range set {
		list = append(list, w)
	}
	slices.Sort(list)
	fmt.Fprintf(b, "%s\nconst %s = \"\" +\n", comment, name)
	line := ""
	for _, w := range list {
		if len(line)+len(w) > 100 {
			fmt.Fprintf(b, "%q +\n", line)
			line = ""
		}
		line += w + " "
	}
	fmt.Fprintf(b, "%q\n\n", line)
}

// plainName is what a field of a platform can be called; documents also have
// examples and maps whose keys are no names.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// xNames renders the names of X's fields, and the query parameters of each
// operation with their types, from the OpenAPI document.
func xNames(openapi string) ([]byte, error) {
	raw, err := os.ReadFile(openapi)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Parameters map[string]xParameter `json:"parameters"`
			Schemas    map[string]any        `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("reading %s: %w", openapi, err)
	}
	fields := map[string]bool{}
	collect(doc.Components.Schemas, fields)
	for _, p := range doc.Components.Parameters {
		if strings.HasSuffix(p.Name, ".fields") {
			for _, name := range p.Schema.Items.Enum {
				fields[name] = true
			}
		}
	}
	var rows []string
	for path, methods := range doc.Paths {
		for method, body := range methods {
			var operation any
			if json.Unmarshal(body, &operation) != nil {
				continue
			}
			collect(operation, fields) // schemas that stand in the operation itself
			var op struct{ Parameters []xParameter }
			if json.Unmarshal(body, &op) != nil {
				continue
			}
			var params []string
			for _, p := range op.Parameters {
				if p.Ref != "" {
					p = doc.Components.Parameters[p.Ref[strings.LastIndexByte(p.Ref, '/')+1:]]
				}
				if p.In == "query" {
					params = append(params, p.Name+":"+shapeLetter(p.Schema.Type))
				}
			}
			if slices.Sort(params); len(params) > 0 {
				rows = append(rows, fmt.Sprintf("%q: %q,\n", strings.ToUpper(method)+" "+path, strings.Join(params, " ")))
			}
		}
	}
	slices.Sort(rows)
	var b bytes.Buffer
	words(&b, "// xFieldNames are the names of fields in X's requests and replies.", "xFieldNames", fields)
	b.WriteString("// xQueryParams are the query parameters of X's operations with their types:\n// n a number, b a boolean, l a list, t a text.\nvar xQueryParams = map[string]string{\n")
	b.WriteString(strings.Join(rows, ""))
	b.WriteString("}\n")
	return b.Bytes(), nil
}

// xParameter is a parameter as the OpenAPI document describes it.
type xParameter struct {
	Ref    string `json:"$ref"`
	Name   string `json:"name"`
	In     string `json:"in"`
	Schema struct {
		Type  string                  `json:"type"`
		Items struct{ Enum []string } `json:"items"`
	} `json:"schema"`
}

// shapeLetter is a type in the table's spelling.
func shapeLetter(t string) string {
	switch t {
	case "integer", "number":
		return "n"
	case "boolean":
		return "b"
	case "array":
		return "l"
	}
	return "t"
}

// collect adds the names of all properties in a schema, at any depth.
func collect(v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if props, ok := v["properties"].(map[string]any); ok {
			for name := range props {
				if plainName.MatchString(name) {
					into[name] = true
				}
			}
		}
		for _, below := range v {
			collect(below, into)
		}
	case []any:
		for _, below := range v {
			collect(below, into)
		}
	}
}

var (
	fieldsRE = regexp.MustCompile(`(?s)static get Fields \(\): Object \{\s*return Object\.freeze\(\{(.*?)\}\);`)
	fieldRE  = regexp.MustCompile(`: '([^']+)'`)
)

// graphNames renders the names of the Graph API's fields, from the SDK's objects
// and the node specifications when there are any.
func graphNames(sdk, specs string) ([]byte, error) {
	fields := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(sdk, "src", "objects", "*.js"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, list := range fieldsRE.FindAllSubmatch(raw, -1) {
			for _, f := range fieldRE.FindAllSubmatch(list[1], -1) {
				if plainName.Match(f[1]) {
					fields[string(f[1])] = true
				}
			}
		}
	}
	if specs != "" {
		files, err := filepath.Glob(filepath.Join(specs, "*.json"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			var spec struct {
				Fields []struct{ Name string } `json:"fields"`
			}
			if err := json.Unmarshal(raw, &spec); err != nil {
				return nil, fmt.Errorf("reading %s: %w", file, err)
			}
			for _, f := range spec.Fields {
				if plainName.MatchString(f.Name) {
					fields[f.Name] = true
				}
			}
		}
	}
	var b bytes.Buffer
	words(&b, "// graphFieldNames are the names of fields of the Graph API's nodes and values.", "graphFieldNames", fields)
	return b.Bytes(), nil
}

// graphParams renders the parameters of what can be done with the Graph's nodes
// and edges, from the node specifications: those of all kinds of node together,
// because a call does not say of which kind its node is.
func graphParams(specs string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(specs, "*.json"))
	if err != nil {
		return nil, err
	}
	params := map[string]map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var spec struct {
			APIs []struct {
				Method, Endpoint string
				Params           []struct{ Name string }
			} `json:"apis"`
		}
		if err := json.Unmarshal(raw, &spec); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		for _, api := range spec.APIs {
			key := strings.TrimSpace(api.Method + " " + api.Endpoint)
			if params[key] == nil {
				params[key] = map[string]bool{}
			}
			for _, p := range api.Params {
				params[key][p.Name] = true
			}
		}
	}
	var b bytes.Buffer
	b.WriteString("// graphParamNames are the parameters of the Graph API by method and edge; a method\n// alone is the node itself.\nvar graphParamNames = map[string]string{\n")
	for _, key := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&b, "%q: %q,\n", key, strings.Join(slices.Sorted(maps.Keys(params[key])), " "))
	}
	b.WriteString("}\n")
	return b.Bytes(), nil
}
