package review

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/operator"
)

// The bounds of an imported list.
const (
	MaxListBytes = 8 << 20
	maxListed    = 20_000
	// maxAllListed is how many rights all lists have together, so that a review has room
	// for them beside Gatehouse's own: one that could not begin would never end anything.
	maxAllListed = 40_000
	maxSystems   = 64
	maxField     = 256 // bytes
	// maxAllNames is how many bytes all names of all lists have together, as the evidence
	// writes them: it has to have room for them beside Gatehouse's own rights.
	maxAllNames = 8 << 20
)

// List is a list of who may do what in another system.
type List struct {
	System string    `json:"system"`
	At     time.Time `json:"imported_at"`
	By     string    `json:"imported_by"`
	SHA256 string    `json:"sha256"` // of the file, in hexadecimal
	Rights int       `json:"rights"`
	// HasUse says that the list has when rights were last used.
	HasUse bool `json:"says_last_use"`
}

// Access is one line of a list.
type Access struct {
	Account, Role string
	Used          time.Time // zero if never, or not known
}

// LineError is what is wrong with a list, and where. It does not repeat what stands
// there: a list may hold more than it should.
type LineError struct {
	Line, Column int // from 1; Column is 0 for the whole line
	What         string
}

// Error implements error.
func (e *LineError) Error() string {
	if e.Column > 0 {
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.What)
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.What)
}

// Unwrap returns ErrInvalid.
func (e *LineError) Unwrap() error { return gatehouse.ErrInvalid }

// ParseList reads a list: CSV with a heading, or a JSON array of objects. Both have
// account and role, and may have last_used, a day or a time (2026-01-31, RFC 3339);
// empty is never. Unknown names, and lines that are there twice, are refused.
func ParseList(file []byte) (access []Access, hasUse bool, err error) {
	if len(file) > MaxListBytes {
		return nil, false, fmt.Errorf("the list has more than %d MiB: %w", MaxListBytes>>20, gatehouse.ErrInvalid)
	}
	file = bytes.TrimPrefix(file, []byte("\ufeff"))
	if !utf8.Valid(file) {
		return nil, false, fmt.Errorf("the list is not UTF-8: %w", gatehouse.ErrInvalid)
	}
	p := parser{seen: map[[2]string]bool{}}
	if start := bytes.TrimLeft(file, " \t\r\n"); len(start) > 0 && (start[0] == '[' || start[0] == '{') {
		err = p.json(file)
	} else {
		err = p.csv(file)
	}
	if err == nil && len(p.access) == 0 {
		// Every open item of the system would count as gone.
		err = &LineError{Line: 1, What: "the list is empty"}
	}
	if err != nil {
		return nil, false, err
	}
	return p.access, p.hasUse, nil
}

type parser struct {
	access []Access
	seen   map[[2]string]bool
	hasUse bool
}

// columns are the names that a list may have.
var columns = []string{"account", "role", "last_used"}

func (p *parser) csv(file []byte) error {
	if err := fewFields(file); err != nil {
		return err
	}
	r := csv.NewReader(bytes.NewReader(file))
	r.ReuseRecord = true
	var order []int // of the fields, in columns
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return lineError(err)
		}
		line, _ := r.FieldPos(0)
		if order == nil {
			if order, err = heading(r, record); err != nil {
				return err
			}
			p.hasUse = slices.Contains(order, 2)
			continue
		}
		var fields [3]string
		var column [3]int
		for i, of := range order {
			fields[of] = record[i]
			_, column[of] = r.FieldPos(i)
		}
		if err := p.add(fields, func(of int, what string) error { return &LineError{line, column[of], what} }); err != nil {
			return err
		}
	}
	if order == nil {
		return &LineError{Line: 1, What: "the heading is missing: account,role,last_used"}
	}
	return nil
}

// fewFields refuses a line with more fields than a list has columns before it is cut
// into them: each of them costs many times its comma. What stands after a quote that the
// reader refuses counts as it likes, since nothing behind it is read.
func fewFields(file []byte) error {
	line, start, commas, quoted := 1, 1, 0, false
	for _, c := range file {
		switch {
		case c == '"':
			quoted = !quoted
		case c == '\n':
			line++
			if !quoted {
				start, commas = line, 0
			}
		case c == ',' && !quoted:
			if commas++; commas >= len(columns) {
				return &LineError{Line: start, Column: 1, What: fmt.Sprintf("it has more than %d fields", len(columns))}
			}
		}
	}
	return nil
}

