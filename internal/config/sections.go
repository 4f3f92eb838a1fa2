package config

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Sections returns the content of each entry at the top of a configuration's text in one
// form, whatever its layout, order and comments: two files say the same about an entry
// when these are equal. They are for comparing, and hold what the file holds.
func Sections(text []byte) (map[string]string, error) {
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("reading the configuration as YAML: %w", err)
	}
	out := map[string]string{}
	for name, value := range all {
		one, err := json.Marshal(value) // with sorted keys
		if err != nil {
			return nil, fmt.Errorf("the entry %s: %w", name, err)
		}
		out[name] = string(one)
	}
	return out, nil
}
