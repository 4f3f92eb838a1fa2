package config

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Text returns the content of a configuration to be shown: without its comments, in
// which anything may stand. It is for content that [Parse] takes: then secrets are
// references, and nothing else.
func Text(data []byte) (string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return "", fmt.Errorf("reading the configuration as YAML: %w", err)
	}
	uncommented(&document)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&document); err != nil {
		return "", fmt.Errorf("writing the configuration as YAML: %w", err)
	}
	return b.String(), e.Close()
}

func uncommented(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, c := range n.Content {
		uncommented(c)
	}
}
