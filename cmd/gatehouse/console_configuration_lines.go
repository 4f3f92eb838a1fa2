package main

import (
	"slices"
	"strings"

	"gatehouse/internal/console"
)

const (
	// maxCompared is how many cells the comparison of two texts takes at most; beyond it
	// all that lies between what begins and what ends alike counts as different.
	maxCompared = 4 << 20
	// maxDifference is how many lines of a difference are shown.
	maxDifference = 400
	// around is how many lines that are the same are shown beside those that are not.
	around = 2
)

// differingLines compares two texts line by line: what only one has, and what the other,
// with a little of what both have. more says that not all is returned.
func differingLines(ours, theirs string) (lines []console.DifferingLine, more bool) {
	a, b := strings.Split(strings.TrimSuffix(ours, "\n"), "\n"), strings.Split(strings.TrimSuffix(theirs, "\n"), "\n")
	first := 0
	for first < len(a) && first < len(b) && a[first] == b[first] {
		first++
	}
	last := 0
	for last < len(a)-first && last < len(b)-first && a[len(a)-1-last] == b[len(b)-1-last] {
		last++
	}
	var all []console.DifferingLine
	add := func(side console.Side, of ...string) {
		for _, text := range of {
			all = append(all, console.DifferingLine{Side: side, Text: text})
		}
	}
	add(console.Both, a[:first]...)
	x, y := a[first:len(a)-last], b[first:len(b)-last]
	if len(x)*len(y) > maxCompared {
		add(console.Ours, x...)
		add(console.Theirs, y...)
	} else {
		for _, l := range common(x, y) {
			add(l.Side, l.Text)
		}
	}
	add(console.Both, a[len(a)-last:]...)
	lines = nearDifferences(all)
	return lines[:min(len(lines), maxDifference)], len(lines) > maxDifference
}

// common lays two lists beside each other along their longest common part.
func common(a, b []string) []console.DifferingLine {
	// longest[i][j] is how much a[i:] and b[j:] have in common.
	longest := make([][]int32, len(a)+1)
	for i := range longest {
		longest[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	var out []console.DifferingLine
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, console.DifferingLine{Side: console.Both, Text: a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && longest[i+1][j] >= longest[i][j+1]:
			out = append(out, console.DifferingLine{Side: console.Ours, Text: a[i]})
			i++
		default:
			out = append(out, console.DifferingLine{Side: console.Theirs, Text: b[j]})
			j++
		}
	}
	return out
}

// nearDifferences leaves out what is the same and stands far from what is not; a line
// without text on both sides stands for it.
func nearDifferences(all []console.DifferingLine) []console.DifferingLine {
	var out []console.DifferingLine
	left := false
	for i := range all {
		near := all[max(0, i-around):min(len(all), i+around+1)]
		if !slices.ContainsFunc(near, func(l console.DifferingLine) bool { return l.Side != console.Both }) {
			left = true
			continue
		}
		if left && len(out) > 0 {
			out = append(out, console.DifferingLine{Side: console.Left})
		}
		left = false
		out = append(out, all[i])
	}
	return out
}
