package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// edge collects, for one edge name, the nodes that have it by method.
type edge map[string]map[string]bool

// tables is what both sources are merged into.
type tables struct {
	edges map[string]edge
	nodes map[string]map[string]bool // node → methods on the node itself
}

func (t *tables) addEdge(name, method, node string) {
	if t.edges[name] == nil {
		t.edges[name] = edge{}
	}
	if t.edges[name][method] == nil {
		t.edges[name][method] = map[string]bool{}
	}
	t.edges[name][method][node] = true
	t.addNode(node, "")
}

func (t *tables) addNode(node, method string) {
	if t.nodes[node] == nil {
		t.nodes[node] = map[string]bool{}
	}
	if method != "" {
		t.nodes[node][method] = true
	}
}

// graph renders the node and edge tables from the SDK's objects, merged with
// the node specifications when there are any.
func graph(sdk, specs string) ([]byte, error) {
	t := &tables{edges: map[string]edge{}, nodes: map[string]map[string]bool{}}
	if err := readSDK(t, filepath.Join(sdk, "src", "objects")); err != nil {
		return nil, err
	}
	if specs != "" {
		if err := readSpecs(t, specs); err != nil {
			return nil, err
		}
	}
	return render(t), nil
}

var (
	classRE = regexp.MustCompile(`export default class (\w+) extends`)
	callRE  = regexp.MustCompile(`(?s)(?:this|super)\.(getEdge|createEdge|deleteEdge)\((.*?)\);`)
	pathRE  = regexp.MustCompile(`'/?([a-z][a-z0-9_/]+)'`)
	selfRE  = regexp.MustCompile(`(?m)^  (get|update|delete) \(`)
)

var sdkMethods = map[string]string{
	"getEdge": "GET", "createEdge": "POST", "deleteEdge": "DELETE",
	"get": "GET", "update": "POST", "delete": "DELETE",
}

func readSDK(t *tables, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.js"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no objects in %s", dir)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		class := classRE.FindSubmatch(raw)
		if class == nil {
			continue
		}
		node := string(class[1])
		for _, call := range callRE.FindAllSubmatch(raw, -1) {
			name := pathRE.FindSubmatch(call[2])
			if name == nil {
				continue // a helper that passes its caller's path on
			}
			t.addEdge(string(name[1]), sdkMethods[string(call[1])], node)
		}
		for _, self := range selfRE.FindAllSubmatch(raw, -1) {
			t.addNode(node, sdkMethods[string(self[1])])
		}
	}
	return nil
}

func readSpecs(t *tables, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var spec struct {
			APIs []struct{ Method, Name, Endpoint string } `json:"apis"`
		}
		if err := json.Unmarshal(raw, &spec); err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		node := strings.TrimSuffix(filepath.Base(file), ".json")
		t.addNode(node, "")
		for _, api := range spec.APIs {
			if api.Endpoint != "" {
				t.addEdge(strings.Trim(api.Endpoint, "/"), api.Method, node)
			} else {
				t.addNode(node, api.Method)
			}
		}
	}
	return nil
}

// instagramNode reports whether a node is reached through Instagram's own host.
func instagramNode(node string) bool {
	return strings.HasPrefix(node, "IG") || strings.HasPrefix(node, "ShadowIG") || strings.HasPrefix(node, "InstagramUser")
}

func render(t *tables) []byte {
	// Nodes without operations and edges are plain values, not nodes.
	used := map[string]bool{}
	for _, e := range t.edges {
		for _, nodes := range e {
			for n := range nodes {
				used[n] = true
			}
		}
	}
	var nodes []string
	for n, methods := range t.nodes {
		if used[n] || len(methods) > 0 {
			nodes = append(nodes, n)
		}
	}
	slices.Sort(nodes)
	index := map[string]int{}
	var b bytes.Buffer
	b.WriteString("// graphNodes lists the Graph API's kinds of node, with the methods that the node\n// itself answers.\nvar graphNodes = []graphNode{\n")
	for i, n := range nodes {
		index[n] = i
		fmt.Fprintf(&b, "{%q, %s},\n", n, methodBits(t.nodes[n]))
	}
	b.WriteString("}\n\n// graphEdges lists the edges, sorted by name: methods, methods on Instagram's own\n// nodes, and the indexes in graphNodes of those that have the edge.\nvar graphEdges = []graphEdge{\n")
	names := make([]string, 0, len(t.edges))
	for name := range t.edges {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		e := t.edges[name]
		all, ig, holders := map[string]bool{}, map[string]bool{}, map[int]bool{}
		for method, set := range e {
			all[method] = true
			for n := range set {
				holders[index[n]] = true
				if instagramNode(n) {
					ig[method] = true
				}
			}
		}
		var list []int
		for i := range holders {
			list = append(list, i)
		}
		slices.Sort(list)
		var s []string
		for _, i := range list {
			s = append(s, strconv.Itoa(i))
		}
		fmt.Fprintf(&b, "{%q, %s, %s, %q},\n", name, methodBits(all), methodBits(ig), strings.Join(s, " "))
	}
	b.WriteString("}\n")
	return b.Bytes()
}

func methodBits(set map[string]bool) string {
	var bits []string
	for _, m := range []struct{ method, name string }{{"GET", "mGet"}, {"POST", "mPost"}, {"DELETE", "mDelete"}} {
		if set[m.method] {
			bits = append(bits, m.name)
		}
	}
	if len(bits) == 0 {
		return "0"
	}
	return strings.Join(bits, "|")
}
