package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/identity/operator"
)

// checkRows looks whether the rows that say who may do what, who is signed in, and what
// is approved and reviewed are as Gatehouse wrote them.
func checkRows(ctx context.Context, p *parts) error {
	altered, err := p.operators.Altered(ctx)
	if err != nil {
		return err
	}
	reviews, err := p.reviews.Altered(ctx)
	if err != nil {
		return err
	}
	count := map[operator.RowKind]int{}
	var kinds []operator.RowKind
	for _, row := range append(altered, reviews...) {
		if count[row.Kind]++; count[row.Kind] == 1 {
			kinds = append(kinds, row.Kind)
		}
	}
	if len(kinds) == 0 {
		return nil
	}
	slices.Sort(kinds)
	words := make([]string, len(kinds))
	for i, kind := range kinds {
		words[i] = fmt.Sprintf("%s (%d)", strings.ReplaceAll(string(kind), "-", " "), count[kind])
	}
	return fmt.Errorf("rows of the database that somebody else wrote, and that give nothing: %s", strings.Join(words, ", "))
}
