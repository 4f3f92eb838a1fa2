package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"gatehouse/internal/atrest"
	"gatehouse/internal/config"
)

// facts gathers what protection at rest depends on outside Gatehouse.
func (s *atRestSearch) facts() {
	cfg := s.parts.cfg
	var machine atrest.Machine
	data := storeFile(cfg)
	if data == "" {
		data = s.server.Directory
	}
	disk := atrest.Fact{Name: "disk encryption", State: atrest.Unknown, Evidence: "the database's files are not on this machine, or not shown", Next: "look at the database's machine"}
	if data != "" && s.server.Local {
		disk = machine.DiskEncryption(data)
	}
	secrets := secretFiles(cfg)
	if file := keyringFile(cfg); file != "" {
		secrets = append(secrets, file)
	}
	others := []string{cfg.Path(), filepath.Dir(cfg.Path())}
	if file := storeFile(cfg); file != "" {
		logs, files := databaseFiles(file)
		secrets = slices.Concat(secrets, logs, files)
		others = append(others, filepath.Dir(file))
	}
	slices.Sort(others)
	s.report.Facts = []atrest.Fact{
		disk, atrest.Modes(secrets, slices.Compact(others)), machine.Swap(), machine.CoreDumps(s.running),
		atrest.DatabaseTLS(s.server), rootKeyFact(machine, cfg.RootKey, data, disk.State),
	}
}

// rootKeyFact says what keeps the root key. Who takes a plain disk with the key
// file and the database on it takes everything.
func rootKeyFact(machine atrest.Machine, root config.RootKey, data string, disk atrest.State) atrest.Fact {
	f := atrest.Fact{Name: "root key", State: atrest.OK}
	key := root.Path()
	switch {
	case key == "":
		f.Evidence = "a key-management system: " + root.Kind()
		return f
	case root.Kind() == config.RootPassphrase:
		f.Evidence = "under a passphrase: " + key
		return f
	}
	f.Evidence = "a key file, not a key-management system: " + key
	same, known := machine.SameDisk(key, data)
	switch {
	case data == "":
		f.Evidence += "; the database is elsewhere"
	case !known:
		f.State, f.Evidence = atrest.Unknown, f.Evidence+"; whether it lies on the database's disk cannot be told"
	case same && disk == atrest.OK:
		f.Evidence += ", on the database's disk, which is encrypted"
	case same:
		f.State, f.Evidence = disk, f.Evidence+", on the database's disk"
	default:
		f.Evidence += ", on another disk than the database"
	}
	if f.State != atrest.OK {
		f.Next = "keep the root key on another, encrypted disk, or in a key-management system"
	}
	return f
}

// printAtRest prints a report for people.
func printAtRest(w io.Writer, r *atrest.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Looked for %d secrets (of %d connections) in every form, and for tokens by their shape, in %.1f MB:\n",
		r.Sought.Secrets, r.Sought.Connections, float64(r.Bytes)/1e6)
	rows, tables := int64(0), 0
	for _, l := range r.LookedAt {
		if l.Kind == atrest.KindRows {
			rows, tables = rows+l.Bytes, tables+1
			continue
		}
		files := ""
		if l.Files > 0 {
			files = fmt.Sprintf(" (%d files)", l.Files)
		}
		fmt.Fprintf(&b, "  %-16s %12d bytes  %s%s\n", l.Kind, l.Bytes, l.Place, files)
	}
	fmt.Fprintf(&b, "  %-16s %12d bytes  of %d tables\n", atrest.KindRows, rows, tables)
	if r.Sought.Unreadable > 0 {
		fmt.Fprintf(&b, "FAIL  %d connections hold a token that does not open\n", r.Sought.Unreadable)
	}
	for _, g := range r.Gaps {
		fmt.Fprintf(&b, "%s  not looked into: %s %s: %s\n", mark(g.State()), g.Kind, g.Place, g.Why)
	}
	for _, c := range r.Controls {
		if !c.OK {
			fmt.Fprintf(&b, "FAIL  the canary (%s) was not seen sealed where it was planted: this search proves nothing\n", c.Road)
		}
	}
	for _, f := range r.Found {
		fmt.Fprintf(&b, "FOUND %s, %s, in %s %s at %d (%d times, sha256 %s…)\n", f.What, f.Form, f.Kind, f.Place, f.Offset, f.Count, f.Hash)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "FOUND %d more\n", r.More)
	}
	if len(r.Found) == 0 {
		b.WriteString("ok    nothing stands in plain\n")
	}
	fmt.Fprintf(&b, "      residue: a destroyed key, wrapped, still stands in %d places: %s\n", len(r.Residue.Remains), r.Residue.Why)
	if r.Residue.UselessBy != nil {
		fmt.Fprintf(&b, "      it is of no use to anybody after %s\n", when(*r.Residue.UselessBy))
	}
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "%s  %s: %s\n", mark(f.State), f.Name, f.Evidence)
		if f.Next != "" {
			fmt.Fprintf(&b, "      → %s\n", f.Next)
		}
	}
	fmt.Fprintf(&b, "Verdict: %s\n", r.Verdict)
	_, err := io.WriteString(w, b.String())
	return err
}

func mark(s atrest.State) string {
	switch s {
	case atrest.OK:
		return "ok  "
	case atrest.Wanting:
		return "FAIL"
	}
	return "?   "
}
