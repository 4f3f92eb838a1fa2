package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// listing prints a list that may be too long to hold, a page at a time: as the JSON array
// that printJSON prints, or as a table whose columns are aligned anew with each page. An
// array that was broken off has no end.
type listing struct {
	out    *bufio.Writer
	table  *tabwriter.Writer
	asJSON bool
	empty  string
	header []string
	begun  bool
}

func newListing(w io.Writer, asJSON bool, empty string, header ...string) *listing {
	out := bufio.NewWriterSize(w, 64<<10)
	return &listing{out: out, table: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), asJSON: asJSON, empty: empty, header: header}
}

// add takes one more: v for programs, row for people.
func (l *listing) add(v any, row ...string) error {
	begun := l.begun
	l.begun = true
	if !l.asJSON {
		if !begun {
			fmt.Fprintln(l.table, strings.Join(l.header, "\t"))
		}
		_, err := fmt.Fprintln(l.table, strings.Join(row, "\t"))
		return err
	}
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetIndent("  ", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	before := "[\n  "
	if begun {
		before = ",\n  "
	}
	_, err := l.out.WriteString(before + strings.TrimSuffix(text.String(), "\n"))
	return err
}

// page prints what was added.
func (l *listing) page() error { return errors.Join(l.table.Flush(), l.out.Flush()) }

// end prints the rest.
func (l *listing) end() error {
	last := ""
	switch {
	case l.asJSON && l.begun:
		last = "\n]\n"
	case l.asJSON:
		last = "[]\n"
	case !l.begun:
		last = l.empty + "\n"
	}
	return errors.Join(l.table.Flush(), write(l.out, last), l.out.Flush())
}

func write(w io.StringWriter, s string) error {
	_, err := w.WriteString(s)
	return err
}
