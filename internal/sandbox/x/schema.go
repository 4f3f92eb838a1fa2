package x

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// schema is as much of an OpenAPI 3.0 schema as X's document uses.
type schema struct {
	Ref        string             `json:"$ref"`
	Type       string             `json:"type"`
	Format     string             `json:"format"`
	Pattern    string             `json:"pattern"`
	Enum       []any              `json:"enum"`
	Example    any                `json:"example"`
	Default    any                `json:"default"`
	Properties map[string]*schema `json:"properties"`
	Required   []string           `json:"required"`
	Items      *schema            `json:"items"`
	AllOf      []*schema          `json:"allOf"`
	OneOf      []*schema          `json:"oneOf"`
	AnyOf      []*schema          `json:"anyOf"`
	MinItems   int                `json:"minItems"`
	MaxItems   *int               `json:"maxItems"`
	MinLength  int                `json:"minLength"`
	MaxLength  *int               `json:"maxLength"`
	Minimum    *float64           `json:"minimum"`
	// Additional is false when an object takes no other properties.
	Additional json.RawMessage `json:"additionalProperties"`
}

// maxExampleDepth bounds examples of schemas that contain themselves.
const maxExampleDepth = 7

// resolve follows references. A reference to nothing is an empty schema, which
// anything satisfies.
func (d *document) resolve(s *schema) *schema {
	for range 16 {
		if s == nil || s.Ref == "" {
			break
		}
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	if s == nil {
		return &schema{}
	}
	return s
}

// example makes a value that satisfies a schema, the same each time. name helps
// to invent telling texts.
func (d *document) example(s *schema, name string, depth int) any {
	s = d.resolve(s)
	switch {
	case s.Example != nil:
		return s.Example
	case s.Default != nil:
		return s.Default
	case len(s.Enum) > 0:
		return s.Enum[0]
	case len(s.AllOf) > 0:
		merged := make(map[string]any)
		for _, part := range s.AllOf {
			if fields, ok := d.example(part, name, depth+1).(map[string]any); ok {
				maps.Copy(merged, fields)
			}
		}
		return merged
	case len(s.Properties) == 0 && len(s.OneOf) > 0:
		return d.example(s.OneOf[0], name, depth+1)
	case len(s.Properties) == 0 && len(s.AnyOf) > 0:
		return d.example(s.AnyOf[0], name, depth+1)
	}
	switch s.Type {
	case "array":
		items := []any{}
		for range max(s.MinItems, 1) {
			if depth < maxExampleDepth {
				items = append(items, d.example(s.Items, name, depth+1))
			}
		}
		return items
	case "string":
		return exampleText(s, name)
	case "integer", "number":
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	case "boolean":
		return true
	}
	object := make(map[string]any)
	for key, property := range s.Properties {
		// Errors stay out: a reply that succeeded has none.
		deep := depth >= maxExampleDepth && !slices.Contains(s.Required, key) || depth > 2*maxExampleDepth
		if key != "errors" && !deep {
			object[key] = d.example(property, key, depth+1)
		}
	}
	return object
}

// exampleText invents a text for a property.
func exampleText(s *schema, name string) string {
	switch {
	case s.Format == "date-time", strings.HasSuffix(name, "_at"):
		return "2026-01-15T12:00:00.000Z"
	case s.Format == "uri", strings.HasSuffix(name, "url"):
		return "https://example.com/" + name
	case s.Pattern == "^[0-9]{1,19}$", name == "id", strings.HasSuffix(name, "_id"):
		return "1346889436626259968"
	case s.Pattern != "":
		return "sandbox_text"
	}
	text := []rune("example " + strings.ReplaceAll(name, "_", " ") + " ✨")
	if s.MaxLength != nil && len(text) > *s.MaxLength {
		text = text[:*s.MaxLength]
	}
	return string(text)
}

// check says what is wrong with a decoded JSON value, in X's words, or returns
// an empty string.
func (d *document) check(s *schema, value any, path string, depth int) string {
	s = d.resolve(s)
	if depth > 2*maxExampleDepth {
		return ""
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		return fmt.Sprintf("%s: does not have a value in the enumeration %v", path, s.Enum)
	}
	switch s.Type {
	case "object":
		object, ok := value.(map[string]any)
		if !ok {
			return path + ": object expected"
		}
		return d.checkObject(s, object, path, depth)
	case "array":
		list, ok := value.([]any)
		if !ok {
			return path + ": array expected"
		}
		if len(list) < s.MinItems || s.MaxItems != nil && len(list) > *s.MaxItems {
			return path + ": has a wrong number of items"
		}
		for i, item := range list {
			if wrong := d.check(s.Items, item, fmt.Sprintf("%s[%d]", path, i), depth+1); wrong != "" {
				return wrong
			}
		}
	case "string":
		text, ok := value.(string)
		if !ok {
			return path + ": string expected"
		}
		if n := len([]rune(text)); n < s.MinLength || s.MaxLength != nil && n > *s.MaxLength {
			return path + ": has a wrong length"
		}
		if s.Pattern == "^[0-9]{1,19}$" && !validID(text) {
			return path + ": does not match the regex pattern " + s.Pattern
		}
	case "integer", "number":
		if _, ok := value.(float64); !ok {
			return path + ": " + s.Type + " expected"
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			return path + ": boolean expected"
		}
	}
	return ""
}

func (d *document) checkObject(s *schema, object map[string]any, path string, depth int) string {
	for _, key := range s.Required {
		if _, present := object[key]; !present {
			return path + "." + key + ": is missing but it is required"
		}
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		property, known := s.Properties[key]
		if !known {
			if string(s.Additional) == "false" {
				return path + "." + key + ": is not defined in the schema and the schema does not allow additional properties"
			}
			continue
		}
		if wrong := d.check(property, object[key], path+"."+key, depth+1); wrong != "" {
			return wrong
		}
	}
	return ""
}
