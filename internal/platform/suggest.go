package platform

import (
	"slices"
	"strings"
)

// Operations lists every operation of p by name, sorted. Graph edges appear once,
// as "/{id}/edge".
func Operations(p Name) []string {
	var out []string
	switch {
	case p == X:
		for _, op := range xOperations {
			out = append(out, op.Method+" "+op.Path)
		}
		for _, op := range xOther {
			out = append(out, op.Method+" "+op.Path)
		}
	case p.Graph():
		add := func(m methods, pattern string) {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				if m&methodBit(method) != 0 {
					out = append(out, method+" "+pattern)
				}
			}
		}
		add(nodeMethods[p], "/{id}")
		for name, r := range roots[p] {
			add(r.methods, "/"+name)
		}
		for name, m := range extraPaths[p] {
			add(m, "/{id}/"+name)
		}
		for name := range extraEdges[p] {
			add(edgeMethods(p, name), "/{id}/"+name)
		}
		for _, e := range graphEdges {
			add(edgeMethods(p, e.Name), "/{id}/"+e.Name)
		}
		if p == Facebook {
			out = append(out, "POST /")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// suggest returns "; did you mean …" with up to three near operations, or "".
func suggest(p Name, method, path string) string {
	type near struct {
		distance  int
		operation string
	}
	var candidates []near
	want := canonical(path)
	for _, op := range Operations(p) {
		m, pattern, _ := strings.Cut(op, " ")
		d := distance(want, canonical(pattern))
		if m != method {
			d++ // the right path with another method is a near miss
		}
		if d <= 2+len(want)/4 {
			candidates = append(candidates, near{d, op})
		}
	}
	if len(candidates) == 0 {
		return ""
	}
	slices.SortStableFunc(candidates, func(a, b near) int { return a.distance - b.distance })
	var names []string
	for _, c := range candidates[:min(3, len(candidates))] {
		names = append(names, c.operation)
	}
	return "; did you mean " + strings.Join(names, " or ") + "?"
}

// canonical writes every placeholder and number as {}, so that only words count.
func canonical(path string) string {
	parts := strings.Split(path, "/")
	for i, s := range parts {
		if _, ok := placeholder(s); ok || digits(s, 30) {
			parts[i] = "{}"
		}
	}
	return strings.Join(parts, "/")
}

// distance is the Levenshtein distance of two short strings.
func distance(a, b string) int {
	if len(a) > 200 || len(b) > 200 {
		return 1 << 20
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