func heading(r *csv.Reader, record []string) (order []int, err error) {
	for i, name := range record {
		line, column := r.FieldPos(i)
		of := slices.Index(columns, strings.ToLower(strings.TrimSpace(name)))
		if of < 0 {
			return nil, &LineError{line, column, "a list has the columns account, role and last_used, and no other"}
		}
		if slices.Contains(order, of) {
			return nil, &LineError{line, column, "the column is there twice"}
		}
		order = append(order, of)
	}
	for of, name := range columns[:2] {
		if !slices.Contains(order, of) {
			return nil, &LineError{Line: 1, What: "the column " + name + " is missing"}
		}
	}
	return order, nil
}

// lineError takes from an error of the CSV reader where it is and what, never what
// stands there.
func lineError(err error) error {
	var at *csv.ParseError
	if !errors.As(err, &at) {
		return fmt.Errorf("reading the list: %w", gatehouse.ErrInvalid)
	}
	what := "it cannot be read"
	switch {
	case errors.Is(err, csv.ErrFieldCount):
		what = "it has another number of fields than the heading"
	case errors.Is(err, csv.ErrQuote):
		what = "a quote is not closed, or something follows it"
	case errors.Is(err, csv.ErrBareQuote):
		what = "a quote stands inside a field that does not begin with one"
	}
	return &LineError{at.Line, at.Column, what}
}

// json reads an array of objects. Where something is, is counted in the file's lines.
func (p *parser) json(file []byte) error {
	d := json.NewDecoder(bytes.NewReader(file))
	where := func(what string) error {
		before := file[:min(int(d.InputOffset()), len(file))]
		return &LineError{bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n'), what}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return where("a list is an array of objects")
	}
	for d.More() {
		if err := p.object(d, where); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return where("it is no JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return where("something follows the list")
	}
	return nil
}

// object reads one object member by member, so that none is there twice.
func (p *parser) object(d *json.Decoder, where func(string) error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return where("an entry of the list is an object")
	}
	var fields [3]string
	var there [3]bool
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return where("it is no JSON")
		}
		of := slices.Index(columns, fmt.Sprint(t))
		if of < 0 {
			return where("an entry has the members account, role and last_used, and no other")
		}
		if there[of] {
			return where("the member " + columns[of] + " is there twice")
		}
		there[of] = true
		value, err := d.Token()
		text, ok := value.(string)
		if err != nil || !ok && !(value == nil && of == 2) {
			return where("the member " + columns[of] + " must be a text")
		}
		fields[of] = text
		p.hasUse = p.hasUse || of == 2
	}
	if _, err := d.Token(); err != nil {
		return where("it is no JSON")
	}
	return p.add(fields, func(_ int, what string) error { return where(what) })
}

// add takes one line.
func (p *parser) add(fields [3]string, wrong func(of int, what string) error) error {
	a := Access{}
	for of, into := range []*string{&a.Account, &a.Role} {
		text := strings.TrimSpace(fields[of])
		switch {
		case text == "":
			return wrong(of, "the "+columns[of]+" is empty")
		case len(text) > maxField:
			return wrong(of, fmt.Sprintf("the %s has more than %d bytes", columns[of], maxField))
		case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
			return wrong(of, "the "+columns[of]+" holds characters that cannot be printed")
		}
		*into = text
	}
	if text := strings.TrimSpace(fields[2]); text != "" {
		used, err := time.Parse(time.DateOnly, text)
		if err != nil {
			used, err = time.Parse(time.RFC3339, text)
		}
		if err != nil || used.Year() < 1990 || used.Year() > 2200 {
			return wrong(2, "last_used is a day or a time, such as 2026-01-31 or 2026-01-31T12:00:00Z")
		}
		a.Used = used.UTC().Truncate(time.Microsecond)
	}
	key := [2]string{a.Account, a.Role}
	if p.seen[key] {
		return wrong(0, "this account has the role already, on an earlier line")
	}
	if len(p.access) >= maxListed {
		return wrong(0, fmt.Sprintf("a list has at most %d rights", maxListed))
	}
	p.seen[key] = true
	p.access = append(p.access, a)
	return nil
}

var systemForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Import takes in who may do what in another system, in the place of the list that was
// imported before. Open items that it does not have any more are done.
func (r *Reviews) Import(ctx context.Context, by operator.Actor, system string, file []byte) (List, error) {
	if err := r.authorise(ctx, by); err != nil {
		return List{}, err
	}
	if !systemForm.MatchString(system) {
		return List{}, fmt.Errorf("the name of a system: lower-case letters, digits, dots, dashes and underscores, at most 63: %w", gatehouse.ErrInvalid)
	}
	access, hasUse, err := ParseList(file)
	if err != nil {
		return List{}, err
	}
	lists, err := r.Lists(ctx)
	if err != nil {
		return List{}, err
	}
	if len(lists) >= maxSystems && !slices.ContainsFunc(lists, func(l List) bool { return l.System == system }) {
		return List{}, fmt.Errorf("there are lists of %d systems already: %w", maxSystems, gatehouse.ErrLimited)
	}
	all, names := len(access), escapedNames(access)
	for _, l := range lists {
		if l.System == system {
			continue
		}
		all += l.Rights
		other, err := r.config.Store.Access(ctx, l.System)
		if err != nil {
			return List{}, fmt.Errorf("reading an imported list: %w", err)
		}
		names += escapedNames(other)
	}
	if all > maxAllListed {
		return List{}, fmt.Errorf("all lists together have at most %d rights: %w", maxAllListed, gatehouse.ErrLimited)
	}
	if names > maxAllNames {
		return List{}, fmt.Errorf("the names of all lists together have at most %d MiB in JSON: %w", maxAllNames>>20, gatehouse.ErrLimited)
	}
	digest := sha256.Sum256(file)
	list := List{System: system, At: r.now(), By: by.Name(), SHA256: hex.EncodeToString(digest[:]), Rights: len(access), HasUse: hasUse}
	// In the log first: it can make open items disappear.
	e := audit.Entry{Action: "review.import", Verdict: "done", Facts: map[string]string{
		"operator": list.By, "system": system, "rights": fmt.Sprint(list.Rights), "sha256": list.SHA256,
	}}
	if _, err := r.config.Log.Record(ctx, e); err != nil {
		return List{}, fmt.Errorf("recording an import: %w", err)
	}
	if err := r.config.Store.PutList(ctx, list, access); err != nil {
		return List{}, fmt.Errorf("storing an imported list: %w", err)
	}
	return list, r.resolve(ctx, r.now())
}

func escapedNames(access []Access) (n int) {
	for _, a := range access {
		n += escaped(a.Account) + escaped(a.Role)
	}
	return n
}

// Lists returns what is imported, by system.
func (r *Reviews) Lists(ctx context.Context) ([]List, error) {
	lists, err := r.config.Store.Lists(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading imported lists: %w", err)
	}
	return lists, nil
}

// Cell is a text for a cell of a table that is opened in a spreadsheet: one that would
// be taken for a formula is preceded by an apostrophe.
func Cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n|%", rune(text[0])) {
		return "'" + text
	}
	return text
}

// WriteCSV writes the rights of a review as a table.
func WriteCSV(w io.Writer, items []Item) error {
	out := csv.NewWriter(w)
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	rows := [][]string{{"number", "kind", "system", "holder", "right", "detail", "last_used", "proposed_for_removal", "why", "decision", "by", "at", "reason", "effect", "to_do"}}
	for _, i := range items {
		rows = append(rows, []string{
			fmt.Sprint(i.Number), string(i.Kind), i.System, i.Holder, i.Name, i.Detail, stamp(i.Used), fmt.Sprint(i.Proposed), i.Why,
			string(i.Decision), i.By, stamp(i.At), i.Reason, string(i.Effect), i.Do(),
		})
	}
	for _, row := range rows {
		for i := range row {
			row[i] = Cell(row[i])
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
