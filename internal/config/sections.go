package config

import (
	"encoding/json"
	"maps"

	"go.yaml.in/yaml/v3"
)

// Sections returns the content of each entry at the top of the file in one form,
// whatever its layout, order and comments: two files say the same about an entry when
// these are equal. They are for comparing, and hold what the file holds.
func (c *Config) Sections() map[string]string { return maps.Clone(c.sections) }

// sectionsOf returns the sections of an accepted document's mapping.
func sectionsOf(mapping *yaml.Node) map[string]string {
	out := map[string]string{}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		var value any
		if err := mapping.Content[i+1].Decode(&value); err != nil {
			continue
		}
		text, err := json.Marshal(value) // with sorted keys
		if err != nil {
			continue
		}
		out[mapping.Content[i].Value] = string(text)
	}
	return out
}
