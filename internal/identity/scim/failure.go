package scim

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"gatehouse/internal/wire"
)

// failure is SCIM's schema of errors (RFC 7644, 3.12).
type failure struct {
	Schemas  []string `json:"schemas"`
	Status   string   `json:"status"`
	SCIMType string   `json:"scimType,omitempty"`
	Detail   string   `json:"detail,omitempty"`
}

// kinds are the kinds of errors that RFC 7644 has a word for, by our rules.
var kinds = map[string]string{
	"scim/invalid-filter": "invalidFilter", "scim/invalid-syntax": "invalidSyntax", "scim/invalid-path": "invalidPath",
	"scim/invalid-value": "invalidValue", "scim/no-target": "noTarget", "scim/mutability": "mutability", "scim/uniqueness": "uniqueness",
	"scim/address": "mutability",
}

// renderError answers with why something was refused: our own words and nothing that was
// sent.
func renderError(w http.ResponseWriter, _ *http.Request, p wire.Problem) {
	f := failure{Schemas: []string{schemaError}, Status: strconv.Itoa(p.Status), SCIMType: kinds[p.Rule], Detail: p.Detail}
	if f.Detail == "" {
		f.Detail = strings.TrimSuffix(p.Title, ".") + "."
	}
	h := w.Header()
	h.Del("Location")
	h.Set("Content-Type", mediaType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(f)
}
