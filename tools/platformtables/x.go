package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// xOperations renders the operation table. The CSV is the list; the OpenAPI
// document adds what its path parameters may look like.
func xOperations(csvPath, openapiPath string) ([]byte, error) {
	rows, err := readCSV(csvPath, 6)
	if err != nil {
		return nil, err
	}
	patterns, err := xPatterns(openapiPath)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b []string) int {
		return strings.Compare(a[1]+" "+a[0], b[1]+" "+b[0])
	})
	var b bytes.Buffer
	b.WriteString("// xOperations lists the operations of X's OpenAPI document, sorted by path.\n")
	b.WriteString("var xOperations = []xOperation{\n")
	for _, r := range rows {
		method, path, id, auth, scopes, streaming := r[0], r[1], r[2], r[3], r[4], r[5] != ""
		fields := strings.Fields(scopes)
		slices.Sort(fields)
		fmt.Fprintf(&b, "{%q, %q, %q, %s, %q, %v, %q},\n", method, path, id, authBits(auth),
			strings.Join(fields, " "), streaming, patterns[method+" "+path])
	}
	b.WriteString("}\n")
	return b.Bytes(), nil
}

func authBits(s string) string {
	var bits []string
	for part := range strings.SplitSeq(s, "|") {
		switch part {
		case "app":
			bits = append(bits, "AuthApp")
		case "oauth2":
			bits = append(bits, "AuthOAuth2")
		case "oauth1":
			bits = append(bits, "AuthOAuth1")
		case "", "none":
		default:
			panic("unknown auth kind " + part)
		}
	}
	if len(bits) == 0 {
		return "0"
	}
	return strings.Join(bits, "|")
}

// paramKinds names the classes that package platform knows for the patterns
// that the document uses. A pattern that is not here stops the generator, so
// that a new one is looked at by a person.
var paramKinds = map[string]byte{
	`^[0-9]{1,19}$`: 'n',
	`^([0-9]{1,19}-[0-9]{1,19}|[0-9]{15,19})$`:             'c',
	`^([0-9]{1,19}|[0-9]{1,19}-[0-9]{1,19}|g[0-9]{1,19})$`: 'c',
	`^[a-zA-Z0-9]{1,13}$`:                                  'a',
	`^[a-zA-Z0-9]{1,50}$`:                                  'a',
	`^([0-9]+)_([0-9]+)$`:                                  'k',
	`^[A-Za-z0-9_]{1,15}$`:                                 'u',
	``:                                                     't',
}

// xPatterns returns, for each operation, one letter for each path parameter in
// the order of the path.
func xPatterns(path string) (map[string]string, error) {
	kinds := map[string]string{}
	if path == "" {
		return kinds, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	type parameter struct {
		Ref    string `json:"$ref"`
		Name   string `json:"name"`
		In     string `json:"in"`
		Schema struct {
			Ref     string `json:"$ref"`
			Type    string `json:"type"`
			Pattern string `json:"pattern"`
		} `json:"schema"`
	}
	var doc struct {
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Parameters map[string]parameter `json:"parameters"`
			Schemas    map[string]struct {
				Type    string `json:"type"`
				Pattern string `json:"pattern"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	placeholder := regexp.MustCompile(`\{(\w+)\}`)
	for p, methods := range doc.Paths {
		for m, body := range methods {
			var op struct{ Parameters []parameter }
			if json.Unmarshal(body, &op) != nil {
				continue
			}
			byName := map[string]byte{}
			for _, q := range op.Parameters {
				if q.Ref != "" {
					q = doc.Components.Parameters[q.Ref[strings.LastIndexByte(q.Ref, '/')+1:]]
				}
				pattern, typ := q.Schema.Pattern, q.Schema.Type
				if q.Schema.Ref != "" {
					s := doc.Components.Schemas[q.Schema.Ref[strings.LastIndexByte(q.Schema.Ref, '/')+1:]]
					pattern, typ = s.Pattern, s.Type
				}
				kind, ok := paramKinds[pattern]
				if q.In == "path" && !ok {
					return nil, fmt.Errorf("%s %s: parameter %s has a new pattern %s", m, p, q.Name, pattern)
				}
				if typ == "integer" {
					kind = 'n'
				}
				byName[q.Name] = kind
			}
			var letters []byte
			for _, match := range placeholder.FindAllStringSubmatch(p, -1) {
				kind := byName[match[1]]
				if kind == 0 {
					kind = 't'
				}
				letters = append(letters, kind)
			}
			kinds[strings.ToUpper(m)+" "+p] = string(letters)
		}
	}
	return kinds, nil
}

// xLimits renders the documented limits.
func xLimits(path string) ([]byte, error) {
	rows, err := readCSV(path, 4)
	if err != nil {
		return nil, err
	}
	colon := regexp.MustCompile(`:(\w+)`)
	seen := map[string]bool{}
	var lines []string
	for _, r := range rows {
		key := r[0] + " " + colon.ReplaceAllString(r[1], "{$1}")
		if seen[key] {
			continue
		}
		seen[key] = true
		app, err := limits(r[2])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		user, err := limits(r[3])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		lines = append(lines, fmt.Sprintf("%q: {%s, %s},\n", key, app, user))
	}
	slices.Sort(lines)
	var b bytes.Buffer
	b.WriteString("// xDocumentedLimits holds the limits of X's rate-limit page: app pool, user pool.\n")
	b.WriteString("// The placeholders are the page's own; xLimits joins them to the operations.\n")
	b.WriteString("var xDocumentedLimits = map[string][2][]Limit{\n")
	b.WriteString(strings.Join(lines, ""))
	b.WriteString("}\n")
	return b.Bytes(), nil
}

// limits renders "50/15min, 1,000/24hrs" as a slice literal.
func limits(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" || s == "—" || s == "-" {
		return "nil", nil
	}
	var out []string
	for part := range strings.SplitSeq(s, ", ") {
		count, window, ok := strings.Cut(part, "/")
		n, err := strconv.Atoi(strings.ReplaceAll(count, ",", ""))
		if !ok || err != nil {
			return "", fmt.Errorf("limit %q", part)
		}
		d, ok := map[string]time.Duration{"sec": time.Second, "15min": 15 * time.Minute, "24hrs": 24 * time.Hour}[window]
		if !ok {
			return "", fmt.Errorf("window %q", window)
		}
		out = append(out, fmt.Sprintf("{%d, %d}", n, int(d.Seconds())))
	}
	return "{" + strings.Join(out, ", ") + "}", nil
}

func readCSV(path string, columns int) ([][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	for _, row := range rows {
		if len(row) < columns {
			return nil, fmt.Errorf("%s: a row has %d columns, want %d", path, len(row), columns)
		}
	}
	return rows[1:], nil
}
