package meta

// What the tests need to see of the inside: pure functions whose vectors are
// published, and parsers to be fuzzed.
var (
	AppSecretProof     = appSecretProof
	SignRequest        = signRequest
	ParseSignedRequest = parseSignedRequest
	HubSignature       = hubSignature
	Encode             = encode
)

// ParseFields parses field expansion and writes it again.
func ParseFields(text string) (string, error) {
	s, failed := parseFields(text)
	if failed != nil {
		return "", failed
	}
	return s.String(), nil
}

// ParseBatch parses a batch parameter and takes its references apart.
func ParseBatch(text string) (items int, names []string, err error) {
	parsed, failed := parseBatch(text)
	if failed != nil {
		return 0, nil, failed
	}
	for _, item := range parsed {
		names = append(names, references(item.RelativeURL)...)
	}
	return len(parsed), names, nil
}

// JSONPath evaluates a path over decoded JSON.
var JSONPath = jsonPath

// SplitReferences joins the pieces of a text again.
func SplitReferences(text string) string {
	out := ""
	for _, p := range split(text) {
		if p.name != "" {
			out += "{result=" + p.name + ":" + p.path + "}"
		}
		out += p.literal
	}
	return out
}

// Schema lists the fields and the readable edges of the kind of a node.
func (p *Platform) Schema(id string) (kind string, fields, edges []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		return "", nil, nil
	}
	for name, e := range n.kind.edges {
		if e.list != nil || e.data != nil {
			edges = append(edges, name)
		}
	}
	return n.kind.name, sortedKeys(n.kind.fields), edges
}
