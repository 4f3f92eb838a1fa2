package main

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
)

// TestListing: what is printed a page at a time is what is printed at once, and each page
// is there when it has ended.
func TestListing(t *testing.T) {
	type item struct {
		ID   string            `json:"id"`
		More map[string]string `json:"more,omitempty"`
	}
	for _, asJSON := range []bool{true, false} {
		for n := range 4 {
			items, rows := []item{}, [][]string{}
			var want, got bytes.Buffer
			l := newListing(&got, asJSON, "There is none.", "ID", "MORE")
			for i := range n {
				it := item{strconv.Itoa(100 * i), map[string]string{"a": "<b>"}}
				items, rows = append(items, it), append(rows, []string{it.ID, "x"})
				if err := l.add(it, it.ID, "x"); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(got.String(), it.ID) {
					t.Errorf("%d is printed before its page ends", i)
				}
				if i == n-1 && n == 3 { // with another length, the table is aligned otherwise
					if err := l.page(); err != nil || !strings.Contains(got.String(), it.ID) {
						t.Errorf("%d is not printed when its page ends: %q, %v", i, got.String(), err)
					}
				}
			}
			err := l.end()
			if asJSON {
				err = errors.Join(err, printJSON(&want, items))
			} else {
				err = errors.Join(err, table(&want, "There is none.", []string{"ID", "MORE"}, rows))
			}
			if err != nil || got.String() != want.String() {
				t.Errorf("%d: %v\n%s\nwant\n%s", n, err, got.String(), want.String())
			}
		}
	}
}
